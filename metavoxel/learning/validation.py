"""Held-out denoising loss: the figure by which the best step and each variable's network weight are chosen."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float64, Int64
from scipy import stats
from torch import Tensor

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import Corrupted, corrupt, losses
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng
from metavoxel.sampling.ask import row_streams

MOST_ROWS = 2000
"""Of validation that are judged by."""
EXAMPLES, CELLS = 1000, 30_000
"""Noised examples of a table that are aimed at, and their cells: each row at several times, given several variables."""
FEWEST_REPEATS, IMAGE_REPEATS = 1, 4
"""Examples of each row: at least, and where an evaluation of the network passes through grids."""
BATCH, GRID_BATCH = 256, 8
CONFIDENCE = 0.9
"""That a network weight is better than none: one-sided, of the mean over validation rows."""
NETWORK_WEIGHTS = tuple(weight / 20 for weight in range(21))


class RowLosses(NamedTuple):
    """Of one variable, the sum of each row's losses and of how many cells; rows in the order of validation."""

    total: Float64[Tensor, "n"]
    cells: Float64[Tensor, "n"]


class Judgement(NamedTuple):
    """How well one variable is denoised in rows that no step was taken on.

    Attributes:
        loss: at the chosen network weight, relative to a prediction of zero.
        bound: upper confidence bound of the same; it is the baseline's loss where the network is not used.
        baseline: loss of the baseline alone; the network's where the variable has none.
        network_weight: share of the network's correction with the lowest bound.
        rows: that have the variable.
    """

    loss: float
    bound: float
    baseline: float
    network_weight: float
    rows: int


