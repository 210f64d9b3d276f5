"""Held-out denoising loss, which selects the best step and the network weight of each variable."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy import stats
from torch import Tensor

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import Corrupted, corrupt, losses
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import rows_per_batch
from metavoxel.sampling.sample import row_streams

MAX_ROWS = 2000
"""Maximum number of validation rows evaluated."""
EXAMPLES, CELLS = 1000, 30_000
"""Target numbers of noised examples and cells of a table; each row has several times and conditioning masks."""
MIN_REPEATS, IMAGE_REPEATS = 1, 4
"""Noised examples per row: the minimum for tables, and the number for schemas with grids."""
BATCH, GRID_BATCH = 256, 8
CONFIDENCE = 0.9
"""One-sided confidence level that a network weight improves the mean loss over validation rows."""
NETWORK_WEIGHTS = tuple(weight / 20 for weight in range(21))


class RowLosses(NamedTuple):
    """Summed loss and number of cells of each validation row, for one variable."""

    total: Float64[Tensor, "n"]
    cells: Float64[Tensor, "n"]


class VariableLoss(NamedTuple):
    """Held-out denoising loss of one variable.

    Attributes:
        loss: loss at the chosen network weight, relative to a prediction of zero.
        bound: upper confidence bound of the loss; the baseline's loss if the network is not used.
        baseline: loss of the Gaussian baseline alone; of the network for a variable without one.
        network_weight: weight of the network's correction with the lowest bound.
        network: loss at weight 1.
        rows: number of validation rows in which the variable is present.
    """

    loss: float
    bound: float
    baseline: float
    network_weight: float
    network: float
    rows: int


@final
class HeldOutLoss:
    """Held-out denoising loss under fixed noise, over all variables, times and conditioning masks.

    The loss is the training loss, with times and masks sampled as in training, but without augmentation and partly
    observed images: the error of the kernel's target over all noise levels, which bounds the likelihood (Ho et al.
    2020, eq. 14; Austin et al. 2021). It is proper: the exact conditional distribution minimises it. Each evaluation of
    the network covers all variables.

    Args:
        model: model to evaluate.
        caches: latent cache of each variable.
        rows: validation rows.
        times: sampler of times and conditioning masks, given which variables are present.
        seed: random seed of the noise.
        examples: target number of noised examples of a table.
    """

    def __init__(
        self,
        model: JointModel,
        caches: Mapping[str, LatentCache],
        rows: Int64[Tensor, "n"],
        times: Callable[[Bool[Tensor, "b v"], Rng], RowTimes],
        seed: int,
        examples: int = EXAMPLES,
    ) -> None:
        self._model, self._caches, self._times, self._seed = model, caches, times, seed
        self._rows = evenly(rows, MAX_ROWS)
        has_grids = model.has_grids
        self._batch = GRID_BATCH if has_grids else min(BATCH, rows_per_batch(model))
        count = max(len(self._rows), 1)
        wanted = min(math.ceil(examples / count), math.ceil(CELLS / (count * model.tokens)))
        self._repeats = IMAGE_REPEATS if has_grids else max(MIN_REPEATS, wanted)
        self._present = torch.stack([caches[name].present for name in model.kernels], 1)
        self._with_baseline = model.with_baseline

    @cached_property
    def _fixed(self) -> list[dict[str, RowLosses]]:
        """Losses that training does not change: those of a prediction of zero, and of the baseline."""
        return self._losses(self._zero, self._at(0.0) if self._with_baseline else self._zero)

    def network_losses(self) -> dict[str, float]:
        """Evaluate the current model at network weight 1, in one pass; variables without rows are omitted."""
        zero, full = self._losses(self._zero, self._at(1.0))
        return {
            name: float(one.total.sum()) / max(float(zero[name].total.sum()), 1e-12)
            for name, one in full.items()
            if bool((one.cells > 0).any())
        }

    def evaluate(self) -> dict[str, VariableLoss]:
        """Evaluate the current model; variables without validation rows are omitted."""
        zero, without = self._fixed
        *half, full = self._losses(*([self._at(0.5)] if self._with_baseline else []), self._at(1.0))
        found = {}
        for name, corrected in full.items():
            rows, cells = int((corrected.cells > 0).sum()), float(corrected.cells.sum())
            if not rows:
                continue
            reference = max(float(zero[name].total.sum()), 1e-12)
            network = float(corrected.total.sum()) / reference
            if name not in self._with_baseline:
                found[name] = VariableLoss(network, network, network, 1.0, network, rows)
                continue
            none = without[name]
            baseline = float(none.total.sum()) / reference
            weight, change, bound = best_weight(none, half[0][name], corrected)
            loss, bound = (baseline + value * cells / reference for value in (change, bound))
            found[name] = VariableLoss(loss, bound, baseline, weight, network, rows)
        return found

    def network_weights(self, losses: Mapping[str, VariableLoss]) -> Float[Tensor, "v"]:
        """Return the network weights in the order of the model; without validation rows, 0 with a baseline, else 1."""
        default = {name: 0.0 if name in self._with_baseline else 1.0 for name in self._model.kernels}
        return torch.tensor([losses[name].network_weight if name in losses else default[name] for name in default])

    def _at(self, network_weight: float) -> Callable[[Corrupted], Mapping[str, Tensor]]:
        """Return the model's predictor at one network weight for all variables."""

        def predict(noised: Corrupted) -> Mapping[str, Tensor]:
            self._model.network_weights.fill_(network_weight)
            predictions: Mapping[str, Tensor] = self._model(noised.states, noised.times, noised.observed)
            return predictions

        return predict

    def _zero(self, noised: Corrupted) -> Mapping[str, Tensor]:
        """Predict zero for all variables."""
        found = {}
        for name, state in noised.states.items():
            channels, *grid = self._model.code_shapes[name]
            shape = (len(state), self._model.kernels[name].prediction_channels(channels), *grid)
            found[name] = torch.zeros((), device=state.device).expand(shape)
        return found

    @torch.no_grad()
    def _losses(self, *predictors: Callable[[Corrupted], Mapping[str, Tensor]]) -> list[dict[str, RowLosses]]:
        """Compute the losses of each predictor and variable under the same noise."""
        training = self._model.training
        self._model.eval()
        rows = len(self._rows)
        found = [
            {name: RowLosses(torch.zeros(rows).double(), torch.zeros(rows).double()) for name in self._model.kernels}
            for _ in predictors
        ]
        for place, noised in self._examples():
            for sums, predictor in zip(found, predictors, strict=True):
                for name, (loss, counts) in losses(self._model, predictor(noised), noised).items():
                    total, cells = torch.where(counts, loss, 0.0).flatten(1).sum(1), counts.flatten(1).sum(1)
                    sums[name].total.index_add_(0, place, total.double().cpu())
                    sums[name].cells.index_add_(0, place, cells.double().cpu())
        self._model.train(training)
        self._model.network_weights.fill_(1.0)
        return found

    def _examples(self) -> Iterator[tuple[Int64[Tensor, "b"], Corrupted]]:
        """Yield batches of validation-row indices and their noised inputs."""
        device = self._model.time_tags.device
        for example in torch.arange(len(self._rows) * self._repeats).split(self._batch):
            if not len(example):
                return
            place = example % len(self._rows)
            rows, repeat = self._rows[place], example // len(self._rows)
            names = [f"validation {row} {number}" for row, number in zip(rows.tolist(), repeat.tolist(), strict=True)]
            rng = row_streams(self._seed, names, 0)
            times = self._times(self._present[rows], rng.fork("times"))
            noised = corrupt(self._model, self._caches, rows, times, rng, device=device, augment=False, partial=False)
            yield place, noised


