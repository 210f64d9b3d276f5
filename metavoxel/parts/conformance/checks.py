"""Conformance checks: named calls that raise ``AssertionError`` where a contract is violated."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Outcome: TypeAlias = Literal["passed", "failed", "failed as expected", "passed unexpectedly"]


@dataclass(frozen=True)
class Check:
    """Named check bound to its subject. Final.

    Attributes:
        name: name of the ``check_*`` function.
        subject: short description of what is checked.
        run: raises ``AssertionError`` with a message if the check fails.
    """

    name: str
    subject: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.subject}-{self.name}"


class CheckResult(NamedTuple):
    """Result of one check; ``message`` gives the reason unless it passed."""

    name: str
    subject: str
    outcome: Outcome
    message: str

    @property
    def ok(self) -> bool:
        """Whether the check passed, or failed as expected."""
        return self.outcome in ("passed", "failed as expected")


def bound(subject: str, function: Callable[..., None], /, *arguments: Any, **named: Any) -> Check:
    """Bind a check function to its arguments."""
    return Check(function.__name__, subject, lambda: function(*arguments, **named))


def run_checks(checks: Iterable[Check], *, expected_failures: Mapping[str, str] | None = None) -> list[CheckResult]:
    """Run checks sequentially without a test framework; exceptions become failures.

    Args:
        checks: from ``kernel_checks``, ``codec_checks`` and similar functions.
        expected_failures: reasons of known failures, by name of the check.

    Raises:
        ValueError: a name in ``expected_failures`` is not the name of a check.
    """
    checks = list(checks)
    reasons = _known_reasons(checks, expected_failures)
    return [_result(check, reasons.get(check.name)) for check in checks]


def _result(check: Check, reason: str | None) -> CheckResult:
    try:
        check.run()
    except AssertionError as error:
        outcome: Outcome = "failed" if reason is None else "failed as expected"
        return CheckResult(check.name, check.subject, outcome, reason or str(error))
    except Exception as error:  # a plugin may raise any exception; the remaining checks still run
        return CheckResult(check.name, check.subject, "failed", f"{type(error).__name__}: {error}")
    if reason is None:
        return CheckResult(check.name, check.subject, "passed", "")
    return CheckResult(check.name, check.subject, "passed unexpectedly", f"expected to fail: {reason}")


def parametrize_checks(checks: Iterable[Check], *, expected_failures: Mapping[str, str] | None = None) -> Any:
    """Return a pytest mark that runs a test once per check, passed as the argument ``check``.

    ::

        @parametrize_checks(kernel_checks(MyKernel()), expected_failures={"check_oracle": "biased by design"})
        def test_my_kernel(check):
            check.run()

    Expected failures are strict: the test fails if such a check passes.

    Raises:
        ValueError: a name in ``expected_failures`` is not the name of a check.
    """
    import pytest  # imported here, as the command line runs checks without pytest installed

    checks = list(checks)
    reasons = _known_reasons(checks, expected_failures)

    def marks(check: Check) -> tuple[Any, ...]:
        if check.name not in reasons:
            return ()
        return (pytest.mark.xfail(reason=reasons[check.name], raises=AssertionError, strict=True),)

    return pytest.mark.parametrize(
        "check", [pytest.param(check, id=str(check), marks=marks(check)) for check in checks]
    )


def _known_reasons(checks: list[Check], reasons: Mapping[str, str] | None) -> Mapping[str, str]:
    names = sorted({check.name for check in checks})
    unknown = sorted(set(reasons or {}) - set(names))
    if unknown:
        raise ValueError(
            f"unknown checks in expected_failures: {', '.join(unknown)}. The checks are {', '.join(names)}"
        )
    return reasons or {}
