"""Files whose content is elsewhere: unfetched links and pointer files of git-annex (DataLad) and Git LFS."""

import os
from collections.abc import Sequence
from pathlib import Path

_POINTERS = (b"/annex/objects/", b"version https://git-lfs")
"""How a pointer file begins: git-annex's pointer file format, and the Git LFS specification, version 1."""
_LARGEST_POINTER = 32 * 1024
"""Bytes; git-annex's limit. Pointers of Git LFS are below 1024."""


def absence(path: Path) -> str:
    """Why a path cannot be read as a data file, as a fragment of a sentence; "" for what may be one.

    A link into a git-annex without its content, a pointer file of git-annex or Git LFS, another broken link, a folder,
    or no such file. The fragment names the command that fetches the content. Only names and, of small files, the first
    bytes are read.
    """
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if _is_annexed(target):
            return "its content is not fetched (a link into git-annex without its content); " + _annex_cure(path)
        return f"a broken link to {target}"
    if path.is_dir():
        return "a folder, where a file is expected"
    if not path.exists():
        return "no such file" if path.parent.is_dir() else f"no such file, and no folder {path.parent}"
    start = _start(path)
    if start.startswith(_POINTERS[0]):
        return "its content is not fetched (a pointer file of git-annex); " + _annex_cure(path)
    if start.startswith(_POINTERS[1]):
        return f"its content is not fetched (a pointer file of Git LFS); fetch it: git lfs pull --include {path}"
    return ""


def _is_annexed(target: str) -> bool:
    return any(part in Path(target).as_posix() for part in (".git/annex", "annex/objects"))


def _annex_cure(path: Path) -> str:
    return f"fetch it: datalad get {path}, or git annex get {path}"


def _start(path: Path) -> bytes:
    """The first bytes of a file that is small enough for a pointer; nothing of others and of those not readable."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_POINTER:
            return b""
        with path.open("rb") as file:
            return file.read(max(map(len, _POINTERS)))
    except OSError:
        return b""


def absences(paths: Sequence[Path], noun: str) -> str:
    """How many of many paths cannot be read as data files, with the first one's reason; "" when all may be ones.

    ``noun`` is what they are, in the plural: ``images``.
    """
    reasons = {path: reason for path in dict.fromkeys(paths) if (reason := absence(path))}
    if not reasons:
        return ""
    path, reason = next(iter(reasons.items()))
    return f"{len(reasons)} of {len(set(paths))} {noun} cannot be read, e.g. {path}: {reason}"
