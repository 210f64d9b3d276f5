"""A joint denoiser restricted to some variables."""

from functools import partial

import torch

from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.sampling.selected import DenoiserOfSome


class Selective:
    """Its estimate of a variable is its state times the number of states, so that unused states matter."""

    def __init__(self):
        self.kernels = {name: GaussianKernel() for name in ("a", "b", "c")}
        self.code_shapes, self.device = {"a": (1,), "b": (1,), "c": (2, 3)}, torch.device("cpu")
        self.asked = []

    def denoise(self, states, times, observed, *, only=None):
        self.asked.append(only)
        return {name: len(states) * state for name, state in states.items() if only is None or name in only}


def test_only_some_are_estimated_from_the_states_of_all():
    whole = Selective()
    states = {name: torch.ones(2, *shape) for name, shape in whole.code_shapes.items()}
    times = {name: torch.ones(2) for name in states}
    observed = {name: torch.zeros(2, 1, dtype=torch.bool) for name in states}
    part = DenoiserOfSome(whole, partial(whole.denoise, only={"c"}))
    estimates = part.denoise(states, times, observed)
    assert set(estimates) == {"c"} and bool((estimates["c"] == 3).all()) and whole.asked == [{"c"}]
    assert (part.kernels, part.code_shapes, part.device) == (whole.kernels, whole.code_shapes, whole.device)
