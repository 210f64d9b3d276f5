"""Facts of reports and pictures, gaps in reports, and lines of results, for run.py and autoregressive.py."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
import torch
from jaxtyping import Bool, Float64, Int64
from metavoxel_text.codec import END
from torch import Tensor

from metavoxel.cohort.phantoms.reports import Facts, parse_report, read_picture
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.inference.model import Model
from metavoxel.runs.run import RunFolder

GAP = 6
"""Tokens of a gap in the middle of a report; the shortest report has nine."""


def facts_of(report: str) -> Facts | None:
    """Return the facts of a report, or None if it is not of the grammar."""
    reading = parse_report(report)
    return None if reading is None else reading.facts


def facts_in(picture: Float64[np.ndarray, "n n"]) -> Facts | None:
    """Return the facts of a picture, or None if it shows no head."""
    reading = read_picture(picture)
    return None if reading is None else reading.facts


def all_right(found: Sequence[Facts | None], true: Sequence[Facts | None]) -> list[bool]:
    """Return whether there are facts, and equal to the true ones."""
    return [one is not None and one == other for one, other in zip(found, true, strict=True)]


class Subjects(NamedTuple):
    """Rows of the cohort's table by part of the run's split, with the subject as the index."""

    train: pandas.DataFrame
    validation: pandas.DataFrame
    test: pandas.DataFrame


def read_subjects(run: RunFolder, cohort: Path) -> Subjects:
    """Read the cohort's table."""
    table = pandas.read_csv(cohort / "participants.tsv", sep="\t").set_index("participant_id", drop=False)
    split = run.read_record()["split"]
    return Subjects(*(table.loc[split[part]] for part in Subjects._fields))


def gap_of(words: Int64[Tensor, "n l"]) -> Bool[Tensor, "n l"]:
    """Return the ``GAP`` tokens in the middle of each report, given as the classes of its tokens."""
    count = (words != END).sum(1, keepdim=True)
    start = (count - GAP) // 2
    place = torch.arange(words.shape[1], device=words.device)
    return (place >= start) & (place < start + GAP)


def texts_of(model: Model, words: Int64[Tensor, "n l"]) -> list[str]:
    """Return the reports of tokens' classes."""
    spec = model.schema.specs["report"]
    with torch.inference_mode():
        return [str(spec.format(value)) for value in model.codecs["report"].decode(words[:, None])]


class Filled(NamedTuple):
    """Reports with the words of their gaps as drawn, and the true reports, as the classes of their tokens."""

    words: Int64[Tensor, "n l"]
    true: Int64[Tensor, "n l"]


class Report:
    """Lines of results, printed and kept. Final."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def heading(self, text: str) -> None:
        """Add a heading."""
        self._add(f"\n{text}")

    def share(self, name: str, right: Sequence[bool] | Bool[np.ndarray, " n"]) -> None:
        """Add a share of subjects with its interval."""
        self.number(name, np.array(right, np.float64))

    def number(self, name: str, values: Float64[np.ndarray, " n"]) -> None:
        """Add a mean over subjects with its interval."""
        found = bootstrap_mean(values)
        bounds = f" [{found.low:.3f}, {found.high:.3f}]" if np.isfinite(found.low) else ""
        self._add(f"  {name:<58} {found.value:.3f}{bounds}")

    def filled(self, name: str, model: Model, filled: Filled, facts: Sequence[Facts | None]) -> None:
        """Add the shares of gaps whose words are all those of the report, and of filled reports with its facts."""
        same = (filled.words == filled.true) | ~gap_of(filled.true)
        found = [facts_of(text) for text in texts_of(model, filled.words)]
        self.share(f"{name}: the {GAP} words right", same.all(1).tolist())
        self.share(f"{name}: all facts right", all_right(found, facts))

    def write(self, path: Path) -> None:
        """Save the lines."""
        path.write_text("\n".join(self.lines).strip() + "\n", encoding="utf-8")

    def _add(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)


class Stopwatch:
    """Wall time and processor time since it was made. Final."""

    def __init__(self) -> None:
        self._start, self._before = time.perf_counter(), os.times()

    def __str__(self) -> str:
        used = os.times()
        spent = used.user + used.system - self._before.user - self._before.system
        return f"{time.perf_counter() - self._start:.0f} s, {spent:.0f} s of CPU"
