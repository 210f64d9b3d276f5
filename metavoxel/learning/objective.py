"""Training loss of each variable, of its present cells that are not observed or revealed (MetaVoxel eq. 5)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.rng import Rng
from metavoxel.typing import AnyCode, AnyMask, AnyTime

PARTIAL_SHARE = 0.25
"""Share of the unobserved images and sequences that are observed in part."""


class Corrupted(NamedTuple):
    """Noised inputs and targets of a batch.

    ``counts`` masks the cells of the loss: present, not observed, and not revealed by their state.
    """

    states: dict[str, AnyCode]
    times: dict[str, AnyTime]
    observed: dict[str, AnyMask]
    targets: dict[str, Tensor]
    counts: dict[str, AnyMask]


def corrupt(
    model: JointModel,
    caches: Mapping[str, LatentCache],
    rows: Int64[Tensor, "b"],
    row_times: RowTimes,
    rng: Rng,
    *,
    device: torch.device,
    augment: bool = True,
    partial: bool = True,
) -> Corrupted:
    """Sample the noised codes of these rows. A missing datum is replaced by a sample of the prior, without loss."""
    corrupted = Corrupted({}, {}, {}, {}, {})
    augmentation = rng.fork("versions", "of all images").uniform((len(rows),), dtype=torch.float64)
    if not augment:
        augmentation = torch.zeros_like(augmentation)
    for index, (name, kernel) in enumerate(model.kernels.items()):
        stream = rng.fork(name)
        code, hidden, trusted = caches[name].draw(rows, stream, augmentation=augmentation)
        code, present = code.to(device), caches[name].present[rows].to(device)
        cells = (-1, *[1] * (code.ndim - 1))
        t, observed = row_times.t[:, index], row_times.observed[:, index].to(device).reshape(cells)
        known = observed.expand(len(rows), 1, *code.shape[2:])
        clean = code
        if partial and trusted is None and kernel.is_categorical and code.ndim > 2:
            hidden, trusted = code, some_cells(stream, tuple(code.shape[2:]))
        if partial and hidden is not None and trusted is not None:
            is_partial = (stream.uniform((len(rows),)) < PARTIAL_SHARE).to(device).reshape(cells) & ~observed
            is_partial = is_partial & present.reshape(cells)
            known = known | (is_partial & trusted.to(device))
            clean = torch.where(is_partial, hidden.to(device), code)
            t = torch.where(known.cpu(), 0.0, t.reshape(cells))
        noised = kernel.noise(code, t, rng=stream)
        state = torch.where(known, clean, noised.state)
        if not present.all():
            prior = kernel.prior(tuple(code.shape), rng=stream, like=code)
            state = torch.where(present.reshape(cells), state, prior)
        corrupted.states[name] = state
        corrupted.times[name] = t
        corrupted.observed[name] = known
        # Targets of missing data may be NaN, whose gradient is NaN even where the loss is masked: 0 x NaN = NaN.
        corrupted.targets[name] = torch.where(present.reshape(cells), noised.target, 0)
        corrupted.counts[name] = present.reshape(cells) & ~known & ~kernel.revealed(state)
    return corrupted


def some_cells(rng: Rng, shape: tuple[int, ...]) -> Bool[Tensor, "b 1 *s"]:
    """Sample the known cells of each row of a sequence: its beginning, or a random subset, both of uniform size."""
    rows, cells = len(rng), math.prod(shape)
    choice = rng.uniform((rows, 2))
    shuffled = rng.uniform((rows, cells)).argsort(1).argsort(1)
    place = torch.where(choice[:, :1] < 0.5, torch.arange(cells), shuffled)
    return (place < (choice[:, 1:] * (cells + 1)).floor()).reshape(rows, 1, *shape)


def losses(
    model: JointModel, predictions: Mapping[str, Tensor], corrupted: Corrupted
) -> dict[str, tuple[Float[Tensor, "_ 1 ..."], Bool[Tensor, "_ 1 ..."]]]:
    """Return the loss of every cell and the mask of cells that count, for each variable."""
    terms = {}
    for name, prediction in predictions.items():
        rows = slice(len(prediction))
        kernel, target, t = model.kernels[name], corrupted.targets[name][rows], corrupted.times[name][rows]
        counts = corrupted.counts[name][rows]
        if kernel.indexed:
            loss = _counted_loss(kernel, prediction, target, t, counts)
        else:
            loss = kernel.loss(prediction, target, t)
        terms[name] = (loss, counts.expand(loss.shape))
    return terms


def _counted_loss(
    kernel: AbstractKernel, prediction: Float[Tensor, "_ _ ..."], target: Tensor, t: AnyTime, counts: AnyMask
) -> Float[Tensor, "_ 1 ..."]:
    """Return the loss of the cells that count, at the cost of these alone, and 0 elsewhere.

    Their class probabilities are most of the memory of a step.
    """
    chosen, t = counts[:, 0], along(t, prediction).expand(counts.shape)[counts]
    loss = kernel.loss(prediction.movedim(1, -1)[chosen], target.movedim(1, -1)[chosen], t)
    return loss.new_zeros(counts.shape).masked_scatter(counts, loss)


def loss_sums(
    model: JointModel,
    predictions: Mapping[str, Tensor],
    corrupted: Corrupted,
    row_weights: Mapping[str, Float[Tensor, "b"]] | None = None,
) -> dict[str, tuple[Float[Tensor, ""], Int64[Tensor, ""]]]:
    """Return the sum of the loss over the cells that count, and their number, for each variable.

    ``row_weights`` multiply the loss of a row but not its count, as their mean is 1 by construction.
    """
    sums = {}
    for name, (loss, counts) in losses(model, predictions, corrupted).items():
        if row_weights is not None:
            loss = loss * row_weights[name][: len(loss)].to(loss).reshape(-1, *[1] * (loss.ndim - 1))
        sums[name] = (torch.where(counts, loss, 0.0).sum(), counts.sum())
    return sums


def ratio(total: Tensor, count: Tensor) -> Float[Tensor, ""]:
    """Return the mean over the cells that count; 0 if there are none."""
    return torch.where(count > 0, total / count.clamp_min(1e-6), 0.0)
