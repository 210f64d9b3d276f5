"""Kernels of class indices, checked as kernels of one-hot codes."""

from collections.abc import Iterator
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.conformance.kernel_distributions import Examples, at
from metavoxel.parts.conformance.statistics import assert_equal
from metavoxel.parts.indices import is_indices, one_hot
from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition, Noised
from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask, Target, Time


def indices_of(x: Float[Tensor, "b c *s"]) -> Code:
    """Return one-hot codes as indices; zeros are -1."""
    return torch.where(x.sum(1, keepdim=True) > 0.5, x.argmax(1, keepdim=True), -1)


@final
class TransitionOfIndices(AbstractTransition):
    """The transition of an indexed kernel, of one-hot codes."""

    def __init__(self, step: AbstractTransition, like: Tensor) -> None:
        self._step, self._like = step, like

    @property
    def mean(self) -> Code:
        return self._step.mean.to(self._like)

    def sample(self, rng: Rng) -> Code:
        return one_hot(self._step.sample(rng)[:, 0], self._like.shape[1]).to(self._like)

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        return self._step.cell_log_prob(indices_of(x)).to(self._like)


@final
class KernelOfIndices(AbstractKernel):
    """A kernel's process of class indices, in terms of one-hot codes."""

    support: ClassVar[str] = "one_hot"

    type: Literal["indices"] = "indices"
    kernel: AbstractKernel

    def _indexed(self, classes: int) -> AbstractKernel:
        return self.kernel.with_indices(classes)

    def _one_hot(self, index: Code, like: Tensor) -> Code:
        assert is_indices(index), f"states of an indexed kernel are {index.dtype}, expected torch.int64"
        return one_hot(index[:, 0], like.shape[1]).to(like)

    @property
    def is_cellwise(self) -> bool:  # type: ignore[override]
        """As of the kernel."""
        return self.kernel.is_cellwise

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.kernel.log_snr(t)

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        drawn = self._indexed(shape[1]).prior(shape, rng=rng, like=like)
        return self._one_hot(drawn, like.new_zeros(()).expand(shape))

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        state, target = self._indexed(x0.shape[1]).noise(indices_of(x0), t, rng=rng)
        return Noised(self._one_hot(state, x0), self._one_hot(target, x0))

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        return self._one_hot(self._indexed(xs.shape[1]).renoise(indices_of(xs), s, t, rng=rng), xs)

    def loss(self, prediction: Float[Tensor, "b p *s"], target: Target, t: Time) -> Float[Tensor, "b 1 *s"]:
        return self._indexed(target.shape[1]).loss(prediction, indices_of(target), t)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        return self._indexed(xt.shape[1]).denoise(prediction, indices_of(xt), t).to(xt)

    def revealed(self, xt: Code) -> Mask:
        return self._indexed(xt.shape[1]).revealed(indices_of(xt))

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> TransitionOfIndices:
        step = self._indexed(xt.shape[1]).transition(x0_hat, indices_of(xt), t, s, eta=eta)
        return TransitionOfIndices(step, xt)


def _results(kernel: AbstractKernel, x0: Code, xt: Code, prediction: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield what a kernel computes without random numbers."""
    t, s = at(0.7, len(x0)), at(0.3, len(x0))
    estimate = kernel.denoise(prediction, xt, t)
    step = kernel.transition(estimate, xt, t, s, eta=1.0)
    yield "loss", kernel.loss(prediction, x0, t)
    yield "denoise", estimate
    yield "revealed", kernel.revealed(xt)
    yield "transition(...).mean", step.mean
    for earlier in (x0, xt):
        yield "transition(...).cell_log_prob", step.cell_log_prob(earlier)


def check_indices(kernel: AbstractKernel, codes: Examples) -> None:
    """Check that all that a kernel computes without random numbers is the same of indices and of one-hot codes."""
    for x0 in codes:
        rng = Rng.for_rows(len(x0), "indices")
        xt = kernel.noise(x0, at(0.7, len(x0)), rng=rng).state
        prediction = rng.normal(tuple(x0.shape))
        expected = _results(kernel, x0, xt, prediction)
        for (what, tensor), (_, other) in zip(
            _results(KernelOfIndices(kernel=kernel), x0, xt, prediction), expected, strict=True
        ):
            assert_equal(tensor, other, f"{what} of indices, and of one-hot codes", tolerance=1e-5)
