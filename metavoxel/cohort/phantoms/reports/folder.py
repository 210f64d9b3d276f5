"""Write and read a cohort of pictures and reports, with its ground truth beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from metavoxel.cohort.phantoms.record import read_record, refuse_others, write_json
from metavoxel.cohort.phantoms.reports.drawing import draw_picture
from metavoxel.cohort.phantoms.reports.grammar import draw_report, report_logp
from metavoxel.cohort.phantoms.reports.heads import GRADES, HISTORIES, Head, draw_head
from metavoxel.cohort.phantoms.reports.posterior import ReportBounds, age_posterior, report_bounds
from metavoxel.cohort.phantoms.reports.settings import ReportSettings
from metavoxel.cohort.phantoms.subjects import Progress, generator
from metavoxel.errors import CohortError, Problem
from metavoxel.storage.atomic import write_text

REPORT_GENERATOR = "reports 1"
"""Version of the generator: changed when the same settings give other pictures or another distribution."""

_TRUTH = Path("derivatives") / "phantom"
_TABLES = (_TRUTH / "facts.tsv", Path("participants.tsv"))

_README = """Pictures and reports of simulated heads, written by metavoxel: no subject was scanned.

participants.tsv has age, sex, the picture's file and the report of every subject. Left is the left of a picture, and
frontal its top. derivatives/phantom/facts.tsv has the generating factors and the exact posteriors of age;
derivatives/phantom/phantom.json has the settings and the lowest expected errors.
"""


class ReportTruth(NamedTuple):
    """Ground truth of a cohort of pictures and reports."""

    settings: ReportSettings
    bounds: ReportBounds
    table: pd.DataFrame
    """One row per subject, in order: ``participant_id``, ``age``, ``sex``, ``history``, ``lesion`` (yes or no), and
    its ``side``, ``lobe``, ``size`` and ``signal``, empty without one; ``ventricles`` (grade), ``ventricle`` and
    ``head`` (lengths); the exact posterior of age, ``age_mean``, ``age_sd`` and ``age_median``, ``..._given_image``,
    ``..._given_report`` and ``..._given_both``; and ``report_logp``, log p(report | facts, history) in nats."""


def write_report_phantom(folder: Path, settings: ReportSettings) -> Iterator[Progress]:
    """Write pictures, reports and their truth, subject by subject; the tables are written last.

    Repeated with the same settings, or with more subjects, it keeps existing pictures and continues.

    Args:
        folder: new, empty, or a cohort with the same settings and no more subjects.
        settings: the cohort to write.

    Yields:
        Progress after each subject. Nothing is written before the first is requested.

    Raises:
        CohortError: the folder holds other content.
        RunError: a file cannot be written.
    """
    folder = Path(folder)
    refuse_others(folder, folder / _TRUTH / "phantom.json", settings.model_dump(mode="json"), REPORT_GENERATOR)
    for table in _TABLES:
        (folder / table).unlink(missing_ok=True)  # so that an interrupted extension does not look finished
    write_text(folder / "README", _README)
    record = {"settings": settings.model_dump(mode="json"), "bounds": report_bounds()._asdict()}
    write_json(folder / _TRUTH / "phantom.json", {"generator": REPORT_GENERATOR, **record})
    heads = [draw_head(settings.seed, number) for number in range(1, settings.subjects + 1)]
    for head in heads:
        _write_picture(folder / _picture(head), settings, head)
        yield Progress(head.name, head.number, settings.subjects)
    reports = [_report(settings, head) for head in heads]
    for table, rows in zip(_TABLES, (_truth_table(heads, reports), _participants(heads, reports)), strict=True):
        write_text(folder / table, rows.to_csv(sep="\t", index=False, float_format="%.8g"))


def read_report_truth(folder: Path) -> ReportTruth:
    """Read the ground truth of a cohort of pictures and reports.

    Raises:
        CohortError: the folder is not such a cohort, or an unfinished one.
    """
    root = Path(folder) / _TRUTH
    for name in ("phantom.json", "facts.tsv"):
        if not (root / name).is_file():
            what = "no such file: not a cohort of pictures and reports, or an interrupted one; write it again"
            raise CohortError(Problem(str(root / name), what))
    record = read_record(root / "phantom.json", REPORT_GENERATOR)
    table = pd.read_csv(root / "facts.tsv", sep="\t", keep_default_na=False)
    return ReportTruth(ReportSettings(**record["settings"]), ReportBounds(**record["bounds"]), table)


def _picture(head: Head) -> Path:
    return Path("pictures") / f"{head.name}.png"


def _write_picture(path: Path, settings: ReportSettings, head: Head) -> None:
    if path.exists():
        return  # complete and identical: a function of the settings
    random = generator(settings.seed, head.number, "picture")
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}")  # not flushed to disk one by one, which takes as long as all else
    Image.fromarray(draw_picture(head, settings.pixels, settings.noise, random)).save(temporary, format="PNG")
    temporary.replace(path)


def _report(settings: ReportSettings, head: Head) -> str:
    return draw_report(head.facts, head.history, generator(settings.seed, head.number, "report"))


def _participants(heads: Sequence[Head], reports: Sequence[str]) -> pd.DataFrame:
    rows = zip(heads, reports, strict=True)
    return pd.DataFrame(
        {"participant_id": head.name, "age": f"{head.age:.2f}", "sex": head.sex, "image": str(_picture(head)),
         "report": report}
        for head, report in rows
    )  # fmt: skip


def _truth_table(heads: Sequence[Head], reports: Sequence[str]) -> pd.DataFrame:
    rows = []
    for head, report in zip(heads, reports, strict=True):
        lesion = {} if head.lesion is None else head.lesion._asdict()
        rows.append(
            {"participant_id": head.name, "age": head.age, "sex": head.sex, "history": head.history,
             "lesion": "no" if head.lesion is None else "yes", "side": "", "lobe": "", "size": "", "signal": "",
             **lesion, "ventricles": head.facts.ventricles, "ventricle": head.ventricle, "head": head.head,
             "report_logp": report_logp(report)}
        )  # fmt: skip
    lesions = np.array([head.lesion is not None for head in heads])
    widths = np.array([head.ventricle for head in heads])
    histories = np.array([HISTORIES.index(head.history) for head in heads])
    grades = np.array([GRADES.index(head.facts.ventricles) for head in heads])
    posteriors = {
        "image": age_posterior(lesion=lesions, ventricle=widths),
        "report": age_posterior(lesion=lesions, grade=grades, history=histories),
        "both": age_posterior(lesion=lesions, ventricle=widths, history=histories),
    }
    table = pd.DataFrame(rows)
    for given, found in posteriors.items():
        for name, values in found._asdict().items():
            table[f"age_{name}_given_{given}"] = values
    return table
