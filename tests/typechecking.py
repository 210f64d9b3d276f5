"""The run-time type checker that every function of the package goes through in the tests."""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int serves as a float, as for static checkers


def checked(function: Any) -> Any:
    """Check calls of a function, except where a hint is ``Self``: that one is beyond a decorator of single methods."""
    if not isinstance(function, Callable) or isinstance(function, type):  # type: ignore[arg-type]
        return _check(function)
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if hint is not Self}
    try:
        return _check(function)
    finally:
        function.__annotations__ = hints
