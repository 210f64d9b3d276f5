"""Predictions for the rows of a table: codes of the targets, and their tables."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final, get_args

import pandas
import torch
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import EvidenceError, Problem
from metavoxel.inference.arguments import refuse_without_draws
from metavoxel.inference.order import JointDraw
from metavoxel.inference.question import Question
from metavoxel.inference.summaries import draw_cells, image_values, mean_cells
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.variables.base import Point
from metavoxel.sampling.evidence import Evidence
from metavoxel.schema.schema import Schema
from metavoxel.typing import AnyCode


class GivenRows(NamedTuple):
    """Rows of a table as they were read, and the codes of their evidence."""

    cohort: Cohort
    evidence: Mapping[str, Evidence]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """Predictions of the targets in every row.

    Attributes:
        question: targets, evidence and kind of prediction.
        schema: of the model.
        codecs: of the model, including the targets'.
        subjects: of the rows.
        row_keys: of the rows.
        means: posterior means of the targets in code space; empty with draws.
        draws: joint draws of the targets; empty without.
        given: the rows as they were read, with their evidence; None if they were not read for this answer.
    """

    question: Question
    schema: Schema
    codecs: Mapping[str, AbstractCodec]
    subjects: Sequence[object]
    row_keys: Sequence[str]
    means: Mapping[str, AnyCode]
    draws: Sequence[JointDraw]
    given: GivenRows | None = None

    def __repr__(self) -> str:
        question = f"{', '.join(self.question.targets)} given {', '.join(self.question.given) or 'nothing'}"
        how = f"{len(self.draws)} joint draws" if self.draws else "posterior means"
        return f"Answer({question}: {how} of {len(self.subjects)} rows)"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.table().to_html(index=False, max_rows=20)}"

    def table(self, *, point: str = "mean", vote: bool = False, images: Path | str | None = None) -> pandas.DataFrame:
        """Return a table with the subject and the predictions of every row.

        Args:
            point: 'mean' or 'median' of a number's draws.
            vote: whether a category's label is the majority of the draws, instead of the one of highest mean
                probability.
            images: folder to write every predicted image to, with its path in the cell; without it, the cell has the
                image's size.

        Raises:
            EvidenceError: unknown point.
        """
        center = as_point(point)
        if not self.subjects:
            return self._of_zeros().table(point=point, vote=vote).iloc[:0]
        rows: list[dict[str, object]] = [{self.schema.cohort.subject: subject} for subject in self.subjects]
        with torch.inference_mode():
            for name in self.question.targets:
                cells = (
                    self._cells(name, center, vote)
                    if images is None or not self.schema.variables[name].spec.spatial
                    else self._image_cells(name, center, Path(images))
                )
                for row, more in zip(rows, cells, strict=True):
                    row.update(more)
        return pandas.DataFrame(rows)

    def long_table(self) -> pandas.DataFrame:
        """Return a table of all draws: subject, number of the draw, and every target that is not an image.

        Raises:
            EvidenceError: there are no draws.
        """
        if not self.draws:
            raise EvidenceError("there are no draws: use `draws=1` or more")
        numbers = range(1, len(self.draws) + 1)
        columns: dict[str, list[object]] = {
            self.schema.cohort.subject: [subject for subject in self.subjects for _ in numbers],
            "draw": [number for _ in self.subjects for number in numbers],
        }
        for name in self.question.targets:
            spec = self.schema.variables[name].spec
            if not spec.spatial:
                with torch.inference_mode():
                    values = [self.codecs[name].decode(draw.codes[name]) for draw in self.draws]
                for row in range(len(self.subjects)):
                    for draw in values:
                        for column, cell in spec.cells(name, draw[row]).items():
                            columns.setdefault(column, []).append(cell)
        return pandas.DataFrame(columns)

    def _of_zeros(self) -> "Answer":
        """Return an answer of one row, which determines the columns of an empty table."""

        def zeros(codes: Mapping[str, AnyCode]) -> dict[str, AnyCode]:
            return {name: code.new_zeros(1, *code.shape[1:]) for name, code in codes.items()}

        draws = [JointDraw(zeros(draw.codes), zeros(draw.probabilities)) for draw in self.draws]
        return replace(self, subjects=[""], row_keys=[""], means=zeros(self.means), draws=draws)

    def _cells(self, name: str, point: Point, vote: bool) -> list[dict[str, object]]:
        spec, codec = self.schema.variables[name].spec, self.codecs[name]
        if not self.draws:
            return mean_cells(name, spec, codec, _on_processor(codec, self.means[name]))
        if name not in self.draws[0].probabilities:
            return draw_cells(name, spec, codec, [draw.codes[name] for draw in self.draws], point=point)
        votes = torch.stack([draw.codes[name].argmax(1).cpu() for draw in self.draws]) if vote else None
        probabilities = [draw.probabilities[name].cpu() for draw in self.draws]
        return draw_cells(name, spec, codec, probabilities, votes=votes)

    def _image_cells(self, name: str, point: Point, folder: Path) -> list[dict[str, object]]:
        """Write the decoded posterior mean, or the mean of the decoded draws, to one file per row."""
        spec, codec = self.schema.variables[name].spec, self.codecs[name]
        codes = [draw.codes[name] for draw in self.draws] or [self.means[name]]
        return [
            {
                column: f"{folder.name}/{file}"
                for column, file in spec.write(name, value, folder=folder, stem=file_stem(row, key)).items()
            }
            for row, (key, value) in enumerate(
                zip(self.row_keys, image_values(spec, codec, codes, point=point), strict=True)
            )
        ]


def as_point(text: str | None, *, vote: bool = False, draws: int = 1) -> Point:
    """Check the name of a point estimate, by default the mean; without draws, neither it nor ``vote`` may be given.

    Raises:
        EvidenceError: it is unknown, or one of draws that there are not.
    """
    refuse_without_draws(draws, {"point": text, "vote": vote or None})
    text = text or "mean"
    for known in get_args(Point):
        if text == known:
            return known
    raise EvidenceError(Problem("point", f"{text!r} is not one of {', '.join(get_args(Point))}"))


def file_stem(row: int, key: str) -> str:
    """Return the stem of a row's files: its number, from 1, and its key, reduced to safe characters."""
    return f"row-{row + 1:04d}_{re.sub(r'[^A-Za-z0-9.-]+', '-', key)[:80]}"


def _on_processor(codec: AbstractCodec, code: Tensor) -> Tensor:
    """Move class probabilities to the CPU; other codes are decoded on their device."""
    return code.cpu() if codec.is_label else code
