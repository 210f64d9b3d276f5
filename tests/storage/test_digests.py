"""Digests of files by content."""

import json
import os
import threading

import pytest

from metavoxel.storage import digests as module
from metavoxel.storage.digests import FileDigests


def test_a_digest_depends_on_the_content_alone(tmp_path):
    first, second = tmp_path / "a.nii", tmp_path / "b.nii"
    first.write_bytes(b"x" * 10)
    second.write_bytes(b"x" * 10)
    digests = FileDigests(None)
    assert digests.of(str(first)) == digests.of(str(second))
    os.utime(first, ns=(1, 1))
    assert digests.of(str(first)) == digests.of(str(second))
    second.write_bytes(b"y" * 10)
    assert digests.of(str(first)) != digests.of(str(second))
    assert digests.of(str(tmp_path / "none")) is None


def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    """Nor is anything written then, so that the cache may be read-only."""
    file, cache = tmp_path / "a.nii", tmp_path / "cache" / "digests.json"
    file.write_bytes(b"x")
    with FileDigests(cache) as digests:
        digest = digests.of(str(file))
    again = FileDigests(cache)
    with monkeypatch.context() as patch, again:
        patch.setattr("pathlib.Path.open", None)
        patch.setattr(module, "locked", None)
        assert again.of(str(file)) == digest
    cache.write_text("[1]")
    assert FileDigests(cache).of(str(file)) == digest
    cache.write_text("{")
    assert FileDigests(cache).of(str(file)) == digest


def test_of_several_processes_one_reads_and_the_others_wait(tmp_path):
    cache, found = tmp_path / "cache" / "digests.json", []
    names = [tmp_path / name for name in ("a.nii", "b.nii")]
    for name in names:
        name.write_bytes(name.name.encode())

    def second():
        with FileDigests(cache) as digests:
            found.extend(digests.of(str(name)) for name in names)

    other = threading.Thread(target=second)
    with FileDigests(cache) as digests:
        expected = [digests.of(str(names[0]))]
        other.start()
        other.join(0.3)
        assert other.is_alive() and not found and not cache.exists()
        expected.append(digests.of(str(names[1])))
    stamp = cache.stat().st_mtime_ns
    other.join(10)
    assert found == expected and cache.stat().st_mtime_ns == stamp


def test_a_crash_loses_the_digests_of_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 0)
    file, cache = tmp_path / "a.nii", tmp_path / "cache" / "digests.json"
    file.write_bytes(b"x")
    with FileDigests(cache) as digests:
        digest = digests.of(str(file))
        assert json.loads(cache.read_text())[str(file)][3] == digest


@pytest.mark.parametrize("kind", ["folder", "pair"])
def test_every_file_of_an_image_counts(tmp_path, kind):
    names = ["1.dcm", "2.dcm"] if kind == "folder" else ["a.hdr", "a.img"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    image = tmp_path if kind == "folder" else tmp_path / "a.hdr"
    before = FileDigests(None).of(str(image))
    (tmp_path / names[1]).write_bytes(b"y")
    assert FileDigests(None).of(str(image)) != before
