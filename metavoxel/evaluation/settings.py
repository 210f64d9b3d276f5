"""Settings of an evaluation, and the prediction protocol of each target."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from metavoxel.errors import EvidenceError, Problem
from metavoxel.inference.arguments import count_problems, whole_seed
from metavoxel.inference.model import Model
from metavoxel.inference.question import unknown_names
from metavoxel.inference.summaries import DRAWS_FOR_QUANTILES
from metavoxel.schema.schema import Schema

FEWEST_SAMPLES = 5
"""Fewest generated scans for image quality, whose precision and recall need nearest neighbours."""

ALL_SUBSETS = 4
"""Largest number of other variables for which Table 2 has a row for every subset of them."""


@final
@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation.

    Attributes:
        targets: scalars of Table 1, each predicted from all other variables; empty for all scalars.
        flexible: the variable of Table 2, predicted from subsets of the others; by default the first number.
        draws: joint draws for intervals and spreads; by default the paper's 3 with shared times, else 20.
        steps: network evaluations per draw, and of a text at least one for each token.
        sample_steps: network evaluations per generated scan; 50 as in the comparisons.
        samples: generated scans for image quality and its figures; 0 skips image quality.
        rows: generated rows of numbers and labels, at most as many as test rows; 0 skips them. With images, they are
            the rows of the generated scans.
        copies: whether generated scans and rows are compared with those of training subjects.
        by: further columns of the table that define subgroups.
        seed: seed of draws, samples and bootstraps.
        fid: whether too few scans for a Fréchet distance are an error rather than a note.
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
        """Validate the settings and resolve their defaults for this schema.

        Raises:
            EvidenceError: unknown or non-scalar variables; numbers out of range.
        """
        scalars = [name for name, spec in schema.specs.items() if not (spec.spatial or spec.data_shape)]
        flexible = [self.flexible] if self.flexible else []
        problems = [*unknown_names(schema, self.targets, "`targets`"), *unknown_names(schema, flexible, "`flexible`")]
        problems += [
            Problem(where, f"{name!r} is not a number or a label. Those are: {', '.join(scalars) or 'none'}")
            for where, names in (("`targets`", self.targets), ("`flexible`", flexible))
            for name in names
            if name in schema.variables and name not in scalars
        ]
        least = {"draws": 1, "steps": 1, "sample_steps": 1, "samples": 0, "rows": 0}
        counts = {name: (getattr(self, name), bound) for name, bound in least.items()}
        wrong = [Problem(f"`{where}`", what) for where, what in count_problems(**counts)]
        problems += wrong
        seed = whole_seed(self.seed)
        if not wrong and 0 < self.samples < FEWEST_SAMPLES:
            what = f"must be 0 (no image quality) or at least {FEWEST_SAMPLES}, not {self.samples}"
            problems.append(Problem("`samples`", what))
        if len(schema.variables) < 2:
            problems.append(Problem("variables", "there is one variable, and no other to predict it from"))
        if problems:
            raise EvidenceError(problems)
        targets = list(self.targets) or scalars
        numbers = [name for name in targets if not schema.variables[name].parts.kernel.is_categorical]
        shared = schema.diffusion.shared_time
        return replace(
            self,
            seed=seed,
            targets=targets,
            flexible=self.flexible or next(iter([*numbers, *targets]), None),
            draws=self.draws or (3 if shared else DRAWS_FOR_QUANTILES),
        )


def others(schema: Schema, target: str) -> tuple[str, ...]:
    """All variables but one, in the schema's order."""
    return tuple(name for name in schema.variables if name != target)


def subsets(schema: Schema, target: str) -> list[tuple[str, ...]]:
    """Subsets of the other variables in Table 2, from all of them to the empty set.

    Every subset of up to ``ALL_SUBSETS`` others; of more, all, all but one, each alone, and none.
    """
    names = others(schema, target)
    sizes = range(len(names), -1, -1)
    if len(names) > ALL_SUBSETS:
        sizes = [len(names), len(names) - 1, 1, 0]  # type: ignore[assignment]
    return [subset for size in sizes for subset in itertools.combinations(names, size)]


@final
@dataclass(frozen=True)
class Protocol:
    """Prediction protocol of one target.

    Attributes:
        predicts_mean: whether the point prediction is the posterior mean, rather than the mean of draws.
        votes: whether a label is the most frequent among the draws (the paper's rule) rather than the most probable.
        draws: number of draws; 0 where redundant, as for a label with posterior probabilities.
        steps: network evaluations per draw.
        evaluations: network evaluations of the posterior mean.
    """

    predicts_mean: bool
    votes: bool
    draws: int
    steps: int
    evaluations: int

    @property
    def point_evaluations(self) -> int:
        """Network evaluations per point prediction."""
        return self.evaluations if self.predicts_mean else self.draws * self.steps

    @property
    def description(self) -> str:
        """Sentence fragment for the report."""
        if self.predicts_mean:
            spread = f"; spread and intervals from {self.draws} draws of {self.steps}" if self.draws else ""
            return f"posterior mean in {counted(self.evaluations, 'network evaluation')}{spread}"
        point = "majority vote" if self.votes else "mean"
        return f"{point} of {self.draws} draws of {self.steps} network evaluations"


def counted(number: int, what: str) -> str:
    """A number and what it counts, as ``1 evaluation`` and ``4 evaluations``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def protocol(model: Model, settings: Settings, target: str) -> Protocol:
    """Posterior mean where the model predicts it, with additional draws for numbers; else draws alone."""
    shared = model.schema.diffusion.shared_time
    has_mean = model.schema.variables[target].spec.has_mean and model.joint.kernels[target].predicts_mean
    predicts_mean = not shared and has_mean
    label = target in model.labels
    assert settings.draws is not None, "Settings.checked resolves defaults"
    draws = 0 if predicts_mean and label else settings.draws
    steps = max(settings.steps, model.joint.kernels[target].cells_in_turn(model.joint.code_shapes[target]))
    return Protocol(predicts_mean, label and not predicts_mean, draws, steps, model.joint.mean_evaluations)