@final
class HeldOut:
    """Rows of validation under noise that is the same at every call: every variable, every time, any evidence.

    The loss is the training loss at times and evidence drawn as in training: squared error of the kernel's target over
    all noise levels, a bound on the likelihood of the rows (Ho et al. 2020, eq. 14; Austin et al. 2021), and proper:
    the exact conditional distribution has the least. One evaluation of the network serves all variables.

    Args:
        model: to be judged.
        banks: codes of the cohort.
        rows: of the cohort.
        times: of rows with these variables present.
        seed: of the noise.
    """

    def __init__(
        self,
        model: JointModel,
        banks: Mapping[str, LatentCache],
        rows: Int64[Tensor, "n"],
        times: Callable[[Bool[Tensor, "b v"], Rng], RowTimes],
        seed: int,
    ) -> None:
        self._model, self._banks, self._times, self._seed = model, banks, times, seed
        self._rows = rows[:: max(1, -(-len(rows) // MOST_ROWS))]
        grids = any(len(shape) > 1 for shape in model.code_shapes.values())
        self._batch = GRID_BATCH if grids else BATCH
        count = max(len(self._rows), 1)
        wanted = min(math.ceil(EXAMPLES / count), math.ceil(CELLS / (count * len(model.kernels))))
        self._repeats = IMAGE_REPEATS if grids else max(FEWEST_REPEATS, wanted)
        self._present = torch.stack([banks[name].present for name in model.kernels], 1)
        self._adapters = {name: model.adapter(name) for name in model.kernels}
        self._with_baseline = [name for name, adapter in self._adapters.items() if adapter.features]
        self._reference, self._baseline = self._losses(_nothing, self._at(0.0) if self._with_baseline else _nothing)

    def judge(self) -> dict[str, Judgement]:
        """Judge the model as it is; variables that no validation row has are left out."""
        *half, whole = self._losses(*([self._at(0.5)] if self._with_baseline else []), self._at(1.0))
        found = {}
        for name, all_ in whole.items():
            rows, cells = int((all_.cells > 0).sum()), float(all_.cells.sum())
            if not rows:
                continue
            reference = max(float(self._reference[name].total.sum()), 1e-12)
            if name not in self._with_baseline:
                loss = float(all_.total.sum()) / reference
                found[name] = Judgement(loss, loss, loss, 1.0, rows)
                continue
            none = self._baseline[name]
            baseline = float(none.total.sum()) / reference
            weight, change, bound = best_weight(none, half[0][name], all_)
            loss, bound = (baseline + value * cells / reference for value in (change, bound))
            found[name] = Judgement(loss, bound, baseline, weight, rows)
        return found

    def network_weights(self, judged: Mapping[str, Judgement]) -> dict[str, float]:
        """Of all variables: of one that could not be judged none, if it has a baseline to go by."""
        unjudged = {name: 0.0 if name in self._with_baseline else 1.0 for name in self._adapters}
        return unjudged | {name: one.network_weight for name, one in judged.items()}

    def _at(self, network_weight: float) -> Callable[[Corrupted], Mapping[str, Tensor]]:
        """The model's predictions at one network weight for all variables."""

        def predicted(noised: Corrupted) -> Mapping[str, Tensor]:
            for adapter in self._adapters.values():
                adapter.network_weight.fill_(network_weight)
            predictions: Mapping[str, Tensor] = self._model(noised.states, noised.times, noised.observed)
            return predictions

        return predicted

    @torch.no_grad()
    def _losses(self, *predictors: Callable[[Corrupted], Mapping[str, Tensor]]) -> list[dict[str, RowLosses]]:
        """Of each predictor, the losses of each variable, all under the same noise."""
        training = self._model.training
        self._model.eval()
        rows = len(self._rows)
        found = [
            {name: RowLosses(torch.zeros(rows).double(), torch.zeros(rows).double()) for name in self._adapters}
            for _ in predictors
        ]
        for place, noised in self._examples():
            for sums, predictor in zip(found, predictors, strict=True):
                for name, (loss, counts) in losses(self._model, predictor(noised), noised).items():
                    total, cells = torch.where(counts, loss, 0.0).flatten(1).sum(1), counts.flatten(1).sum(1)
                    sums[name].total.index_add_(0, place, total.double().cpu())
                    sums[name].cells.index_add_(0, place, cells.double().cpu())
        self._model.train(training)
        for adapter in self._adapters.values():
            adapter.network_weight.fill_(1.0)
        return found

    def _examples(self) -> Iterator[tuple[Int64[Tensor, "b"], Corrupted]]:
        """Batches of places among the rows, and what the network sees of them."""
        device = self._model.time_tags.device
        for example in torch.arange(len(self._rows) * self._repeats).split(self._batch):
            if not len(example):
                return
            place = example % len(self._rows)
            rows, repeat = self._rows[place], example // len(self._rows)
            names = [f"validation {row} {number}" for row, number in zip(rows.tolist(), repeat.tolist(), strict=True)]
            rng = row_streams(self._seed, names, 0)
            times = self._times(self._present[rows], rng.fork("times"))
            yield place, corrupt(self._model, self._banks, rows, times, rng, device=device, vary=False, partial=False)


def _nothing(noised: Corrupted) -> Mapping[str, Tensor]:
    """A prediction of zero."""
    return {name: torch.zeros_like(target) for name, target in noised.targets.items()}


def best_weight(none: RowLosses, half: RowLosses, whole: RowLosses) -> tuple[float, float, float]:
    """The share of a correction whose gain is surest: its share, the mean change of the loss, and that change's bound.

    The change of the loss is quadratic in the share, for a squared error, and nearly so for a cross-entropy; its mean
    over few rows is uncertain. The share is that with the lowest upper confidence bound of the mean change (Student's
    t, over rows): all of it where many rows agree, none where one row is all there is.

    Args:
        none: losses without the correction.
        half: with half of it.
        whole: with all of it.
    """
    count = none.cells
    rows, cells = int((count > 0).sum()), count.sum()
    slope = 4 * half.total - 3 * none.total - whole.total
    bend = 2 * (none.total - 2 * half.total + whole.total)
    if rows < 2:
        return 0.0, 0.0, 0.0
    factor = float(stats.t.ppf(CONFIDENCE, rows - 1)) * (rows / (rows - 1)) ** 0.5
    best = (0.0, 0.0, 0.0)
    for weight in NETWORK_WEIGHTS:
        change = slope * weight + bend * weight**2
        mean = change.sum() / cells
        error = (change - mean * count).square().sum().sqrt() / cells
        bound = float(mean + factor * error)
        if bound < best[2]:
            best = (weight, float(mean), bound)
    return best


def validation_lines(judged: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The judgement of the kept weights in words, a line for each variable."""
    for name, one in judged.items():
        line = f"{name}: held-out denoising loss {one['loss']:.3f}, of the baseline alone {one['baseline']:.3f}"
        yield f"{line}; network weight {one['network_weight']:.2g}, judged on {one['rows']:.0f} rows"
