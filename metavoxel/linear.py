"""The joint normal law of all variables' features: what is known of all before a network has learnt anything."""

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn

from metavoxel.adapters.base import Information

FOLDS = 5
KEPT = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Parts of the correlations between variables."""
PENALTIES = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of weak features: one of strength s counts for s (1 + penalty) / (s + penalty), as in a ridge regression."""
ENOUGH_ROWS = 40
MOST_ROWS = 5000
"""Complete rows that choose the shrinkage: fewer know too little, more hardly change it."""


class LinearJoint(nn.Module):
    """Features of all variables as one normal vector, each measured through its own noise. Final.

    The posterior mean given what all noisy codes say is a closed form: a shrunken regression for a clean image and an
    unknown age, the mean image of that age for a known age and an unknown image. Adapters begin their predictions with
    it, so that the network learns only what a linear model misses.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._sizes = dict(sizes)
        self.register_buffer("precision", torch.eye(sum(sizes.values())))
        self.precision: Tensor

    def fit(
        self,
        features: Mapping[str, Float[Tensor, "n _"]],
        present: Mapping[str, Bool[Tensor, "n"]],
        strengths: Mapping[str, Float[Tensor, "_"]],
    ) -> None:
        """Correlations of features, each over the rows that have both, shrunk between variables by cross-validation.

        Args:
            features: of every variable.
            present: rows that have the variable.
            strengths: which share of its code's variance each feature stands for, over that of the strongest.
        """
        if len(next(iter(present.values()))) < FOLDS or not sum(self._sizes.values()):
            return
        seen = torch.cat([present[name][:, None].expand(-1, size) for name, size in self._sizes.items()], 1)
        rows = torch.cat([features[name] for name in self._sizes], 1).double()
        rows = torch.where(seen, rows, 0.0)
        covariance = _pairwise(rows, seen)
        scale = covariance.diagonal().clamp_min(1e-12).sqrt()
        rows, correlation = rows / scale, covariance / scale / scale[:, None]
        inside = _block_diagonal([torch.ones(1, size, size) for size in self._sizes.values()])[0].bool()
        own = torch.where(inside, 0.99 * correlation, 0.0) + 0.01 * torch.eye(len(correlation))
        whole = seen.all(1)
        # Absent features stand at their mean, and a law that is judged by such rows believes in less than there is.
        chosen = whole if int(whole.sum()) >= ENOUGH_ROWS else torch.ones_like(whole)
        strength = torch.cat([strengths[name] for name in self._sizes]).double().clamp_min(1e-9)
        kept = _kept(rows[chosen][:MOST_ROWS], seen[chosen][:MOST_ROWS], own, inside, strength)
        self.precision.copy_(torch.linalg.inv(_lawful(torch.where(inside, own, kept * correlation))))

    def forward(self, said: Mapping[str, Information]) -> dict[str, Float[Tensor, "b _"]]:
        """Expected features of every variable, given what the codes of all say."""
        parts = [said[name] for name in self._sizes]
        weighted = torch.cat([part.weighted for part in parts], 1)
        if not weighted.shape[1]:
            return {name: part.weighted for name, part in zip(self._sizes, parts, strict=True)}
        with torch.autocast(weighted.device.type, enabled=False):
            precision = self.precision + _block_diagonal([part.precision for part in parts])
            expected = torch.linalg.solve(precision, weighted)
        return dict(zip(self._sizes, expected.split(list(self._sizes.values()), 1), strict=True))


def _pairwise(rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> Float64[Tensor, "k k"]:
    """Second moments, each over the rows that have both features; absent ones are 0 in ``rows``."""
    here = seen.double()
    return rows.T @ rows / (here.T @ here).clamp_min(1)


def _lawful(correlation: Float64[Tensor, "k k"]) -> Float64[Tensor, "k k"]:
    """The same with a least eigenvalue: pairs over different rows need not make a law together."""
    values, vectors = torch.linalg.eigh(correlation)
    return vectors @ torch.diag(values.clamp_min(1e-3)) @ vectors.T


def _kept(
    rows: Float64[Tensor, "n k"],
    seen: Bool[Tensor, "n k"],
    own: Float64[Tensor, "k k"],
    inside: Bool[Tensor, "k k"],
    strength: Float64[Tensor, "k"],
) -> Float64[Tensor, "k k"]:
    """Which part of each correlation between variables is kept: such that held-out rows are likeliest.

    Those within a variable stay as they are. Scores of one image have none by construction, and a rule that shrinks the
    whole matrix by its error (Ledoit and Wolf 2004) is right about most of it, and wrong about the part that predicts.
    A single factor for all has to be small where some features are weak and many, and then the law knows less of a
    target, and is less certain, than a regression that leaves the strong ones whole.
    """
    fold = torch.arange(len(rows)) % FOLDS
    folds = [(_pairwise(rows[fold != k], seen[fold != k]), rows[fold == k]) for k in range(FOLDS)]
    best, most = torch.zeros_like(own), -torch.inf
    for kept, penalty in product(KEPT, PENALTIES if bool((strength < 1).any()) else PENALTIES[:1]):
        trust = strength * (1 + penalty) / (strength + penalty)
        factors, likelihood = kept * trust[:, None] * trust, 0.0
        for found, held_out in folds:
            law = _lawful(torch.where(inside, own, factors * found))
            misfit = (held_out * torch.linalg.solve(law, held_out.T).T).sum()
            likelihood -= float(misfit + len(held_out) * torch.logdet(law))
        if likelihood > most:
            best, most = factors, likelihood
    return best


def _block_diagonal(blocks: Sequence[Float[Tensor, "b _ _"]]) -> Float[Tensor, "b k k"]:
    size = sum(block.shape[1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        end = start + block.shape[1]
        rows.append(nn.functional.pad(block, (start, size - end)))
        start = end
    return torch.cat(rows, 1)
