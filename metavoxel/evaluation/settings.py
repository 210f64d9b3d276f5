"""What is evaluated, and how a model is asked for it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from metavoxel.errors import EvidenceError, Problem
from metavoxel.inference.model import Model
from metavoxel.inference.question import unknown_names
from metavoxel.inference.summaries import DRAWS_FOR_QUANTILES
from metavoxel.schema.schema import Schema

FEWEST_SAMPLES = 5
"""Below this no measure of image quality has a meaning: neighbours among the generated scans are looked for."""

ALL_SUBSETS = 4
"""Up to so many other variables Table 2 has a row for every subset of them."""


@final
@dataclass(frozen=True)
class Settings:
    """What the report shows.

    Attributes:
        targets: scalars of Table 1, each predicted from all other variables; empty for all scalars.
        flexible: the variable of Table 2, predicted from subsets of the others; by default the first number.
        draws: joint draws behind intervals and spreads; by default the paper's 3 where times are shared, else 20.
        steps: network evaluations of one draw.
        sample_steps: network evaluations of a generated scan; 50 are those of the comparisons' scans.
        samples: generated scans for image quality and its figures; 0 leaves image quality out.
        rows: generated rows of numbers and labels, at most as many as there are test rows; 0 leaves them out. Where
            there are images they are the rows of the generated scans.
        copies: whether generated scans and rows are compared with the training subjects'.
        by: columns of the table, besides the usual ones, to break errors down by.
        seed: of draws, samples and bootstraps.
        fid: whether too few scans for a Fréchet distance are an error, and not a note.
    """

    targets: Sequence[str] = ()
    flexible: str | None = None
    draws: int | None = None
    steps: int = 50
    sample_steps: int = 50
    samples: int = 100
    rows: int = 1000
    copies: bool = True
    by: Sequence[str] = ()
    seed: int = 0
    fid: bool = False

    def checked(self, schema: Schema) -> "Settings":
        """The same with every choice made for this schema.

        Raises:
            EvidenceError: names that are not there, or are no scalars; numbers out of range.
        """
        scalars = [name for name, spec in schema.specs.items() if not (spec.spatial or spec.data_shape)]
        flexible = [self.flexible] if self.flexible else []
        problems = [*unknown_names(schema, self.targets, "--target"), *unknown_names(schema, flexible, "--table2")]
        problems += [
            Problem(where, f"{name!r} is not a number or a label. Those are: {', '.join(scalars) or 'none'}")
            for where, names in (("--target", self.targets), ("--table2", flexible))
            for name in names
            if name in schema.variables and name not in scalars
        ]
        if 0 < self.samples < FEWEST_SAMPLES:
            what = f"must be 0 (no image quality) or at least {FEWEST_SAMPLES}, not {self.samples}"
            problems.append(Problem("--samples", what))
        if len(schema.variables) < 2:
            problems.append(Problem("variables", "there is one variable, so there is nothing to predict it from"))
        if problems:
            raise EvidenceError(problems)
        targets = list(self.targets) or scalars
        numbers = [name for name in targets if schema.variables[name].parts.codec.support == "real"]
        shared = schema.diffusion.times == "shared"
        return replace(
            self,
            targets=targets,
            flexible=self.flexible or next(iter([*numbers, *targets]), None),
            draws=self.draws or (3 if shared else DRAWS_FOR_QUANTILES),
        )


def others(schema: Schema, target: str) -> tuple[str, ...]:
    """All variables but one, in the schema's order."""
    return tuple(name for name in schema.variables if name != target)


def subsets(schema: Schema, target: str) -> list[tuple[str, ...]]:
    """Subsets of the other variables that Table 2 has rows for: the whole first, the empty one last.

    All of them up to ``ALL_SUBSETS`` others; of more, the whole, those that leave one out, each alone, and none.
    """
    names = others(schema, target)
    sizes = range(len(names), -1, -1)
    if len(names) > ALL_SUBSETS:
        sizes = [len(names), len(names) - 1, 1, 0]  # type: ignore[assignment]
    return [subset for size in sizes for subset in itertools.combinations(names, size)]


@final
@dataclass(frozen=True)
class Protocol:
    """How a model is asked for one target.

    Attributes:
        predicts_mean: whether the point prediction is the read-out in ``evaluations``, rather than the mean of the draws.
        votes: whether a label is that of most draws (the paper's rule) rather than the likeliest.
        draws: 0 where they would add nothing, as for a label that is read out.
        steps: network evaluations of a draw.
        evaluations: of a read-out.
    """

    predicts_mean: bool
    votes: bool
    draws: int
    steps: int
    evaluations: int = 4

    @property
    def point_evaluations(self) -> int:
        """Network evaluations behind a point prediction."""
        return self.evaluations if self.predicts_mean else self.draws * self.steps

    @property
    def told(self) -> str:
        """The protocol in words."""
        if self.predicts_mean:
            spread = f"; spread and intervals from {self.draws} draws of {self.steps}" if self.draws else ""
            return f"posterior mean in {self.evaluations} network evaluations{spread}"
        point = "majority vote" if self.votes else "mean"
        return f"{point} of {self.draws} draws of {self.steps} network evaluations"


def protocol(model: Model, settings: Settings, target: str) -> Protocol:
    """The read-out where the model has one, with draws beside it for numbers; else draws alone."""
    shared = model.schema.diffusion.times == "shared"
    predicts_mean = not shared and model.joint.kernels[target].predicts_mean
    label = target in model.labels
    assert settings.draws is not None, "checked settings have every choice made"
    draws = 0 if predicts_mean and label else settings.draws
    return Protocol(predicts_mean, label and not predicts_mean, draws, settings.steps)
