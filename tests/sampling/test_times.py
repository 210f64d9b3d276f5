"""Grids of times: common ones, and those of kernels with even steps."""

from typing import ClassVar

import pytest
import torch

from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import CosineSchedule, LinearSchedule
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.sample import row_streams
from metavoxel.sampling.settings import Sampling
from metavoxel.sampling.times import log_snr_grid, own_grids, time_grid, uniform_grid


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
@pytest.mark.parametrize(
    "kernel",
    [GaussianKernel(), GaussianKernel(schedule=CosineSchedule(power=1)), GaussianKernel(schedule=LinearSchedule(), prediction="epsilon")],
    ids=["cosine", "power-1", "linear"],
)  # fmt: skip
def test_grids_fall_from_1_to_0(kernel, steps):
    for grid in (uniform_grid(steps), log_snr_grid(steps, kernel)):
        assert grid.dtype == torch.float64 and len(grid) == steps + 1
        assert grid[0] == 1 and grid[-1] == 0 and (grid.diff() < 0).all()


def test_the_papers_grid_is_every_20th_time_of_1000():
    assert torch.equal(torch.round(uniform_grid(50) * 1000).long(), torch.arange(1000, -1, -20))


def test_log_snr_grid_is_uniform_in_log_snr():
    kernel = GaussianKernel()
    inner = kernel.log_snr(log_snr_grid(20, kernel)[1:-1])
    torch.testing.assert_close(inner.diff(), inner.diff().mean().expand(len(inner) - 1))
    assert abs(float(inner[0])) <= 8.001 and abs(float(inner[-1]) - 8) < 1e-6


class EvenD3PM(UniformD3PMKernel):
    """A kernel with even steps."""

    even_steps: ClassVar[bool] = True


def test_kernels_with_even_steps_have_their_own_times():
    """Those of the others are uniform in log-SNR; the estimate of every variable is asked at its own time."""
    kernels, shapes = {"age": GaussianKernel(), "text": EvenD3PM()}, {"age": (1,), "text": (3, 5)}
    conditional = Conditional(kernels, shapes, {}, (), torch.zeros(()), row_streams(0, ["a", "b"], 0))
    seen = []

    def watch(states, times, observed):
        seen.append({name: float(t.max()) for name, t in times.items()})
        return {"age": torch.zeros_like(states["age"]), "text": torch.full_like(states["text"], 1 / 3)}

    sampling = Sampling(steps=5)
    list(sampling.trajectory(watch, conditional, time_grid("log_snr", 5, list(kernels.values())), soft_end=False))
    assert [one["text"] for one in seen] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert [one["age"] for one in seen] == pytest.approx(log_snr_grid(5, kernels["age"])[:-1].tolist())
    assert not own_grids("uniform", 5, kernels), "the paper's grid is that of all variables"


def test_one_grid_for_all_variables():
    kernels = [UniformD3PMKernel(), GaussianKernel()]
    assert torch.equal(time_grid("log_snr", 8, kernels), log_snr_grid(8, kernels[1]))
    assert torch.equal(time_grid("uniform", 8, kernels), uniform_grid(8))
    assert torch.equal(time_grid("log_snr", 8, kernels[:1]), uniform_grid(8))
