"""Shrinkage of the correlations between variables, by cross-validated likelihood.

The factors ``kept`` of eq. (2) of :mod:`metavoxel.network.baseline.moments` are chosen in two steps. Variables of many
features (images, label maps) are groups of their own, all others are one group. A factor for each pair of groups
maximises the likelihood of their features alone; it is 0 if the mean gain over 0 is below a standard error. Then one
further factor of all pairs, and whether links are used, maximise the likelihood of all features.

A single factor would be set by the pair of groups with the most correlations: an image that is unrelated to the other
variables, whose correlations are sampling errors, would also set that of an age and a volume to 0.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from metavoxel.network.baseline.components import Components, posterior
from metavoxel.network.baseline.moments import Moments, Shrinkage

FOLDS = 5
KEPT = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Candidate factors of correlations."""
ENOUGH_ROWS = 40
"""Complete rows from which on they alone are scored in cross-validation."""
MANY_FEATURES = 8
"""Features above which a variable is a group of its own."""
MOST_GROUPS = 12
"""Groups above which the smallest are merged: the number of pairs is their square."""


def inside_blocks(sizes: Sequence[int]) -> Bool[Tensor, "k k"]:
    """Return the pairs of features of one block."""
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
    return block[:, None] == block


def groups_of(sizes: Mapping[str, int]) -> Int64[Tensor, "k"]:
    """Return the group of each feature: 0, or for a variable of many features one of its own."""
    large = sorted((size, number) for number, size in enumerate(sizes.values()) if size > MANY_FEATURES)
    own = {number: group for group, (_, number) in enumerate(large[-(MOST_GROUPS - 1) :], 1)}
    return torch.cat([torch.full((size,), own.get(number, 0)) for number, size in enumerate(sizes.values())]).long()


def chosen_shrinkage(
    unseen: Sequence[Float64[Tensor, "n k"]],
    seen: Bool[Tensor, "n k"],
    fold: Int64[Tensor, "n"],
    sizes: Mapping[str, int],
    links: Bool[Tensor, "k k"] | None,
    *,
    shrunk: bool = True,
) -> Shrinkage:
    """Return the factors, and the links or None, of highest cross-validated likelihood.

    Links are cross-validated too: independence given other variables in the joint density need not hold for the
    Gaussian of its moments, as of two variables that depend on the square of a third.

    Args:
        unseen: for each fold, features fitted to the rows outside it; 0 where unknown.
        seen: mask of the known features.
        fold: of each row.
        sizes: number of features of every variable.
        links: pairs of features that depend on each other directly, where known.
        shrunk: whether factors below 1 are tried.
    """
    inside = inside_blocks(list(sizes.values()))
    folds = []
    for number, rows in enumerate(unseen):
        used = fold != number
        moments = Moments.of(rows[used], seen[used], inside)
        folds.append(_Fold(moments, rows[~used] / moments.scale.clamp_max(1), seen[~used]))
    group = groups_of(sizes)
    kept = torch.ones(inside.shape, dtype=torch.float64)
    for first, second in torch.combinations(group.unique(), 2).tolist() if shrunk else ():
        pair = (group == first) | (group == second)
        across = ((group[:, None] == first) & (group == second)) | ((group[:, None] == second) & (group == first))
        some = [one.of_features(pair) for one in folds]
        factors = {value: torch.where(across, value, 1.0)[pair][:, pair].double() for value in KEPT}
        scores = {value: likelihoods(some, Shrinkage(factor)) for value, factor in factors.items()}
        best = max(KEPT, key=lambda value: float(scores[value].sum()))
        gain = scores[best] - scores[0.0]
        supported = float(gain.mean()) > float(gain.std()) / len(gain) ** 0.5
        kept = torch.where(across, best if supported else 0.0, kept)
    candidates = [Shrinkage(torch.where(inside, 1.0, value * kept)) for value in (KEPT if shrunk else (1.0,))]
    if links is not None:
        candidates = [Shrinkage(one.kept, links) for one in candidates] + candidates
    return max(candidates, key=lambda one: float(likelihoods(folds, one).sum()))


class _Fold:
    """Moments of the rows outside a fold, and the rows in it. Final."""

    def __init__(self, moments: Moments, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> None:
        self.moments, self.rows, self.seen = moments, rows, seen

    def of_features(self, chosen: Bool[Tensor, "k"]) -> "_Fold":
        """Return the same with some features."""
        return _Fold(self.moments.of_features(chosen), self.rows[:, chosen], self.seen[:, chosen])


def likelihoods(folds: Sequence[_Fold], shrinkage: Shrinkage) -> Float64[Tensor, "n"]:
    """Return the log-likelihood of each row in all folds, without constants; of complete rows if there are enough.

    Correlations within a variable are not shrunk. Scores of one image have none by construction, so that shrinking the
    whole matrix by its expected error (Ledoit and Wolf 2004) would fit those, not the correlations that predict.
    """
    complete = sum(int(one.seen.all(1).sum()) for one in folds) >= ENOUGH_ROWS
    found = []
    for one in folds:
        covariance = one.moments.covariance(shrinkage)
        if complete:
            rows = one.rows[one.seen.all(1)]
            misfit = (rows * torch.linalg.solve(covariance, rows.T).T).sum(1)
            found.append(-(misfit + torch.logdet(covariance)) / 2)
        else:
            mean = torch.zeros(1, len(covariance)).double()
            gaussian = Components(torch.ones(1).double(), mean, covariance[None])
            found.append(posterior(gaussian, one.rows, one.seen).log_joint[:, 0])
    return torch.cat(found)
