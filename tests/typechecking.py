"""The run-time type checker that every function of the package goes through in the tests."""

from typing import Any, Self

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int serves as a float, as for static checkers


def checked(function: Any) -> Any:
    """Check calls of a function, except for hints that nothing can check at a single method's run time."""
    if isinstance(function, type):
        return _check(function)
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if not _beyond(hint)}
    try:
        return _check(function)
    finally:
        function.__annotations__ = hints


def _beyond(hint: object) -> bool:
    """``Self``, which only a decorator of whole classes knows, and protocols that are for static checkers alone."""
    protocol = isinstance(hint, type) and getattr(hint, "_is_protocol", False)
    return hint is Self or (protocol and not getattr(hint, "_is_runtime_protocol", False))
