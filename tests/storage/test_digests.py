"""Digests of files by content."""

import os

import pytest

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
    file, cache = tmp_path / "a.nii", tmp_path / "cache" / "digests.json"
    file.write_bytes(b"x")
    digests = FileDigests(cache)
    digest = digests.of(str(file))
    digests.save()
    with monkeypatch.context() as patch:
        again = FileDigests(cache)
        patch.setattr("pathlib.Path.open", None)
        assert again.of(str(file)) == digest
    cache.write_text("[1]")
    assert FileDigests(cache).of(str(file)) == digest
    cache.write_text("{")
    assert FileDigests(cache).of(str(file)) == digest


@pytest.mark.parametrize("kind", ["folder", "pair"])
def test_every_file_of_an_image_counts(tmp_path, kind):
    names = ["1.dcm", "2.dcm"] if kind == "folder" else ["a.hdr", "a.img"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    image = tmp_path if kind == "folder" else tmp_path / "a.hdr"
    before = FileDigests(None).of(str(image))
    (tmp_path / names[1]).write_bytes(b"y")
    assert FileDigests(None).of(str(image)) != before
