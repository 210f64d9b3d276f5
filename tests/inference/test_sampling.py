"""Default numbers of steps, and warnings, where tokens are drawn one after another."""

import warnings
from typing import ClassVar

import pytest
import torch

from metavoxel.errors import SamplingWarning
from metavoxel.inference.sampling import cells_in_turn, sampling_of, warn_of_few_steps
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel


class InTurn(UniformD3PMKernel):
    """Draws as many cells one after another as there are."""

    def cells_in_turn(self, code_shape):
        return code_shape[1]


class Joint:
    """Kernels and code shapes of a model, which is not evaluated."""

    kernels: ClassVar = {"age": GaussianKernel(), "report": InTurn(), "note": InTurn()}
    code_shapes: ClassVar = {"age": (1,), "report": (8, 70), "note": (8, 20)}
    device = torch.device("cpu")

    def denoise(self, states, times, observed):
        raise NotImplementedError


JOINT = Joint()


def steps(drawn, **changes):
    return sampling_of(changes, shared_time=False, in_turn=cells_in_turn(JOINT, drawn)).steps


def test_cells_of_drawn_variables_alone():
    assert cells_in_turn(JOINT, ["age", "report", "no variable"]) == {"age": 1, "report": 70}


@pytest.mark.parametrize(
    ("drawn", "default"), [([], 50), (["age"], 50), (["note"], 50), (["report"], 70), (["age", "report", "note"], 70)]
)
def test_by_default_there_are_as_many_steps_as_tokens_in_turn(drawn, default):
    assert steps(drawn) == steps(drawn, steps=None) == default
    assert steps(drawn, steps=4) == 4


def test_fewer_steps_than_tokens_warn_of_each_variable():
    with pytest.warns(SamplingWarning) as found:
        warn_of_few_steps(JOINT, ["age", "report", "note"], 10)
    assert [str(one.message).split(" are drawn")[0] for one in found] == ["report: 70 tokens", "note: 20 tokens"]
    assert "`steps=70`" in str(found[0].message)


def test_enough_steps_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_few_steps(JOINT, ["age", "note"], 20)
