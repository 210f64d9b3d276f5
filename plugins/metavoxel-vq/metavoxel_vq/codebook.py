"""Vector quantisation with a codebook of moving averages (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1).

A cell's vector is the nearest of the codebook. With n_k cells of a batch at vector k, and y_i the numbers of cell i,

    N_k <- g N_k + (1 - g) n_k,    m_k <- g m_k + (1 - g) sum_(i at k) y_i,    e_k <- m_k / N_k.                 (1)

Vectors start at cells of the first batch. One whose N_k is below ``LEAST`` of the mean starts again at a random cell of
the batch (Dhariwal et al. 2020, "Jukebox"), so that no class stays unused.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metavoxel.rng import Rng
from metavoxel_vq.quantiser import AbstractQuantiser

DECAY = 0.99
"""g of eq. (1)."""
LEAST = 0.05
"""Share of the mean count below which a vector starts again: of an unused one, after 300 steps."""


class VectorQuantiser(AbstractQuantiser):
    """Numbers (b, j, *s) to the nearest vectors of a codebook, which :meth:`update` learns. Final.

    Args:
        classes: number of vectors.
        numbers: length of a vector, j.
    """

    def __init__(self, classes: int, numbers: int) -> None:
        super().__init__()
        self.classes, self.numbers = classes, numbers
        self.register_buffer("vectors", torch.randn(classes, numbers))
        self.register_buffer("counts", torch.zeros(classes))
        self.register_buffer("sums", torch.zeros(classes, numbers))
        self.vectors: Tensor
        self.counts: Tensor
        self.sums: Tensor

    def forward(self, y: Float[Tensor, "b j *s"]) -> Float[Tensor, "b j *s"]:
        """Return the nearest vectors, with the gradient of the numbers (straight-through)."""
        nearest = self.vectors[self.index(y)].movedim(-1, 1)
        return y + (nearest - y).detach()

    @torch.no_grad()
    def index(self, levels: Float[Tensor, "b j *s"]) -> Int64[Tensor, "b *s"]:
        """Return the class of the nearest vector."""
        cells = levels.movedim(1, -1).float()
        with torch.autocast(levels.device.type, enabled=False):
            distances = self.vectors.square().sum(1) - 2 * cells @ self.vectors.T
        return distances.argmin(-1)

    def codebook(self) -> Float[Tensor, "k j"]:
        """Return the vectors."""
        return self.vectors

    @torch.no_grad()
    def update(self, y: Float[Tensor, "b j *s"], rng: Rng) -> None:
        """Update the codebook by the cells of a training batch, eq. (1); cells that are not finite change nothing."""
        cells = y.detach().movedim(1, -1).flatten(0, -2).float()
        if not bool(cells.isfinite().all()):
            return
        each = -(-self.classes // len(y))
        place = (rng.uniform((len(y), each), dtype=torch.float64).flatten()[: self.classes] * len(cells)).long()
        fresh = cells[place.to(cells.device)]
        mean = len(cells) / self.classes
        if not bool(self.counts.any()):
            self._restart(torch.ones_like(self.counts, dtype=torch.bool), fresh, mean)
        index = self.index(y).flatten()
        self.counts.mul_(DECAY).index_add_(0, index, torch.ones_like(cells[:, 0]), alpha=1 - DECAY)
        self.sums.mul_(DECAY).index_add_(0, index, cells, alpha=1 - DECAY)
        self._restart(self.counts < LEAST * mean, fresh, mean)
        self.vectors.copy_(self.sums / self.counts[:, None])

    def _restart(self, chosen: Tensor, fresh: Float[Tensor, "k j"], count: float) -> None:
        """Let the chosen vectors start at others, as if these had an average number of cells."""
        self.counts.masked_fill_(chosen, count)
        self.sums.copy_(torch.where(chosen[:, None], count * fresh, self.sums))
        self.vectors.copy_(torch.where(chosen[:, None], fresh, self.vectors))
