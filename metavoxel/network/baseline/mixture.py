"""The baseline that predictions begin with: one Gaussian over all features, or a mixture where that predicts better."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from metavoxel.network.baseline.components import Components, log_density, posterior
from metavoxel.network.baseline.em import fit_components
from metavoxel.network.baseline.gaussian import FOLDS, GaussianBaseline, block_diagonal
from metavoxel.network.baseline.scores import ClassPoints, places, predictive_scores
from metavoxel.parts.features.base import GaussianLikelihood

MOST_COMPONENTS = 12
COUNTS = (1, 2, 3, 4, 6, 8, 12)
"""Numbers of components that are tried, while more are better."""
PATIENCE = 2
"""Numbers of components that were no better, after which no more are tried."""
MOST_FEATURES = 64
"""Of a mixture: so many features have covariances that tables of the usual size do not determine."""
FEWEST_ROWS, MOST_ROWS = 40, 4000
"""Rows that a mixture is fitted from."""
MOST_STEPS, CLOSE = 50, 1e-3
"""Of the mean of rows with gaps: steps, and the change that ends them."""


class MixtureBaseline(nn.Module):
    """Features of all variables as a mixture of Gaussians, each measured through its own noise. Final.

    A Gaussian has straight regressions and one spread. A few of them together have curves, humps, and spreads that
    depend on other variables, and their posterior is a closed form too. How many is decided by cross-validation: by
    the predictive density of each variable given all others, of rows that the mixture has not seen. It is the fewest
    within a standard error of the best (Breiman et al. 1984).

    A category is expected by Bayes' rule: its classes' shares times the density of all else at the class's point, a
    discriminant analysis, linear where there is one component.

    Args:
        sizes: number of features of every variable.
        classes: number of classes of every variable; 0 of what is no category.
        links: see :class:`GaussianBaseline`; they leave one component.
        mixed: whether there may be several components.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        classes: Mapping[str, int],
        links: Bool[Tensor, "k k"] | None = None,
        *,
        mixed: bool,
    ) -> None:
        super().__init__()
        self._sizes = dict(sizes)
        self._classes = {name: count for name, count in classes.items() if count}
        self._places = places(sizes)
        features = sum(sizes.values())
        self.gaussian = GaussianBaseline(sizes, links)
        self._mixed = mixed and links is None and features <= MOST_FEATURES
        most = MOST_COMPONENTS if self._mixed else 1
        self.register_buffer("weights", torch.nn.functional.one_hot(torch.tensor(0), most).double())
        self.register_buffer("means", torch.zeros(most, features, dtype=torch.float64))
        self.register_buffer(
            "precisions", torch.eye(features, dtype=torch.float64).repeat(most if most > 1 else 0, 1, 1)
        )
        self.register_buffer("points", torch.zeros(sum(n * sizes[name] for name, n in self._classes.items())))
        self.register_buffer("log_prior", torch.zeros(sum(self._classes.values())))
        self.register_buffer("center", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("straight", torch.ones(len(self._classes), dtype=torch.bool))
        self.weights: Tensor
        self.means: Tensor
        self.precisions: Tensor
        self.points: Tensor
        self.log_prior: Tensor
        self.center: Tensor
        self.straight: Tensor

    @property
    def components(self) -> int:
        """How many there are."""
        return int((self.weights > 0).sum())

    def fit(
        self,
        features: Mapping[str, Float[Tensor, "n _"]],
        present: Mapping[str, Bool[Tensor, "n"]],
        unseen: Sequence[Mapping[str, Float[Tensor, "n _"]]] = (),
        fold: Int64[Tensor, "n"] | None = None,
        *,
        points: Mapping[str, Float[Tensor, "_ _"]] = {},
    ) -> None:
        """Fit one Gaussian, and mixtures as far as they may be better.

        Args:
            features: of every variable.
            present: rows that have the variable.
            unseen: for each fold, features as those rows make them that are not in it; by default ``features``.
            fold: of each row; by default by turns.
            points: features of each class of every category.
        """
        seen = torch.cat([present[name][:, None].expand(-1, size) for name, size in self._sizes.items()], 1)
        rows = self._joined(features, seen)
        fold = torch.arange(len(rows)) % FOLDS if fold is None else fold
        kept = self.gaussian.fit(rows, seen, [self._joined(part, seen) for part in unseen], fold)
        categories = {}
        for number, name in enumerate(self._sizes):
            if name in self._classes:
                categories[number] = ClassPoints.of(points[name].double(), features[name][present[name]].double())
        found = _one_gaussian(self.gaussian.covariance(), rows, seen)
        alone, straight = found, list(categories)
        if self._mixed and len(rows) >= FEWEST_ROWS:
            step = -(-len(rows) // MOST_ROWS)
            found, straight = self._best(alone, rows[::step], seen[::step], fold[::step], categories, kept)
        self._take(alone, found, categories, straight)

    def _joined(
        self, features: Mapping[str, Float[Tensor, "n _"]], seen: Bool[Tensor, "n d"]
    ) -> Float64[Tensor, "n d"]:
        """Features of all variables, 0 where they are not known."""
        return torch.where(seen, torch.cat([features[name] for name in self._sizes], 1).double(), 0.0)

    def _best(
        self,
        alone: Components,
        rows: Float64[Tensor, "n d"],
        seen: Bool[Tensor, "n d"],
        fold: Int64[Tensor, "n"],
        categories: Mapping[int, ClassPoints],
        kept: float,
    ) -> tuple[Components, list[int]]:
        """The fewest components that predict rows not seen no worse, by a standard error, than the best number.

        With them, the categories that one Gaussian predicts no worse.
        """
        parts = list(self._places.values())
        between = torch.where(self.gaussian.inside(), 1.0, kept).double()

        def judged(count: int) -> Float64[Tensor, "n v"]:
            scores = torch.zeros(len(rows), len(parts), dtype=torch.float64)
            for number in range(FOLDS):
                out = fold == number
                if not out.any() or out.all():
                    continue
                if count == 1:
                    fitted = _one_gaussian(self.gaussian.refitted(rows[~out], seen[~out]), rows[~out], seen[~out])
                else:
                    fitted = fit_components(rows[~out], seen[~out], count, between)
                scores[out] = predictive_scores(fitted, rows[out], seen[out], parts, categories)
            return scores

        scores: dict[int, Float64[Tensor, n]] = {}
        single, best = judged(1), 1
        straight: dict[int, list[int]] = {}
        for number, count in enumerate(COUNTS):
            if (count > 1 and count * len(self._places) > len(rows)) or number - COUNTS.index(best) > PATIENCE:
                break
            found = single if count == 1 else judged(count)
            straight[count] = [at for at in categories if found[:, at].mean() <= single[:, at].mean()]
            found[:, straight[count]] = single[:, straight[count]]
            scores[count] = found.sum(1)
            best = max(scores, key=lambda tried: float(scores[tried].mean()))
        for count, score in scores.items():
            short = scores[best] - score
            if float(short.mean()) <= float(short.std() / len(short) ** 0.5):
                mixture = alone if count == 1 else fit_components(rows, seen, count, between)
                return mixture, straight[count]
        raise AssertionError("the best is no worse than itself")

    def _take(
        self,
        alone: Components,
        found: Components,
        categories: Mapping[int, ClassPoints],
        straight: Sequence[int],
    ) -> None:
        count = len(found.weights)
        self.weights.zero_()
        self.weights[:count] = found.weights
        self.means[:count] = found.means
        self.center.copy_(alone.means[0])
        if count > 1:
            self.precisions[:count] = torch.linalg.inv(found.covariances)
        if categories:
            self.points.copy_(torch.cat([category.points.flatten() for category in categories.values()]))
            self.straight.copy_(torch.tensor([number in straight for number in categories]))
            parts = list(self._places.values())
            priors = [
                category.log_prior(alone if number in straight else found, parts[number])
                for number, category in categories.items()
            ]
            self.log_prior.copy_(torch.cat(priors))

    def forward(self, likelihoods: Mapping[str, GaussianLikelihood]) -> dict[str, Float[Tensor, "b _"]]:
        """Posterior mean of every variable's features, given the likelihoods of all."""
        parts = [likelihoods[name] for name in self._sizes]
        weighted = torch.cat([part.weighted for part in parts], 1)
        if not weighted.shape[1]:
            return {name: part.weighted for name, part in zip(self._sizes, parts, strict=True)}
        with torch.autocast(weighted.device.type, enabled=False):
            certainty = block_diagonal([part.precision for part in parts])
            several = self.components > 1
            log_joint, means, spreads = self._posterior(certainty, weighted, several=several)
            shares = torch.softmax(log_joint, 0)
            expected = (shares[..., None] * means).sum(0).to(weighted.dtype)
            found = dict(zip(self._sizes, expected.split(list(self._sizes.values()), 1), strict=True))
            if not self._classes:
                return found
            found |= self._of_classes(log_joint, means, spreads, weighted.dtype)
            if several and self.straight.any():
                alone = self._of_classes(*self._posterior(certainty, weighted, several=False), weighted.dtype)
                found |= {name: alone[name] for name, by in zip(self._classes, self.straight, strict=True) if by}
            return found

    def _posterior(
        self, certainty: Float[Tensor, "b d d"], weighted: Float[Tensor, "b d"], *, several: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Of each component its logarithm of weight times evidence, (k, b), the expected features, (k, b, d), and the
        covariance of each category's own, (k, b, f, f)."""
        if several:
            certainty, weighted = certainty.double(), weighted.double()
        log_joint, means = [], []
        spreads: dict[str, list[Tensor]] = {name: [] for name in self._classes}
        columns = [self._places[name] for name in self._classes]
        unit = torch.eye(weighted.shape[1], dtype=weighted.dtype, device=weighted.device)
        picked = torch.cat([unit[:, place] for place in columns], 1) if columns else unit[:, :0]
        for number in range(self.components if several else 1):
            precision = self.precisions[number] if several else self.gaussian.precision
            center = (self.means[number] if several else self.center).to(weighted.dtype)
            total = precision + certainty
            force = weighted - certainty @ center
            right = torch.cat([force[:, :, None], picked.expand(len(force), -1, -1)], 2)
            factor = torch.linalg.cholesky(total)
            solved, start = torch.cholesky_solve(right, factor), 1
            for name, place in zip(self._classes, columns, strict=True):
                width = place.stop - place.start
                spreads[name].append(solved[:, place, start : start + width])
                start += width
            means.append(center + solved[:, :, 0])
            if several:
                evidence = (force * solved[:, :, 0]).sum(1) / 2 + weighted @ center - (certainty @ center) @ center / 2
                size = torch.logdet(precision) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
                log_joint.append(self.weights[number].log() + evidence + size)
            else:
                log_joint.append(torch.zeros_like(force[:, 0]))
        return torch.stack(log_joint), torch.stack(means), {name: torch.stack(one) for name, one in spreads.items()}

    def _of_classes(
        self, log_joint: Tensor, means: Tensor, spreads: Mapping[str, Tensor], dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Features of categories as the probabilities of their classes make them."""
        found, first, prior = {}, 0, 0
        for name, count in self._classes.items():
            place = self._places[name]
            size = place.stop - place.start
            points = self.points[first : first + count * size].reshape(count, size).to(means.dtype)
            at = log_density(
                points.expand(*means.shape[:2], -1, -1), means[:, :, place], torch.linalg.inv(spreads[name])
            )
            log_class = torch.logsumexp(log_joint[..., None] + at, 0) + self.log_prior[prior : prior + count]
            found[name] = (torch.softmax(log_class, 1) @ points).to(dtype)
            first, prior = first + count * size, prior + count
        return found


def _one_gaussian(
    covariance: Float64[Tensor, "d d"], rows: Float64[Tensor, "n d"], seen: Bool[Tensor, "n d"]
) -> Components:
    """One component of this covariance. Its mean is the likeliest of rows with gaps, by EM.

    That of the rows that have a feature is another: with few of them, they are chance's choice of all the others.
    """
    mean = torch.zeros(len(covariance), dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    for _ in range(0 if seen.all() or not len(rows) else MOST_STEPS):
        before, mean = mean, posterior(Components(one, mean[None], covariance[None]), rows, seen).means[:, 0].mean(0)
        if float((mean - before).abs().max()) < CLOSE:
            break
    return Components(one, mean[None], covariance[None])
