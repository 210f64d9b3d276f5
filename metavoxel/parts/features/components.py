"""Probabilistic principal components of codes, and what they say of a noisy one."""

import math
from collections.abc import Iterable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metavoxel.parts.adapters.base import Information
from metavoxel.typing import Code

Scales: TypeAlias = tuple[Float[Tensor, "b 1 *#s"], Float[Tensor, "b 1 *#s"]]
"""Signal and noise of a state, as a kernel gives them."""

FEWEST_ROWS = 10
"""Of codes that can do without a part of them to be judged by."""
LEAST_SHARE = 0.02


class Components(nn.Module):
    """x_0 = center + scores times loadings + residual, all normal (Tipping and Bishop 1999). Final.

    With x_t = signal x_0 + noise e, and a noise level that may differ from cell to cell,
    what x_t says of the scores is a closed form: that of a linear regression of x_t on the loadings, each cell weighted
    by its certainty. Scores have variance 1 over codes not seen.
    """

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

    def fit(self, batches: Iterable[Float[Tensor, "_ ..."]]) -> None:
        """Directions of greatest variance of these codes, and what they are worth on codes not seen.

        Directions are chosen by all codes. Among few, they follow chance: along the twentieth of a hundred scans, those
        who were not seen vary by a third of what the others do, and what all components leave of them is twice as much.
        So variances along the directions, and the mean variance per cell that is left over, are those of each batch by
        the components of all other batches. Nothing happens without any code.
        """
        held = [batch.flatten(1) for batch in batches if len(batch)]
        if not held:
            return
        rows = torch.cat(held)
        judged = len(held) > 1 and len(rows) >= FEWEST_ROWS
        fewest = len(rows) - max(map(len, held)) if judged else len(rows)
        count = min(len(self.loadings), fewest - 1)
        center, directions, variances, left = _principal(rows, count)
        if judged:
            shares, left = torch.zeros_like(variances), torch.zeros_like(left)
            for place, batch in enumerate(held):
                mean, along, spreads, _ = _principal(torch.cat(held[:place] + held[place + 1 :]), count)
                scores = (batch - mean) @ along.T
                shares += scores.square().sum(0) / spreads.clamp_min(1e-12) / len(rows)
                left += ((batch - mean).square().sum() - scores.square().sum()) / rows.numel()
            variances = variances * shares.clamp(LEAST_SHARE, 1)
        self.center.copy_(center)
        self.loadings.zero_()
        self.loadings[:count] = directions * variances.sqrt()[:, None]
        self.residual.copy_(left.clamp_min(1e-4))

    def scores(self, x0: Code) -> Float[Tensor, "b k"]:
        """Scores of clean codes."""
        variances = self.loadings.square().sum(1)
        scores = (x0.flatten(1) - self.center) @ self.loadings.T
        return torch.where(variances > 0, scores / variances.clamp_min(1e-12), 0.0)

    def measure(self, x: Code, scales: Scales) -> Information:
        """What codes of this signal and noise say of the scores."""
        with torch.autocast(x.device.type, enabled=False):
            signal, noise = (scale.to(x.device).float() for scale in scales)
            spread = noise.square() + signal.square() * self.residual
            deviation = x.float() - signal * self.center.reshape(1, *self._shape)
            weighted = (signal / spread * deviation).flatten(1) @ self.loadings.T
            certainty = (signal.square() / spread).expand_as(deviation).flatten(1)
            precision = torch.einsum("bn,kn,ln->bkl", certainty, self.loadings, self.loadings)
            return Information(precision, weighted)

    def explained(self, scores: Float[Tensor, "b k"]) -> Code:
        """The code that these scores make."""
        return self.center.reshape(1, *self._shape) + self.along(scores)

    def along(self, scores: Float[Tensor, "b k"]) -> Code:
        """The change of a code when its scores change by this."""
        with torch.autocast(scores.device.type, enabled=False):
            return (scores.float() @ self.loadings).reshape(len(scores), *self._shape)


def _principal(rows: Float[Tensor, "n d"], count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, directions of greatest variance, the variances along them, and what they leave over per cell."""
    center = rows.mean(0)
    _, spreads, directions = torch.linalg.svd(rows - center, full_matrices=False)
    variances = spreads.square() / max(len(rows) - 1, 1)
    return center, directions[:count], variances[:count], variances[count:].sum() / rows.shape[1]
