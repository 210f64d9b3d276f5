"""Checks of arguments that come from Python: names, counts, seeds and mappings."""

from collections.abc import Iterable, Mapping
from numbers import Integral

from metavoxel.errors import EvidenceError, Problem
from metavoxel.parts.variables.text import composed


def listed(names: object, where: str) -> list[str] | None:
    """Return a list of names, also of a single one.

    Raises:
        EvidenceError: ``where`` has something else.
    """
    if names is None:
        return None
    if isinstance(names, Mapping):
        raise EvidenceError(Problem(where, f"must be names alone, as {list(names)!r}: values come from the rows"))
    found = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong:
        raise EvidenceError(Problem(where, f"must be a variable's name or a list of names, not {wrong[0]!r}"))
    return [composed(name) for name in found if isinstance(name, str)]


def check_counts(**counts: tuple[object, int]) -> None:
    """Check (count, minimum) pairs; a count of None was omitted.

    Raises:
        EvidenceError: a count is no whole number, or below its minimum.
    """
    problems = count_problems(**counts)
    if problems:
        raise EvidenceError(problems)


def count_problems(**counts: tuple[object, int]) -> list[Problem]:
    """Return the problems of (count, minimum) pairs; a count of None was omitted."""
    problems = []
    for name, (count, least) in counts.items():
        if count is not None and (not isinstance(count, Integral) or isinstance(count, bool)):
            problems.append(Problem(name, f"must be a whole number, not {count!r}"))
        elif isinstance(count, Integral) and count < least:
            problems.append(Problem(name, f"must be at least {least}, not {count}"))
    return problems


def whole_seed(seed: object) -> int:
    """Return a seed as a plain integer, since a stream's key is a hash of its text.

    Raises:
        EvidenceError: it is no whole number.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise EvidenceError(Problem("seed", f"must be a whole number, not {seed!r}"))
    return int(seed)


def check_mappings(**arguments: object) -> None:
    """Check arguments that map variables to values; None was omitted.

    Raises:
        EvidenceError: an argument is something else.
    """
    problems = [
        Problem(name, f"must map variables to values, as {{'age': 70}}, not {type(value).__name__}")
        for name, value in arguments.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    if problems:
        raise EvidenceError(problems)


def refuse_without_draws(draws: int, settings: Mapping[str, object]) -> None:
    """Check that there are no settings of draws without draws; a setting of None was omitted.

    Raises:
        EvidenceError: there are such settings.
    """
    changed = [name for name, value in settings.items() if value is not None]
    if draws == 0 and changed:
        what = "only used when sampling; use `draws=1` or more, or omit"
        raise EvidenceError(Problem(", ".join(changed), what))


def refuse_with_draws(draws: int, evaluations: int | None) -> None:
    """Check that evaluations, which are those of a posterior mean, are not set with draws.

    Raises:
        EvidenceError: they are.
    """
    if draws and evaluations is not None:
        what = "only used for a posterior mean (draws 0); a draw takes `steps` evaluations. Use those, or omit it"
        raise EvidenceError(Problem("evaluations", what))
