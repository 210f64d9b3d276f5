"""A third party's adapter takes at most 40 lines, and keeps the contract."""

import inspect

import pytest
import third_party_adapter

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.testing import adapter_checks, feature_checks, run_checks
from metavoxel.testing.plugins import PORTS

MOST_LINES = 40


def test_it_is_short():
    lines = [line for line in inspect.getsource(third_party_adapter).splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES


@pytest.mark.parametrize(("kernel", "shape"), [(GaussianKernel(), (1,)), (UniformD3PMKernel(), (3,))])
def test_it_keeps_the_contract(kernel, shape):
    settings = third_party_adapter.LinearAdapterSpec()
    context = settings.context(kernel, shape, PORTS)
    checks = [*feature_checks(context.features, context), *adapter_checks(settings.build(context), context)]
    assert not [str(result) for result in run_checks(checks) if result.outcome != "passed"]
