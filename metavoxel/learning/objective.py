"""The training loss: what each variable's prediction costs, and where that counts (MetaVoxel eq. 5)."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng
from metavoxel.typing import AnyCode, AnyMask, AnyTime

PARTIAL_SHARE = 0.25


class Corrupted(NamedTuple):
    """A batch as the network sees it. ``counts`` marks the cells whose loss counts: present, and not observed."""

    states: dict[str, AnyCode]
    times: dict[str, AnyTime]
    observed: dict[str, AnyMask]
    targets: dict[str, Tensor]
    counts: dict[str, AnyMask]


def corrupt(
    model: JointModel,
    banks: Mapping[str, LatentCache],
    rows: Int64[Tensor, "b"],
    row_times: RowTimes,
    rng: Rng,
    *,
    device: torch.device,
    vary: bool = True,
    partial: bool = True,
) -> Corrupted:
    """Noise the codes of these rows. An absent datum enters as a draw of the prior, and counts for nothing."""
    corrupted = Corrupted({}, {}, {}, {}, {})
    version = rng.fork("versions", "of all images").uniform((len(rows),), dtype=torch.float64)
    for index, (name, kernel) in enumerate(model.kernels.items()):
        stream = rng.fork(name)
        code, hidden, trusted = banks[name].draw(rows, stream, version=version if vary else torch.zeros_like(version))
        code, present = code.to(device), banks[name].present[rows].to(device)
        cells = (-1, *[1] * (code.ndim - 1))
        t, seen = row_times.t[:, index], row_times.observed[:, index].to(device).reshape(cells)
        known = seen.expand(len(rows), 1, *code.shape[2:])
        clean = code
        if partial and hidden is not None and trusted is not None:
            is_partial = (stream.uniform((len(rows),)) < PARTIAL_SHARE).to(device).reshape(cells) & ~seen
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
        # Not only the loss of an absent datum has to be left out, but its gradient, and 0 x NaN is no 0.
        corrupted.targets[name] = torch.where(present.reshape(cells), noised.target, 0.0)
        corrupted.counts[name] = present.reshape(cells) & ~known
    return corrupted


def losses(
    model: JointModel, predictions: Mapping[str, Tensor], corrupted: Corrupted
) -> dict[str, tuple[Float[Tensor, "_ 1 ..."], Bool[Tensor, "_ 1 ..."]]]:
    """For each variable, the loss of every cell, and which cells count."""
    found = {}
    for name, prediction in predictions.items():
        seen = slice(len(prediction))
        loss = model.kernels[name].loss(prediction, corrupted.targets[name][seen], corrupted.times[name][seen])
        found[name] = (loss, corrupted.counts[name][seen].expand(loss.shape))
    return found


def loss_sums(
    model: JointModel,
    predictions: Mapping[str, Tensor],
    corrupted: Corrupted,
    row_weights: Mapping[str, Float[Tensor, "b"]] | None = None,
) -> dict[str, tuple[Float[Tensor, ""], Int64[Tensor, ""]]]:
    """For each variable, the sum of its loss over the cells that count, and how many they are.

    ``row_weights`` multiply a row's loss and not its count: they are 1 on average, by their making.
    """
    sums = {}
    for name, (loss, counts) in losses(model, predictions, corrupted).items():
        if row_weights is not None:
            loss = loss * row_weights[name][: len(loss)].to(loss).reshape(-1, *[1] * (loss.ndim - 1))
        sums[name] = (torch.where(counts, loss, 0.0).sum(), counts.sum())
    return sums


def ratio(total: Tensor, count: Tensor) -> Float[Tensor, ""]:
    """Mean over what counts; 0 where nothing does."""
    return torch.where(count > 0, total / count.clamp_min(1e-6), 0.0)
