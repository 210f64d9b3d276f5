"""The scans of a derivative, worst first, and the agreement of raters."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import cohen_kappa_score

from metavoxel.errors import CohortError, Problem
from metavoxel.preparation.dataset import Finished, finished_scans, flagged_scans
from metavoxel.preparation.qa.decisions import Decision
from metavoxel.preparation.quality import Quality
from metavoxel.preparation.settings import T1W
from metavoxel.preparation.strips import STEPS, strip_path


class ScanRow(NamedTuple):
    """One visit of the page: its T1w, and what is suspicious of its other contrasts."""

    name: str
    subject: str
    session: str
    output: str
    quality: Quality
    reasons: list[str]
    notes: list[str]
    steps: list[str]


def scans_worst_first(derivative: Path) -> list[ScanRow]:
    """List the scans: by the number of reasons to flag them, then by their figures' distance from the cohort's.

    Raises:
        CohortError: no such folder, no prepared T1w, or a sidecar whose figures cannot be read.
    """
    scans = list(finished_scans(derivative))
    if problems := [problem for scan in scans if (problem := _damage(derivative, scan))]:
        raise CohortError(problems)
    if not any(scan.suffix == T1W for scan in scans):
        raise CohortError(Problem(str(derivative), _absence(derivative)))
    of_visits: dict[str, list[tuple[Finished, list[str]]]] = defaultdict(list)
    for scan, reasons in zip(scans, flagged_scans(scans), strict=True):
        of_visits[scan.visit].append((scan, reasons))
    heads = {scan.visit: scan for scan in scans if scan.suffix == T1W}
    qualities = {name: Quality(**scan.record["Quality"]) for name, scan in heads.items()}
    distance = _distances(qualities)
    rows = [
        ScanRow(
            name,
            scan.subject,
            scan.session,
            scan.record["Output"],
            qualities[name],
            [_of_contrast(one, text) for one, reasons in of_visits[name] for text in reasons],
            [_of_contrast(one, text) for one, _ in of_visits[name] for text in one.record["Notes"]],
            [
                step
                for step in (*STEPS, *(one.suffix for one, _ in of_visits[name] if one.suffix != T1W))
                if strip_path(derivative, name, step).is_file()
            ],
        )
        for name, scan in heads.items()
    ]
    return sorted(rows, key=lambda row: (-len(row.reasons), -distance[row.name], row.name))


def _absence(folder: Path) -> str:
    """Explain why a folder has no prepared scan, and name derivatives below it."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        return f"{what}; metavoxel qa takes the folder that metavoxel prepare wrote (--output)"
    below = sorted(path.parent for path in (*folder.glob("*/quality.tsv"), *folder.glob("derivatives/*/quality.tsv")))
    if below:
        return f"has no prepared scan, but derivatives are below it: metavoxel qa {below[0]}"
    if (folder / "failures.tsv").is_file():
        return "has no prepared scan: all failed, see its failures.tsv. Correct them and repeat metavoxel prepare"
    if next(folder.iterdir(), None) is None:
        return "is empty: no prepared scan. Prepare scans into it first: metavoxel prepare MY_SCANS --output " + str(
            folder
        )
    return (
        "has no prepared scan: it is no derivative of metavoxel prepare. If it has native scans, prepare them first: "
        f"metavoxel prepare {folder} --output {folder / 'derivatives' / 'prepared'}"
    )


def _damage(derivative: Path, scan: Finished) -> Problem | None:
    """Report a sidecar that lacks what the page shows."""
    record = scan.record
    try:
        complete = all(isinstance(value, float | int) for value in Quality(**record["Quality"]))
        complete = complete and isinstance(record["Output"], str) and isinstance(record["Notes"], list)
    except (KeyError, TypeError):
        complete = False
    if complete:
        return None
    what = "is damaged: no quality figures, hash or notes. Remove it, and repeat metavoxel prepare"
    return Problem(f"{derivative / scan.subject / scan.session}: sidecar of the {scan.suffix}", what)


def _of_contrast(scan: Finished, text: str) -> str:
    return text if scan.suffix == T1W else f"{scan.suffix}: {text}"


def _distances(qualities: dict[str, Quality]) -> dict[str, float]:
    """Largest robust z-score below the median, of correlation and symmetry."""
    values = np.array([(one.correlation, one.symmetry) for one in qualities.values()]).reshape(-1, 2)
    if not len(values):
        return {}
    below = np.median(values, 0) - values
    scores = below / np.maximum(1.4826 * np.median(np.abs(below), 0), 1e-3)
    return dict(zip(qualities, scores.max(1).tolist(), strict=True))


class Agreement(NamedTuple):
    """Agreement of two raters on the scans that both have seen."""

    raters: tuple[str, str]
    scans: int
    equal: float
    kappa: float | None
    """Cohen's kappa; None where both gave one decision alone."""


def agreements(decisions: Sequence[Decision]) -> list[Agreement]:
    """Compute the agreement of each pair of raters."""
    by_rater: dict[str, dict[tuple[str, str, str], str]] = {}
    for one in decisions:
        by_rater.setdefault(one.rater, {})[one.participant_id, one.session_id, one.output] = one.decision
    found = []
    for first, second in itertools.combinations(sorted(by_rater), 2):
        shared = sorted(set(by_rater[first]) & set(by_rater[second]))
        if not shared:
            continue
        a, b = ([by_rater[rater][key] for key in shared] for rater in (first, second))
        kappa = float(cohen_kappa_score(a, b)) if len({*a, *b}) > 1 else None
        equal = float(np.mean([x == y for x, y in zip(a, b, strict=True)]))
        found.append(Agreement((first, second), len(shared), equal, kappa))
    return found
