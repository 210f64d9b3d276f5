"""Facts about unchanged files: kept, forgotten, ignored."""

import os

import pytest

from metavoxel.images import file_cache
from metavoxel.images.file_cache import FileCache, cache_folder


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("METAVOXEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_cache, "FEWEST", 2)
    (tmp_path / "data").mkdir()
    paths = [tmp_path / "data" / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text(path.name)
    return [str(path) for path in paths]


def _fill(files, fact="fact"):
    with FileCache(files, "kind") as cache:
        for file in files:
            if cache.get(file) is None:
                cache.put(file, [fact, file])


def test_facts_of_unchanged_files_are_known(files, monkeypatch):
    _fill(files)
    os.utime(files[1], ns=(1, 1))
    with FileCache(files, "kind") as cache:
        assert cache.get(files[0]) == ["fact", files[0]]
        assert cache.get(files[1]) is None and cache.get("none") is None
    monkeypatch.chdir(os.path.dirname(files[0]))
    assert FileCache(["a", "b"], "kind").get("a") == ["fact", files[0]], "paths may be relative"
    assert FileCache(files, "other").get(files[0]) is None
    assert FileCache(files[:1], "kind").get(files[0]) is None, "few files have no cache"


def test_a_file_that_is_replaced_while_it_is_read_is_not_known(files):
    with FileCache(files, "kind") as cache:
        assert cache.get(files[0]) is None
        with open(files[0], "a") as file:
            file.write("more")
        cache.put(files[0], "old")
        cache.put(files[1], "never asked for")
    assert FileCache(files, "kind").get(files[0]) is None and FileCache(files, "kind").get(files[1]) is None


def test_facts_of_removed_files_are_forgotten(files):
    _fill(files)
    os.unlink(files[2])
    os.utime(files[1], ns=(1, 1))
    _fill(files[:2], "new")
    (file,) = (cache_folder() / "kind").iterdir()
    assert "new" in file.read_text() and files[2] not in file.read_text()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 0, "files": {}}', '{"version": 1, "files": [1]}', '{"version": 1, "files": {"a": 1}}'],
)
def test_a_damaged_cache_is_replaced(files, content):
    _fill(files)
    (file,) = (cache_folder() / "kind").iterdir()
    file.write_text(content)
    assert FileCache(files, "kind").get(files[0]) is None
    _fill(files)
    assert FileCache(files, "kind").get(files[0]) == ["fact", files[0]]


def test_a_cache_that_cannot_be_written_is_none(files, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METAVOXEL_CACHE", str(tmp_path / "file"))
    _fill(files)
    assert FileCache(files, "kind").get(files[0]) is None
    monkeypatch.setenv("METAVOXEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.replace", _refuse)
    _fill(files)
    assert not list((tmp_path / "cache" / "kind").iterdir()), "nothing is left behind"


def _refuse(*paths):
    raise OSError("full")


def test_the_folder_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("METAVOXEL_CACHE", "")
    assert cache_folder() is None
    monkeypatch.delenv("METAVOXEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "metavoxel"
