"""Probabilistic principal components of an image's latents, and their likelihood given a noisy latent.

Tipping and Bishop (1999, "Probabilistic principal component analysis"): with scores f ~ N(0, I), loadings L (k, d), and
a residual of variance r in every cell,

    x_0 = m + f L + e,    var e = r.                                                                             (1)

Under x_t = s x_0 + n e', where signal s and noise n may differ from cell to cell, x_t given f is Gaussian with variance
v = n^2 + s^2 r in a cell, so that, summing over cells i,

    P_kl = sum_i s_i^2 / v_i L_ki L_li,    w_k = sum_i s_i / v_i (x_t - s m)_i L_ki.                             (2)
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from metavoxel.parts.features.base import AbstractFeatures, FeaturesContext, GaussianLikelihood
from metavoxel.parts.features.principal import principal
from metavoxel.parts.features.rows import Rows
from metavoxel.parts.kernels.base import along
from metavoxel.typing import Code, Mask, Time

Scales: TypeAlias = tuple[Float[Tensor, "b 1 *#s"], Float[Tensor, "b 1 *#s"]]
"""Signal and noise scales of a state."""

FEWEST_ROWS = 10
"""Smallest number of rows with cross-validated variances."""
MANY_CHANNELS = 16
"""Channels from which on products of loadings are summed over channels before rows."""
LEAST_SHARE = 0.02
"""Smallest ratio of the held-out to the training variance along a component."""


class Components(nn.Module):
    """Center, loadings and residual variance of eq. (1); scores have variance 1 over held-out codes. Final."""

    def __init__(self, components: int, code_shape: tuple[int, ...]) -> None:
        super().__init__()
        size = math.prod(code_shape)
        self._shape = code_shape
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("loadings", torch.eye(components, size))
        self.register_buffer("residual", torch.ones(()))
        self.center: Tensor
        self.loadings: Tensor
        self.residual: Tensor

    def fit(self, rows: Rows, fold: Int64[Tensor, "n"]) -> None:
        """Fit directions of greatest variance to all codes, and variances by cross-validation over folds.

        Directions fitted to few rows overfit: with a hundred scans, the held-out variance along the twentieth component
        is a third of the training variance, and the held-out residual variance is twice as large. So the variances of
        each fold are taken along components fitted to all other folds. Nothing changes without any code.

        Args:
            rows: codes; they are read in blocks.
            fold: of each row.
        """
        if not len(rows):
            return
        sizes = torch.bincount(fold)
        validated = int((sizes > 0).sum()) > 1 and len(rows) >= FEWEST_ROWS
        fewest = len(rows) - int(sizes.max()) if validated else len(rows)
        count = min(len(self.loadings), fewest - 1, len(self.center))
        whole = principal(rows, count)
        variances, residual = whole.variances, whole.residual
        if validated:
            ratios, residual = torch.zeros_like(variances), torch.zeros_like(residual)
            for number in sizes.nonzero()[:, 0].tolist():
                others = principal(rows.select(fold != number), count)
                for block in rows.select(fold == number).blocks():
                    deviations = block - others.center
                    scores = deviations @ others.directions.T
                    ratios += scores.square().sum(0) / others.variances.clamp_min(1e-12) / len(rows)
                    residual += (deviations.square().sum() - scores.square().sum()) / (len(rows) * len(self.center))
            variances = variances * ratios.clamp(LEAST_SHARE, 1)
        self.center.copy_(whole.center)
        self.loadings.zero_()
        self.loadings[:count] = whole.directions * variances.sqrt()[:, None]
        self.residual.copy_(residual.clamp_min(1e-4))

    def scores(self, x0: Code) -> Float[Tensor, "b k"]:
        """Return the scores of clean codes."""
        variances = self.loadings.square().sum(1)
        scores = (x0.flatten(1) - self.center) @ self.loadings.T
        return torch.where(variances > 0, scores / variances.clamp_min(1e-12), 0.0)

    def likelihood(self, x: Code, scales: Scales) -> GaussianLikelihood:
        """Return the likelihood of the scores given codes with this signal and noise, eq. (2)."""
        with _single_precision(x):
            signal, noise = (scale.to(x.device).float() for scale in scales)
            variance = noise.square() + signal.square() * self.residual
            deviation = x.float() - signal * self.center.reshape(1, *self._shape)
            weighted = (signal / variance * deviation).flatten(1) @ self.loadings.T
            return GaussianLikelihood(self._precision(signal.square() / variance), weighted)

    def _precision(self, certainty: Float[Tensor, "b 1 *#s"]) -> Float[Tensor, "b k k"]:
        """Return P of eq. (2). With many channels, products of loadings are first summed over those of a cell."""
        channels, *grid = self._shape
        rows = len(certainty)
        if channels < MANY_CHANNELS:
            everywhere = certainty.expand(rows, *self._shape).flatten(1)
            return torch.einsum("bn,kn,ln->bkl", everywhere, self.loadings, self.loadings)
        loadings = self.loadings.reshape(len(self.loadings), channels, -1)
        products = torch.einsum("kcn,lcn->nkl", loadings, loadings)
        return torch.einsum("bn,nkl->bkl", certainty.expand(rows, 1, *grid).flatten(1), products)

    def reconstruct(self, scores: Float[Tensor, "b k"]) -> Code:
        """Return the code with these scores and no residual."""
        return self.center.reshape(1, *self._shape) + self.along(scores)

    def along(self, scores: Float[Tensor, "b k"]) -> Code:
        """Return the change of a code for a change of its scores."""
        with _single_precision(scores):
            return (scores.float() @ self.loadings).reshape(len(scores), *self._shape)


class ComponentFeatures(AbstractFeatures):
    """Scores of an image's latent on its leading principal components, for a kernel of Gaussian noise. Final."""

    def __init__(self, components: int, context: FeaturesContext) -> None:
        super().__init__()
        self.components = Components(components, context.code_shape)
        self.size, self.outputs = components, context.prediction_channels
        self._kernel = context.kernel

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        batches = list(codes())
        fold = torch.repeat_interleave(torch.arange(len(batches)), torch.tensor([len(batch) for batch in batches]))
        self.fit_rows(Rows(torch.cat(batches)), fold)

    def fit_rows(self, rows: Rows, fold: Int64[Tensor, "n"]) -> None:
        self.components.fit(rows, fold)

    def features_of(self, x0: Code) -> Float[Tensor, "b k"]:
        return self.components.scores(x0)

    def likelihood(self, x: Code, time: Time, observed: Mask) -> GaussianLikelihood:
        return self.components.likelihood(x, self._kernel.scales(along(time, x)))

    def reconstruct(self, features: Float[Tensor, "b k"]) -> Code:
        return self.components.reconstruct(features)


def _single_precision(like: Tensor) -> AbstractContextManager[object]:
    """Compute in single precision where mixed precision is on, which the meta device has not."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)
