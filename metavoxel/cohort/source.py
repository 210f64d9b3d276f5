"""The folder and the table that a schema's cohort section names."""

from collections.abc import Mapping
from pathlib import Path

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.bids_files import DERIVATIVES, derivative_names
from metavoxel.cohort.table import Table, read_table
from metavoxel.cohort.visual_qa import without_dropped
from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.schema.settings import CohortSettings


def read_cohort_table(settings: CohortSettings, variables: Mapping[str, AbstractVariableSpec], folder: Path) -> Table:
    """Read the table or BIDS folder of a cohort, without the scans that raters dropped.

    Args:
        settings: of the cohort.
        variables: settings by name, which select the images of a BIDS folder.
        folder: base of relative paths in ``settings``.

    Raises:
        CohortError: no such file or folder, or a malformed one.
    """
    if settings.bids is None:
        return without_dropped(read_table(folder / (settings.table or "")), settings, folder)
    participants = None if settings.participants is None else folder / settings.participants
    table = read_bids(bids_folder(settings, folder), variables, participants=participants)
    return without_dropped(table, settings, folder)


def bids_folder(settings: CohortSettings, folder: Path) -> Path:
    """Return the BIDS folder whose images are read: ``bids``, or one of its derivatives.

    Raises:
        CohortError: no such derivative.
    """
    raw = folder / (settings.bids or "")
    if settings.derivatives is None:
        return raw
    derivative = raw / DERIVATIVES / settings.derivatives
    if raw.is_dir() and not derivative.is_dir():
        names = derivative_names(raw)
        what = (
            f"{raw / DERIVATIVES} has no folder {settings.derivatives}.{did_you_mean(str(settings.derivatives), names)}"
        )
        raise CohortError(Problem("cohort.derivatives", f"{what} Available: {', '.join(names) or 'none'}"))
    return derivative if raw.is_dir() else raw
