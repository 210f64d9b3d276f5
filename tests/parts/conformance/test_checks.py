"""Run checks with and without pytest."""

import subprocess
import sys

import pytest

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.testing import Check, kernel_checks, parametrize_checks, run_checks


def passes() -> None:
    pass


def fails() -> None:
    raise AssertionError("too large")


def breaks() -> None:
    raise RuntimeError("no such shape")


CHECKS = [Check("check_small", "it", passes), Check("check_large", "it", fails), Check("check_shape", "it", breaks)]


def test_results_have_outcome_and_reason():
    small, large, shape = run_checks(CHECKS)
    assert (small.outcome, small.message, small.ok) == ("passed", "", True)
    assert (large.outcome, large.message, large.ok) == ("failed", "too large", False)
    assert (shape.outcome, shape.message, shape.ok) == ("failed", "RuntimeError: no such shape", False)


def test_expected_failures_have_reasons_and_are_strict():
    small, large, shape = run_checks(CHECKS, expected_failures={"check_small": "odd", "check_large": "known"})
    assert (small.outcome, small.message, small.ok) == ("passed unexpectedly", "expected to fail: odd", False)
    assert (large.outcome, large.message, large.ok) == ("failed as expected", "known", True)
    assert shape.outcome == "failed"


def test_other_exceptions_are_not_expected_failures():
    result = run_checks(CHECKS, expected_failures={"check_shape": "known"})[2]
    assert (result.outcome, result.ok) == ("failed", False)


@pytest.mark.parametrize("use", [run_checks, parametrize_checks])
def test_expected_failures_must_be_names_of_checks(use):
    with pytest.raises(ValueError, match=r"check_lage\. The checks are check_large, check_shape, check_small"):
        use(CHECKS, expected_failures={"check_lage": "known"})


def test_names_are_readable():
    names = [str(check) for check in kernel_checks(UniformD3PMKernel())]
    assert "d3pm_uniform cosine mixture-check_ancestral_joint" in names
    assert len(set(names)) == len(names)


def test_a_kernel_of_unknown_support_requires_codes():
    class Index(UniformD3PMKernel):
        support = "index"

    with pytest.raises(ValueError, match="pass example codes to kernel_checks"):
        list(kernel_checks(Index()))


def test_checks_do_not_need_the_testing_extra():
    """The command line runs checks without pytest or hypothesis installed."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pytest', 'hypothesis', 'beartype']));"
        "from metavoxel.testing import kernel_checks, run_checks;"
        "from metavoxel.parts.kernels.gaussian import GaussianKernel;"
        "checks = [check for check in kernel_checks(GaussianKernel()) if check.name == 'check_shapes'];"
        "print([result.outcome for result in run_checks(checks)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['passed']", done.stderr


TESTS = """
from metavoxel.testing import Check, parametrize_checks

def passes(): pass
def fails(): raise AssertionError("too large")

CHECKS = [Check("check_small", "it", passes), Check("check_large", "it", fails)]

@parametrize_checks(CHECKS)
def test_plain(check):
    check.run()

@parametrize_checks(CHECKS, expected_failures={"check_large": "known"})
def test_known(check):
    check.run()

@parametrize_checks(CHECKS, expected_failures={"check_small": "odd"})
def test_odd(check):
    check.run()
"""


def test_pytest_runs_one_test_a_check(tmp_path):
    file = tmp_path / "test_plugin.py"
    file.write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    outcomes = {
        "test_plain[it-check_small]": "PASSED",
        "test_plain[it-check_large]": "FAILED",
        "test_known[it-check_small]": "PASSED",
        "test_known[it-check_large]": "XFAIL",
        "test_odd[it-check_small]": "FAILED",
        "test_odd[it-check_large]": "FAILED",
    }
    for name, outcome in outcomes.items():
        assert f"{name} {outcome}" in printed
