"""What is asked of a model about the rows of a table, checked against its schema with every problem at once."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from metavoxel.errors import EvidenceError, Problem, did_you_mean
from metavoxel.parts.variables.text import composed
from metavoxel.schema.schema import Schema

TOGETHER = "together"
"""As an ``order``: all targets in one walk."""

PRIOR_TOLERANCE = 1e-3


@final
@dataclass(frozen=True)
class Question:
    """Targets, what they are asked from, and how they are drawn.

    Attributes:
        targets: variables to predict.
        given: variables to predict them from.
        draws: 0 for each target's read-out, else joint draws.
        order: targets in the order in which they are drawn, each given those before it; None for one walk of all.
        prior: for at most one category among the targets, its base rates by label.
    """

    targets: Sequence[str]
    given: Sequence[str]
    draws: int = 0
    order: Sequence[str] | None = None
    prior: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """How several targets hang together in the answer; nothing for one."""
        if len(self.targets) < 2:
            return ""
        if self.draws == 0:
            return "each target by itself; for their joint, ask for draws"
        if self.order is None:
            return "joint draws, all in one walk"
        return f"joint draws, one after another: {', '.join(self.order)}"


def unknown_names(schema: Schema, names: Collection[str], where: str) -> list[Problem]:
    """A problem for every name that is no variable of the schema."""
    known, problems = list(schema.variables), []
    for name in (name for name in names if name not in schema.variables):
        alone = name.partition("=")[0]
        if alone in schema.variables:  # as of one subject, for whom values are given in words
            what = f"{name!r}: values come from the rows here; name the variable alone: {alone}"
        else:
            what = f"no variable {name!r}.{did_you_mean(name, known)} Variables: {', '.join(known)}"
        problems.append(Problem(where, what))
    return problems


def listed(names: str | Sequence[str] | None) -> list[str] | None:
    """Names, of which one may come alone."""
    if names is None:
        return None
    return [composed(name) for name in ([names] if isinstance(names, str) else names)]


def check_counts(**counts: tuple[int | None, int]) -> None:
    """Refuse counts below the least that there may be, which follows each; those that are None were left out.

    Raises:
        EvidenceError: there are such counts.
    """
    problems = [
        Problem(name, f"must be at least {least}, not {count}")
        for name, (count, least) in counts.items()
        if count is not None and count < least
    ]
    if problems:
        raise EvidenceError(problems)


def refuse_without_draws(draws: int, settings: Mapping[str, object]) -> None:
    """Refuse settings of draws where none are asked for; those that are None were left out.

    Raises:
        EvidenceError: there are such settings.
    """
    changed = [name for name, value in settings.items() if value is not None]
    if draws == 0 and changed:
        what = "say how samples are drawn; use `draws=1` or more, or leave them out"
        raise EvidenceError(Problem(", ".join(changed), what))


def refuse_with_draws(draws: int, evaluations: int | None) -> None:
    """Refuse the evaluations of a posterior mean where draws are asked for.

    Raises:
        EvidenceError: there are such.
    """
    if draws and evaluations is not None:
        what = "are those of a posterior mean (draws 0); a draw takes `steps` of them. Say those, or leave it out"
        raise EvidenceError(Problem("evaluations", what))


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
    """The question that these words put to a model.

    Args:
        schema: the model's.
        labels: those of every category.
        columns: of the table.
        targets: variables to predict.
        given: variables to predict from; None for all others that the table has.
        draws: 0 or more.
        order: targets in the order of their draws, or 'together'; None for the schema's order, a category with a prior
            first.
        prior: base rates by category and label.
        in_turn: whether the way of conditioning allows targets to be drawn one after another.

    Raises:
        EvidenceError: names that are not there or contradict each other, with what could be asked.
    """
    targets, prior = list(dict.fromkeys(targets)), dict(prior or {})
    names, problems = _predictors(schema, columns, targets, given)
    problems += _unasked(schema, targets, given or ())
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
        can = f"beside what is given, ask for {', '.join(left)}" if left else "leave it out of what is given"
        problems += [
            Problem("given", f"{name!r} is also a target; a variable is either asked for or given: {can}")
            for name in both
        ]
        return names, problems
    others = {name: spec.required_columns(name) for name, spec in schema.specs.items() if name not in targets}
    names = [name for name, needed in others.items() if needed <= set(columns)]
    if others and not names and not problems:
        wanted = ", ".join(sorted(set().union(*others.values())))
        problems.append(
            Problem("given", f"the table has nothing to predict from; columns of other variables: {wanted}")
        )
    return names, problems


def _unasked(schema: Schema, targets: Sequence[str], given: Sequence[str]) -> list[Problem]:
    """That nothing is asked for, with what could be."""
    if targets:
        return []
    left = [name for name in schema.variables if name not in given]
    everything = f"every variable is given; leave out of it what to predict: {', '.join(schema.variables)}"
    return [Problem("target", f"name what to predict: {', '.join(left)}" if left else everything)]


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
            what = "a prior is applied before the other targets are drawn: leave `order` out, or the prior"
            return None, [Problem("order", what)]
        return None, []
    names = [order] if isinstance(order, str) else list(order)
    problems = []
    if draws == 0:
        problems.append(Problem("order", "is that of draws; use `draws=1` or more, or leave it out"))
    if not in_turn:
        what = "one target after another needs clean evidence, which this model or this way of sampling does not take"
        problems.append(Problem("order", f"{what}: leave it out, or choose '{TOGETHER}'"))
    if sorted(names) != sorted(targets):
        what = f"must name each target once: {', '.join(targets)} (or be '{TOGETHER}')"
        problems.append(Problem("order", f"{', '.join(names)}: {what}"))
    elif prior and names[0] not in prior:
        what = f"{next(iter(prior))!r} has a prior, on which the other targets depend: it must come first"
        problems.append(Problem("order", what))
    return names, problems


def _place(schema: Schema, name: str) -> int:
    """Where a variable stands in the schema; names that are not there come last, to be refused."""
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
        what = (
            f"is for one category at a time (given: {', '.join(prior)}): for two, their joint base rates would matter"
        )
        return [Problem("prior", what)]
    problems = unknown_names(schema, [*prior], "prior")
    for name, rates in prior.items():
        if name not in schema.variables:
            continue
        where = f"prior {name}"
        if name not in labels:
            problems.append(Problem(where, f"is no category. Categories: {', '.join(labels) or 'none'}"))
            continue
        if name in given:
            problems.append(Problem(where, "is given, so its base rates bear on nothing; leave one of the two out"))
        elif name not in targets:
            what = f"is not a target; the others would have to be mixed over it. Ask for it too: `target={name},...`"
            problems.append(Problem(where, what))
        if not predicts_mean:
            what = "needs a model with a time for each variable, and conditioning 'clean' without guidance"
            problems.append(Problem(where, what))
        problems += [Problem(where, what) for what in _wrong_rates(labels[name], rates)]
    return problems


def _wrong_rates(labels: Sequence[str], rates: Mapping[str, float]) -> list[str]:
    wrong = [
        f"no label {label!r}.{did_you_mean(label, labels)} Labels: {', '.join(labels)}"
        for label in rates
        if label not in labels
    ]
    absent = [label for label in labels if label not in rates]
    if absent:
        wrong.append(f"every label needs a probability, if only 0; absent: {', '.join(absent)}")
    wrong += [
        f"{label}: a probability is between 0 and 1, not {rate:g}"
        for label, rate in rates.items()
        if not 0 <= rate <= 1  # neither is NaN
    ]
    total = math.fsum(rates.values())
    if not wrong and abs(total - 1) > PRIOR_TOLERANCE:
        wrong.append(f"the probabilities sum to {total:g}, and must to 1 (within {PRIOR_TOLERANCE:g})")
    return wrong
