"""Prediction queries on the rows of a table, checked against the schema with all problems at once."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import final

from metavoxel.errors import EvidenceError, Problem, closest, did_you_mean
from metavoxel.schema.schema import Schema

TOGETHER = "together"
"""Value of ``order`` for all targets in one trajectory."""

PRIOR_TOLERANCE = 1e-3


@final
@dataclass(frozen=True)
class Question:
    """A checked query: targets, evidence, and kind of prediction.

    Attributes:
        targets: variables to predict.
        given: variables to predict from.
        draws: 0 for each target's posterior mean, else the number of joint draws.
        order: targets in the order in which they are drawn, each given those before it; None for one trajectory of all.
        prior: base rates, by label, of at most one category among the targets.
    """

    targets: Sequence[str]
    given: Sequence[str]
    draws: int = 0
    order: Sequence[str] | None = None
    prior: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """Description of the joint distribution of several targets in the answer; empty for one target."""
        if len(self.targets) < 2:
            return ""
        if self.draws == 0:
            return "each target by itself; draws give their joint distribution"
        if self.order is None:
            return "joint draws, all in one trajectory"
        return f"joint draws, one after another: {', '.join(self.order)}"


def unknown_names(schema: Schema, names: Collection[str], where: str) -> list[Problem]:
    """Return a problem for every name that is not a variable of the schema."""
    known, problems = list(schema.variables), []
    for name in (name for name in names if name not in schema.variables):
        alone = name.partition("=")[0]
        if alone in schema.variables:  # name=value is the syntax for one subject
            what = f"{name!r}: values are taken from the rows of the table; give the name alone: {alone}"
        else:
            what = f"no variable {name!r}.{did_you_mean(name, known)} Variables: {', '.join(known)}"
        problems.append(Problem(where, what))
    return problems


def misspelt_columns(schema: Schema, columns: Collection[str], targets: Sequence[str]) -> Iterator[str]:
    """Yield a warning for each unused column with nearly the name of a missing column of a variable.

    Without a list of predictors, the variable would be left out of the evidence unnoticed.
    """
    needed = {name: spec.required_columns(name) for name, spec in schema.specs.items()}
    used = set().union(*needed.values()) | {schema.cohort.subject}
    missing = {
        column: name for name, wanted in needed.items() if name not in targets for column in wanted - set(columns)
    }
    present = [name for name, wanted in needed.items() if name not in targets and wanted <= set(columns)]
    for column in columns:
        near = None if column in used else closest(column, list(missing))
        if near is not None:
            yield (
                f"column {column!r} of the table is not used, and {near!r} of variable {missing[near]!r} is missing: "
                f"rename it if it is that column. Evidence: {', '.join(present) or 'none'}"
            )


def ask(
    schema: Schema,
    labels: Mapping[str, Sequence[str]],
    columns: Collection[str],
    targets: Sequence[str],
    given: Sequence[str] | None,
    *,
    draws: int,
    order: Sequence[str] | str | None,
    prior: Mapping[str, Mapping[str, float]] | None,
    in_turn: bool,
) -> Question:
    """Check a query of a model.

    Args:
        schema: of the model.
        labels: of every category.
        columns: of the table.
        targets: variables to predict.
        given: variables to predict from; None for all others in the table.
        draws: 0 or more.
        order: targets in the order of their draws, or 'together'; None for the schema's order, but with a prior's
            category first.
        prior: base rates by category and label.
        in_turn: whether the conditioning method allows drawing targets one after another.

    Raises:
        EvidenceError: unknown or contradictory names, with the valid alternatives.
    """
    targets, prior = list(dict.fromkeys(targets)), dict(prior or {})
    names, problems = _predictors(schema, columns, targets, given)
    problems += _unasked(schema, targets, given or ())
    problems += [] if draws else _without_mean(schema, targets)
    chosen, more = _order(schema, targets, order, draws, prior, in_turn)
    problems += more + _prior(schema, labels, targets, names, prior, in_turn or draws == 0)
    if problems:
        raise EvidenceError(problems)
    return Question(targets, names, draws, chosen, prior)


def _predictors(
    schema: Schema, columns: Collection[str], targets: Sequence[str], given: Sequence[str] | None
) -> tuple[list[str], list[Problem]]:
    problems = unknown_names(schema, targets, "target")
    if given is not None:
        names = list(dict.fromkeys(given))
        problems += unknown_names(schema, names, "given")
        both = [name for name in names if name in targets]
        left = [name for name in schema.variables if name not in names]
        can = f"use another target: {', '.join(left)}" if left else "omit it from given"
        problems += [
            Problem("given", f"{name!r} is also a target; a variable is either a target or given: {can}")
            for name in both
        ]
        return names, problems
    others = {name: spec.required_columns(name) for name, spec in schema.specs.items() if name not in targets}
    names = [name for name, needed in others.items() if needed <= set(columns)]
    if others and not names and not problems:
        wanted = ", ".join(sorted(set().union(*others.values())))
        problems.append(
            Problem("given", f"the table has no column to predict from; columns of other variables: {wanted}")
        )
    return names, problems


def _unasked(schema: Schema, targets: Sequence[str], given: Sequence[str]) -> list[Problem]:
    """Return a problem if there is no target, with the possible ones."""
    if targets:
        return []
    left = [name for name in schema.variables if name not in given]
    everything = f"every variable is given; omit from given those to predict: {', '.join(schema.variables)}"
    return [Problem("target", f"name a variable to predict: {', '.join(left)}" if left else everything)]


def _without_mean(schema: Schema, targets: Sequence[str]) -> list[Problem]:
    """Return a problem for each target that has no mean, and is only predicted by draws."""
    return [
        Problem(
            "target",
            f"{name!r} is of type {schema.variables[name].spec.type!r}, which has no mean: use `draws=1` or more",
        )
        for name in targets
        if name in schema.variables and not schema.variables[name].spec.has_mean
    ]


def _order(
    schema: Schema,
    targets: Sequence[str],
    order: Sequence[str] | str | None,
    draws: int,
    prior: Mapping[str, object],
    in_turn: bool,
) -> tuple[list[str] | None, list[Problem]]:
    if order is None:
        ranked = sorted(targets, key=lambda name: (name not in prior, _place(schema, name)))
        return (ranked if in_turn else None), []
    if order == TOGETHER or list(order) == [TOGETHER]:
        if prior:
            what = "a prior is applied before the other targets are drawn: omit `order`, or the prior"
            return None, [Problem("order", what)]
        return None, []
    names = [order] if isinstance(order, str) else list(order)
    problems = []
    if draws == 0:
        problems.append(Problem("order", "only used when sampling; use `draws=1` or more, or omit it"))
    if not in_turn:
        what = "drawing targets one after another needs clean evidence, which this model or conditioning method lacks"
        problems.append(Problem("order", f"{what}: omit it, or use '{TOGETHER}'"))
    if sorted(names) != sorted(targets):
        what = f"must name each target once: {', '.join(targets)} (or be '{TOGETHER}')"
        problems.append(Problem("order", f"{', '.join(names)}: {what}"))
    elif prior and names[0] not in prior:
        what = f"{next(iter(prior))!r} has a prior, on which the other targets depend: it must be first"
        problems.append(Problem("order", what))
    return names, problems


def _place(schema: Schema, name: str) -> int:
    """Return a variable's position in the schema; unknown names, reported elsewhere, are last."""
    known = list(schema.variables)
    return known.index(name) if name in known else len(known)