def evenly(rows: Int64[Tensor, "n"], most: int) -> Int64[Tensor, "m"]:
    """Select at most so many rows, at equal distances."""
    return rows[:: max(1, -(-len(rows) // max(1, most)))]


def best_weight(none: RowLosses, half: RowLosses, full: RowLosses) -> tuple[float, float, float]:
    """Choose the weight of a correction; return it with the mean change of the loss and the bound of that change.

    The change of the loss is quadratic in the weight for a squared error, and nearly so for a cross-entropy. The
    chosen weight has the lowest upper confidence bound of the mean change (Student's t over rows): near 1 if many rows
    agree, 0 if there is only one.

    Args:
        none: losses at weight 0.
        half: losses at weight .5.
        full: losses at weight 1.
    """
    count = none.cells
    rows, cells = int((count > 0).sum()), count.sum()
    slope = 4 * half.total - 3 * none.total - full.total
    curvature = 2 * (none.total - 2 * half.total + full.total)
    if rows < 2:
        return 0.0, 0.0, 0.0
    factor = float(stats.t.ppf(CONFIDENCE, rows - 1)) * (rows / (rows - 1)) ** 0.5
    best = (0.0, 0.0, 0.0)
    for weight in NETWORK_WEIGHTS:
        change = slope * weight + curvature * weight**2
        mean = change.sum() / cells
        error = (change - mean * count).square().sum().sqrt() / cells
        bound = float(mean + factor * error)
        if bound < best[2]:
            best = (weight, float(mean), bound)
    return best


def validation_lines(losses_by_variable: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Format the held-out losses of the saved weights, one line per variable."""
    for name, one in losses_by_variable.items():
        line = f"{name}: held-out denoising loss {one['loss']:.3f}, of the baseline alone {one['baseline']:.3f}"
        yield f"{line}; network weight {one['network_weight']:.2g}, judged on {one['rows']:.0f} rows"
