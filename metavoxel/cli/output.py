"""Where commands write: folders that are theirs, and what an earlier run of the same command left in them."""

import re
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


def claim_own_folder(folder: Path, own: re.Pattern[str]) -> None:
    """Make a folder, or make sure that it holds nothing but what the same command left there.

    Raises:
        RunError: it cannot be made, or holds something else, which might be the user's.
    """
    claim_folder(folder)
    others = sorted(path.name for path in folder.iterdir() if not (path.is_file() and own.fullmatch(path.name)))
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise RunError(f"{folder}: holds other files ({shown}); choose another --output")


def clear_own_folder(folder: Path, own: re.Pattern[str]) -> None:
    """Remove what an earlier run left, so that nothing in the folder is older than its table."""
    for path in folder.iterdir():
        if path.is_file() and own.fullmatch(path.name):
            path.unlink()