def _prior(
    schema: Schema,
    labels: Mapping[str, Sequence[str]],
    targets: Sequence[str],
    given: Sequence[str],
    prior: Mapping[str, Mapping[str, float]],
    predicts_mean: bool,
) -> list[Problem]:
    if len(prior) > 1:
        what = f"is for one category only (given: {', '.join(prior)}): several would need joint base rates"
        return [Problem("prior", what)]
    problems = unknown_names(schema, [*prior], "prior")
    for name, rates in prior.items():
        if name not in schema.variables:
            continue
        where = f"prior {name}"
        if name not in labels:
            problems.append(Problem(where, f"is not a category. Categories: {', '.join(labels) or 'none'}"))
            continue
        if name in given:
            problems.append(Problem(where, "is given, so its base rates have no effect; omit one of the two"))
        elif name not in targets:
            what = f"is not a target, so the other targets would have to be averaged over it: use `target={name},...`"
            problems.append(Problem(where, what))
        if not predicts_mean:
            what = "needs a model with a time for each variable, and conditioning 'clean' without guidance"
            problems.append(Problem(where, what))
        problems += [Problem(where, what) for what in _wrong_rates(labels[name], rates)]
    return problems


def _wrong_rates(labels: Sequence[str], rates: Mapping[str, float]) -> list[str]:
    if not isinstance(rates, Mapping) or not all(isinstance(rate, Real) for rate in rates.values()):
        return [f"must give a number for each label, as {{{labels[0]!r}: 0.5, ...}}, not {rates!r}"]
    wrong = [
        f"no label {label!r}.{did_you_mean(label, labels)} Labels: {', '.join(labels)}"
        for label in rates
        if label not in labels
    ]
    absent = [label for label in labels if label not in rates]
    if absent:
        wrong.append(f"every label needs a probability, which may be 0; missing: {', '.join(absent)}")
    wrong += [
        f"{label}: a probability must be between 0 and 1, not {rate:g}"
        for label, rate in rates.items()
        if not 0 <= rate <= 1  # true for NaN too
    ]
    total = math.fsum(rates.values())
    if not wrong and abs(total - 1) > PRIOR_TOLERANCE:
        wrong.append(f"the probabilities sum to {total:g}, and must sum to 1 (within {PRIOR_TOLERANCE:g})")
    return wrong
