"""Check output files and folders of commands, and remove the output of an earlier run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from metavoxel.errors import RunError

SAMPLES = re.compile(r"samples\.tsv|sample-\d{3,}_.+")
"""Files written by ``metavoxel sample``."""

ROW_IMAGES = re.compile(r"row-\d{4,}_.+")
"""Images written by ``metavoxel predict``."""


def claim_folder(folder: Path) -> None:
    """Create a folder before anything is computed for it.

    Raises:
        RunError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None


def claim_files(files: Mapping[str, Path | None], *, read: Path | None) -> None:
    """Create the folders of output files, and check that each file is new or may be replaced.

    Raises:
        RunError: an output is a folder, the input table, or the file of another option.
    """
    claimed: dict[Path, str] = {} if read is None else {read.resolve(): "the input table"}
    for option, file in files.items():
        if file is None:
            continue
        taken = "a folder" if file.is_dir() else claimed.get(file.resolve())
        if taken is not None:
            raise RunError(f"{file}: is {taken}; choose another {option}")
        claimed[file.resolve()] = f"also the file of {option}"
        claim_folder(file.parent)


def claim_own_folder(folder: Path, own: re.Pattern[str], *, read: Sequence[str | Path] = ()) -> None:
    """Create a folder, or check that it holds only earlier output of the same command, none of it an input.

    Raises:
        RunError: it cannot be created, or holds an input or other files, which may be the user's.
    """
    claim_folder(folder)
    inside = [str(file) for file in read if Path(file).resolve().parent == folder.resolve()]
    if inside:
        raise RunError(f"{inside[0]}: is an input in the folder to be overwritten, {folder}; choose another --output")
    others = sorted(path.name for path in folder.iterdir() if not (path.is_file() and own.fullmatch(path.name)))
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise RunError(f"{folder}: holds other files ({shown}); choose another --output")


def clear_own_folder(folder: Path, own: re.Pattern[str]) -> None:
    """Remove the output of an earlier run, so that no file in the folder is older than its table."""
    for path in folder.iterdir():
        if path.is_file() and own.fullmatch(path.name):
            path.unlink()
