"""Files without their content: unfetched links and pointer files of git-annex (DataLad) and Git LFS."""

import os
from collections.abc import Sequence
from pathlib import Path

_POINTERS = (b"/annex/objects/", b"version https://git-lfs")
"""First bytes of pointer files: git-annex's pointer file format, and the Git LFS specification, version 1."""
_LARGEST_POINTER = 32 * 1024
"""Maximum bytes in git-annex. Pointers of Git LFS are below 1024."""


def absence(path: Path) -> str:
    """Describe why a path cannot be read as a data file, as a sentence fragment; "" if it may be one.

    Reasons are a link into a git-annex without its content, a pointer file of git-annex or Git LFS, another broken
    link, a folder, or no such file. The fragment names the command that fetches the content. Only names and, of small
    files, the first bytes are read.
    """
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if _is_annexed(target):
            return "its content is not fetched (a link into git-annex without its content); " + _annex_remedy(path)
        return f"a broken link to {target}"
    if path.is_dir():
        return "a folder, but a file is expected"
    if not path.exists():
        return "no such file" if path.parent.is_dir() else f"no such file, and no folder {path.parent}"
    start = _start(path)
    if start.startswith(_POINTERS[0]):
        return "its content is not fetched (a pointer file of git-annex); " + _annex_remedy(path)
    if start.startswith(_POINTERS[1]):
        return f"its content is not fetched (a pointer file of Git LFS); fetch it: git lfs pull --include {path}"
    return ""


def _is_annexed(target: str) -> bool:
    return any(part in Path(target).as_posix() for part in (".git/annex", "annex/objects"))


def _annex_remedy(path: Path) -> str:
    return f"fetch it: datalad get {path}, or git annex get {path}"


def _start(path: Path) -> bytes:
    """Read the first bytes of a file small enough for a pointer; empty for other and unreadable files."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_POINTER:
            return b""
        with path.open("rb") as file:
            return file.read(max(map(len, _POINTERS)))
    except OSError:
        return b""


def absences(paths: Sequence[Path], noun: str) -> str:
    """Count the paths that cannot be read as data files, with the first one's reason; "" if all may be read.

    ``noun`` names them, in the plural: ``images``.
    """
    reasons = {path: reason for path in dict.fromkeys(paths) if (reason := absence(path))}
    if not reasons:
        return ""
    path, reason = next(iter(reasons.items()))
    return f"{len(reasons)} of {len(set(paths))} {noun} cannot be read, e.g. {path}: {reason}"
