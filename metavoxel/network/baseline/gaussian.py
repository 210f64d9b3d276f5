"""The joint normal law of all variables' features: what is known of all before a network has learnt anything."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from metavoxel.network.baseline.components import Components, posterior

FOLDS = 5
KEPT = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Parts of the correlations between variables."""
ENOUGH_ROWS = 40
MOST_ROWS = 2000
"""Rows that choose the shrinkage: at least so many complete ones; and of more rows in all, nothing is shrunk."""
MOST_STEPS, CLOSE = 60, 1e-3
"""Of the moments of rows with gaps: steps, and the change of a correlation that ends them."""
MOST_SWEEPS, SETTLED = 100, 1e-8
"""Of the law that keeps to factors: turns of all features, and the change of a correlation that ends them."""
MOST_PATTERNS = 200
"""Of gaps: where nearly every row has its own, the steps would take minutes, and gaps are many and small."""


class GaussianBaseline(nn.Module):
    """Features of all variables as one normal vector, each measured through its own noise. Final.

    The posterior mean given what all noisy codes say is a closed form: a shrunken regression for a clean image and an
    unknown age, the mean image of that age for a known age and an unknown image. Adapters begin their predictions with
    it, so that the network learns only what a linear model misses.

    Args:
        sizes: number of features of every variable.
        links: which features depend on each other directly, where that is known of the joint density; by default all
            may. The law keeps to it where rows not seen are likelier so.
    """

    def __init__(self, sizes: Mapping[str, int], links: Bool[Tensor, "k k"] | None = None) -> None:
        super().__init__()
        self._sizes = dict(sizes)
        self._links = links
        self._rule = _Rule(1.0)
        self.register_buffer("precision", torch.eye(sum(sizes.values())))
        self.precision: Tensor

    def fit(
        self,
        rows: Float64[Tensor, "n k"],
        seen: Bool[Tensor, "n k"],
        unseen: Sequence[Float64[Tensor, "n k"]],
        fold: Int64[Tensor, "n"],
    ) -> float:
        """The likeliest correlations of features; cross-validation shrinks those between variables, or keeps to links.

        Returns which part of the correlations between variables is kept.

        Where a feature varies more over these rows than the 1 it has over others, it was chosen by them. A regression
        of one of spread s on one of spread r is what these rows say if their correlation is multiplied by s / r, and
        the other way round by r / s. It is multiplied by the smaller: what a feature explains in others is less.

        Args:
            rows: features of all variables; 0 where they are not known.
            seen: which are known.
            unseen: for each fold, features as those rows make them that are not in it; none for ``rows`` themselves.
            fold: of each row.
        """
        if len(rows) < FOLDS or not rows.shape[1]:
            return self._rule.kept
        rules = [_Rule(kept) for kept in (KEPT if len(rows) <= MOST_ROWS else [1.0])]
        if self._links is not None:
            rules = [_Rule(rule.kept, self._links) for rule in rules] + rules
        rule = rules[0]
        if len(rules) > 1:
            rule = _likeliest(rules, unseen or [rows] * FOLDS, seen, fold, self.inside())
        self._rule = rule
        self.precision.copy_(torch.linalg.inv(self.refitted(rows, seen)))
        return rule.kept

    def refitted(self, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> Float64[Tensor, "k k"]:
        """The covariance that these rows give by the rule that ``fit`` found."""
        return _Moments.of(rows, seen, self.inside()).law(self._rule)

    def covariance(self) -> Float64[Tensor, "k k"]:
        """Of all features."""
        return torch.linalg.inv(self.precision.double())

    def inside(self) -> Bool[Tensor, "k k"]:
        """Pairs of features of one variable."""
        return block_diagonal([torch.ones(1, size, size) for size in self._sizes.values()])[0].bool()


class _Rule(NamedTuple):
    """How a law is made of moments.

    Attributes:
        kept: which part of the correlations between variables is kept.
        linked: pairs of features that depend on each other directly; None if all may.
    """

    kept: float
    linked: Bool[Tensor, "k k"] | None = None


class _Moments(NamedTuple):
    """What rows say of a law.

    Attributes:
        correlation: of all features.
        scale: of each feature.
        inside: pairs of features of one variable.
    """

    correlation: Float64[Tensor, "k k"]
    scale: Float64[Tensor, "k"]
    inside: Bool[Tensor, "k k"]

    @classmethod
    def of(cls, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"], inside: Bool[Tensor, "k k"]) -> "_Moments":
        """Of rows whose absent features are 0."""
        scale = (rows.square().sum(0) / seen.sum(0).clamp_min(1)).clamp_min(1e-12).sqrt()
        return cls(_correlation(rows / scale, seen), scale, inside)

    def law(self, rule: _Rule) -> Float64[Tensor, "k k"]:
        """Covariance over rows not seen."""
        own = 0.99 * self.correlation + 0.01 * torch.eye(len(self.correlation))
        spread = self.scale.clamp_min(1)
        ratio = spread[:, None] / spread
        between = rule.kept * self.correlation * torch.minimum(ratio, 1 / ratio)
        law = _lawful(torch.where(self.inside, own, between))
        return law if rule.linked is None else _kept_to(rule.linked, law)


def _kept_to(linked: Bool[Tensor, "k k"], covariance: Float64[Tensor, "k k"]) -> Float64[Tensor, "k k"]:
    """The likeliest law in which features that are not linked are independent given all others (Dempster 1972).

    It has the variances and the covariances of linked features as they are. Each feature in turn is regressed on those
    linked to it alone, with the covariances that these have in the law so far (Hastie, Tibshirani and Friedman 2009,
    algorithm 17.1).
    """
    law = covariance.clone()
    neighbours = (linked & ~torch.eye(len(linked), dtype=torch.bool)).unbind()
    for _ in range(MOST_SWEEPS):
        before = law.clone()
        for one, near in enumerate(neighbours):
            others = torch.arange(len(law)) != one
            regression = torch.linalg.solve(law[near][:, near], covariance[near, one])
            law[others, one] = law[one, others] = law[others][:, near] @ regression
        if float((law - before).abs().max()) < SETTLED:
            break
    return law


def _correlation(rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> Float64[Tensor, "k k"]:
    """Second moments of normal rows with gaps, the likeliest (Dempster, Laird and Rubin 1977); absent ones are 0.

    Moments over the rows that have both features would be simpler, and much worse where much is explained: chance in
    an image's scores no longer cancels between its own moments and those with an age that only half of the rows have.
    They are the start, and the answer where there are too many patterns of gaps.
    """
    here = seen.double()
    found = rows.T @ rows / (here.T @ here).clamp_min(1)
    patterns, kind = torch.unique(seen, dim=0, return_inverse=True)
    if len(patterns) == 1 or len(patterns) > MOST_PATTERNS:
        return found
    groups = [(pattern, rows[kind == number]) for number, pattern in enumerate(patterns)]
    for _ in range(MOST_STEPS):
        before, total = _lawful(found), torch.zeros_like(found)
        for pattern, group in groups:
            there, gap = pattern.nonzero()[:, 0], (~pattern).nonzero()[:, 0]
            regression = torch.linalg.solve(before[there][:, there], before[there][:, gap])
            filled = group.clone()
            filled[:, gap] = group[:, there] @ regression
            total += filled.T @ filled
            left = before[gap][:, gap] - before[gap][:, there] @ regression
            total[gap[:, None], gap] += len(group) * left
        found = total / len(rows)
        if float((found - before).abs().max()) < CLOSE:
            break
    return found


def _lawful(correlation: Float64[Tensor, "k k"]) -> Float64[Tensor, "k k"]:
    """The same with a least eigenvalue: shrunken in part, or of few rows, it need not be a law."""
    values, vectors = torch.linalg.eigh(correlation)
    return vectors @ torch.diag(values.clamp_min(1e-3)) @ vectors.T


def _likeliest(
    rules: Sequence[_Rule],
    unseen: Sequence[Float64[Tensor, "n k"]],
    seen: Bool[Tensor, "n k"],
    fold: Int64[Tensor, "n"],
    inside: Bool[Tensor, "k k"],
) -> _Rule:
    """The rule by whose laws rows that are in none of them are likeliest.

    Correlations within a variable stay as they are. Scores of one image have none by construction, and a rule that
    shrinks the whole matrix by its error (Ledoit and Wolf 2004) is right about most of it, and wrong about the part
    that predicts. Independence given others may be true of the density and not of the likeliest normal law: what two
    variables owe to the square of a third, they do not owe to it linearly.
    """
    whole = seen.all(1)
    complete = int(whole.sum()) >= ENOUGH_ROWS
    judged = whole if complete else torch.ones_like(whole)
    folds = []
    for number, rows in enumerate(unseen):
        used = fold != number
        moments = _Moments.of(rows[used], seen[used], inside)
        folds.append((moments, rows[~used & judged] / moments.scale.clamp_max(1), seen[~used & judged]))

    def likelihood(rule: _Rule) -> float:
        total = 0.0
        for moments, held_out, known in folds:
            law = moments.law(rule)
            if complete:
                misfit = (held_out * torch.linalg.solve(law, held_out.T).T).sum()
                total -= float(misfit + len(held_out) * torch.logdet(law))
            else:
                alone = Components(torch.ones(1).double(), torch.zeros(1, len(law)).double(), law[None])
                total += float(posterior(alone, held_out, known).log_joint.sum())
        return total

    return max(rules, key=likelihood)


def block_diagonal(blocks: Sequence[Float[Tensor, "b _ _"]]) -> Float[Tensor, "b k k"]:
    """Matrices of which each has a block of its own on the diagonal."""
    size = sum(block.shape[1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        end = start + block.shape[1]
        rows.append(nn.functional.pad(block, (start, size - end)))
        start = end
    return torch.cat(rows, 1)
