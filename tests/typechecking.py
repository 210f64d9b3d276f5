"""Run-time type checker of all functions of the package in the tests."""

from typing import Any, Self

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int serves as a float, as for static checkers


def checked(function: Any) -> Any:
    """Check calls of a function, except for hints that cannot be checked for a single method at run time."""
    if isinstance(function, type):
        return _check(function)
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if not _uncheckable(hint)}
    try:
        return _check(function)
    finally:
        function.__annotations__ = hints


def _uncheckable(hint: object) -> bool:
    """Detect ``Self``, which requires a class decorator, and protocols for static checkers only."""
    protocol = isinstance(hint, type) and getattr(hint, "_is_protocol", False)
    return hint is Self or (protocol and not getattr(hint, "_is_runtime_protocol", False))
