"""What a check is: a name, a subject, and a call that raises ``AssertionError`` where the contract is broken."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Outcome: TypeAlias = Literal["passed", "failed", "failed as expected", "passed unexpectedly"]


@dataclass(frozen=True)
class Check:
    """One named check bound to what it is to check. Final.

    Attributes:
        name: name of the ``check_*`` function.
        subject: what is checked, in a few words.
        run: raises ``AssertionError`` with a readable message when the subject fails.
    """

    name: str
    subject: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.subject}-{self.name}"


class CheckResult(NamedTuple):
    """What came of one check; ``message`` says why when it did not simply pass."""

    name: str
    subject: str
    outcome: Outcome
    message: str

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return self.outcome in ("passed", "failed as expected")


def bound(subject: str, function: Callable[..., None], /, *arguments: Any, **named: Any) -> Check:
    """A check function with its arguments."""
    return Check(function.__name__, subject, lambda: function(*arguments, **named))


def run_checks(checks: Iterable[Check], *, expected_failures: Mapping[str, str] | None = None) -> list[CheckResult]:
    """Run checks one after another, without a test framework; nothing that a subject raises escapes.

    Args:
        checks: from ``kernel_checks``, ``codec_checks`` and their like.
        expected_failures: name of a check to the reason why it is known to fail.

    Raises:
        ValueError: an expected failure that none of the checks is called.
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
    except Exception as error:  # a plugin may raise anything, and the other checks are still worth running
        return CheckResult(check.name, check.subject, "failed", f"{type(error).__name__}: {error}")
    if reason is None:
        return CheckResult(check.name, check.subject, "passed", "")
    return CheckResult(check.name, check.subject, "passed unexpectedly", f"expected to fail: {reason}")


def parametrize_checks(checks: Iterable[Check], *, expected_failures: Mapping[str, str] | None = None) -> Any:
    """A pytest mark that runs a test once for every check, which it receives as ``check``.

    ::

        @parametrize_checks(kernel_checks(MyKernel()), expected_failures={"check_oracle": "biased by design"})
        def test_my_kernel(check):
            check.run()

    An expected failure is strict: a check that passes in spite of it fails the test.

    Raises:
        ValueError: an expected failure that none of the checks is called.
    """
    import pytest  # here, because the command line runs the same checks where pytest is not installed

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
        raise ValueError(f"expected_failures names no check: {', '.join(unknown)}. The checks are {', '.join(names)}")
    return reasons or {}
