import pytest

from metavoxel.images.fetched import absence, absences


def test_present_files(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    (tmp_path / "empty.tsv").write_bytes(b"")
    (tmp_path / "link").symlink_to("scan.nii.gz")
    (tmp_path / "large").write_bytes(b"/annex/objects/" + bytes(40_000))
    assert [absence(tmp_path / name) for name in ("scan.nii.gz", "empty.tsv", "link", "large")] == [""] * 4


@pytest.mark.parametrize(
    "target", ["../../.git/annex/objects/aa/K/K", ".git/annex/objects/x.tsv", "/store/annex/objects/k"]
)
def test_links_into_an_annex_without_content(tmp_path, target):
    path = tmp_path / "scan.nii.gz"
    path.symlink_to(target)
    reason = absence(path)
    assert reason.startswith("its content is not fetched (a link into git-annex without its content); fetch it: ")
    assert f"datalad get {path}, or git annex get {path}" in reason


def test_links_with_content(tmp_path):
    key = tmp_path / ".git/annex/objects/K"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"content")
    (tmp_path / "scan.nii").symlink_to(".git/annex/objects/K")
    assert absence(tmp_path / "scan.nii") == ""


def test_other_broken_links(tmp_path):
    (tmp_path / "scan.nii").symlink_to("gone.nii")
    assert absence(tmp_path / "scan.nii") == "a broken link to gone.nii"
    (tmp_path / "loop").symlink_to("loop")
    assert absence(tmp_path / "loop") == "a broken link to loop"


@pytest.mark.parametrize(
    ("text", "kind", "remedy"),
    [
        ("/annex/objects/MD5E-s8000--00ff.nii.gz\n", "git-annex", "datalad get"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8\n", "Git LFS", "git lfs pull --include"),
    ],
)
def test_pointer_files(tmp_path, text, kind, remedy):
    path = tmp_path / "scan.nii.gz"
    path.write_text(text)
    assert f"(a pointer file of {kind}); fetch it: {remedy} {path}" in absence(path)


def test_folders_and_missing_files(tmp_path):
    assert absence(tmp_path) == "a folder, but a file is expected"
    assert absence(tmp_path / "no.nii") == "no such file"
    assert absence(tmp_path / "no/no.nii") == f"no such file, and no folder {tmp_path / 'no'}"


def test_absences_are_summarised_in_one_sentence(tmp_path):
    paths = [tmp_path / f"{number}.nii" for number in range(12)]
    for number, path in enumerate(paths):
        if number < 4:
            path.write_bytes(b"content")
        else:
            path.symlink_to(f".git/annex/objects/{number}")
    assert absences(paths[:4], "images") == ""
    assert absences(paths, "images") == f"8 of 12 images cannot be read, e.g. {paths[4]}: {absence(paths[4])}"
    assert absences([], "images") == ""
