"""Where commands write: folders that are theirs, and what an earlier run of the same command left in them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from metavoxel.errors import RunError

SAMPLES = re.compile(r"samples\.tsv|sample-\d{3,}_.+")
"""What ``metavoxel sample`` writes."""

ROW_IMAGES = re.compile(r"row-\d{4,}_.+")
"""Images that ``metavoxel predict`` writes."""


def claim_folder(folder: Path) -> None:
    """Make it, before anything is computed for it.

    Raises:
        RunError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None


def claim_files(files: Mapping[str, Path | None], *, read: Path | None) -> None:
    """Make the folders of files that options name, and make sure that each is a new file or one to be replaced.

    Raises:
        RunError: a folder, the table that is read, or a file that two options name.
    """
    claimed: dict[Path, str] = {} if read is None else {read.resolve(): "the table that is read"}
    for option, file in files.items():
        if file is None:
            continue
        taken = "a folder" if file.is_dir() else claimed.get(file.resolve())
        if taken is not None:
            raise RunError(f"{file}: is {taken}; choose another {option}")
        claimed[file.resolve()] = f"also the file of {option}"
        claim_folder(file.parent)


def claim_own_folder(folder: Path, own: re.Pattern[str], *, read: Sequence[str | Path] = ()) -> None:
    """Make a folder, or make sure that it holds nothing but what the same command left there and does not read now.

    Raises:
        RunError: it cannot be made, or holds something else, which might be the user's, or what is to be read.
    """
    claim_folder(folder)
    inside = [str(file) for file in read if Path(file).resolve().parent == folder.resolve()]
    if inside:
        raise RunError(f"{inside[0]}: is in the folder that is written anew, {folder}; choose another --output")
    others = sorted(path.name for path in folder.iterdir() if not (path.is_file() and own.fullmatch(path.name)))
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise RunError(f"{folder}: holds other files ({shown}); choose another --output")


def clear_own_folder(folder: Path, own: re.Pattern[str]) -> None:
    """Remove what an earlier run left, so that nothing in the folder is older than its table."""
    for path in folder.iterdir():
        if path.is_file() and own.fullmatch(path.name):
            path.unlink()
