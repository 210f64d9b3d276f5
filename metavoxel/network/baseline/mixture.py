"""The baseline's distribution of all features: a Gaussian, or a mixture of Gaussians where that predicts better.

Component k has weight pi_k, mean m_k and precision A_k. The noisy codes of all variables have the likelihood
log p(x_t | f) = -f'Pf / 2 + f'w + const (:mod:`metavoxel.parts.features.base`), with P block-diagonal. Hence

    F_k = A_k + P,    g_k = w - P m_k,    f | x_t, k ~ N(m_k + F_k^-1 g_k, F_k^-1),                              (1)
    log pi_k p(x_t | k) = log pi_k + (g_k'F_k^-1 g_k + 2 w'm_k - m_k'P m_k + log det A_k - log det F_k) / 2 + const,
    E[f | x_t] = sum_k p(k | x_t) E[f | x_t, k].                                                                 (2)

A category is expected by Bayes' rule, which is discriminant analysis (linear with one component). With z_c the features
of class c, s_c its share of the training rows, and v the category's features,

    p(c | x_t) = s_c p(f_v = z_c | x_t) / p(f_v = z_c), normalised,    E[f_v | x_t] = sum_c p(c | x_t) z_c,      (3)

where p(f_v = z_c | x_t) = sum_k p(k | x_t) N(z_c; m_k + F_k^-1 g_k, F_k^-1)_v, and p(f_v = z_c) is the same without
evidence.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from metavoxel.network.baseline.components import Components, log_density
from metavoxel.network.baseline.gaussian import GaussianBaseline, block_diagonal
from metavoxel.network.baseline.scores import ClassPoints, places
from metavoxel.network.baseline.selection import MOST_COMPONENTS, Rows, one_gaussian, select_components
from metavoxel.network.baseline.shrinkage import FOLDS
from metavoxel.parts.features.base import GaussianLikelihood

MOST_FEATURES = 64
"""Features above which there is no mixture: tables of the usual size do not determine their covariances."""
FEWEST_ROWS, MOST_ROWS = 40, 4000
"""Smallest and largest number of rows that a mixture is fitted to."""


class MixtureBaseline(nn.Module):
    """Distribution of the features of all variables, and their posterior mean given noisy codes, eq. (1) to (3). Final.

    A Gaussian has linear regressions and constant residual variances. A mixture also has nonlinear regressions, several
    modes and heteroscedasticity. The number of components is cross-validated by the predictive density of each variable
    given all others: the fewest within a standard error of the best (Breiman et al. 1984).

    Args:
        sizes: number of features of every variable.
        classes: number of classes of every category; 0 or absent for other variables.
        links: see :class:`GaussianBaseline`; with links there is one component.
        mixed: whether several components are allowed.
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
        """Number of components."""
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
        """Fit one Gaussian and, where allowed, mixtures; keep the one chosen by cross-validation.

        Args:
            features: of every variable.
            present: rows that have the variable.
            unseen: for each fold, features fitted to the rows outside it; by default ``features``.
            fold: of each row; by default cyclic.
            points: features of each class, z_c of eq. (3), of every category.
        """
        seen = torch.cat([present[name][:, None].expand(-1, size) for name, size in self._sizes.items()], 1)
        rows = self._joined(features, seen)
        fold = torch.arange(len(rows)) % FOLDS if fold is None else fold
        kept = self.gaussian.fit(rows, seen, [self._joined(part, seen) for part in unseen], fold)
        categories = {}
        for number, name in enumerate(self._sizes):
            if name in self._classes:
                categories[number] = ClassPoints.of(points[name].double(), features[name][present[name]].double())
        chosen = one_gaussian(self.gaussian.covariance(), rows, seen)
        single, straight = chosen, list(categories)
        if self._mixed and len(rows) >= FEWEST_ROWS:
            step = -(-len(rows) // MOST_ROWS)
            chosen, straight = select_components(
                self.gaussian,
                single,
                Rows(rows[::step], seen[::step], fold[::step]),
                list(self._places.values()),
                categories,
                kept,
            )
        self._take(single, chosen, categories, straight)

    def _joined(
        self, features: Mapping[str, Float[Tensor, "n _"]], seen: Bool[Tensor, "n d"]
    ) -> Float64[Tensor, "n d"]:
        """Concatenate the features of all variables, 0 where unknown."""
        return torch.where(seen, torch.cat([features[name] for name in self._sizes], 1).double(), 0.0)

    def _take(
        self,
        single: Components,
        chosen: Components,
        categories: Mapping[int, ClassPoints],
        straight: Sequence[int],
    ) -> None:
        """Copy the fit into buffers."""
        count = len(chosen.weights)
        self.weights.zero_()
        self.weights[:count] = chosen.weights
        self.means[:count] = chosen.means
        self.center.copy_(single.means[0])
        if count > 1:
            self.precisions[:count] = torch.linalg.inv(chosen.covariances)
        if categories:
            self.points.copy_(torch.cat([category.points.flatten() for category in categories.values()]))
            self.straight.copy_(torch.tensor([number in straight for number in categories]))
            parts = list(self._places.values())
            priors = [
                category.log_prior(single if number in straight else chosen, parts[number])
                for number, category in categories.items()
            ]
            self.log_prior.copy_(torch.cat(priors))

    def forward(self, likelihoods: Mapping[str, GaussianLikelihood]) -> dict[str, Float[Tensor, "b _"]]:
        """Return the posterior mean of every variable's features given the likelihoods of all, eq. (2) and (3)."""
        parts = [likelihoods[name] for name in self._sizes]
        weighted = torch.cat([part.weighted for part in parts], 1)
        if not weighted.shape[1]:
            return {name: part.weighted for name, part in zip(self._sizes, parts, strict=True)}
        with torch.autocast(weighted.device.type, enabled=False):
            certainty = block_diagonal([part.precision for part in parts])
            several = self.components > 1
            log_joint, means, covariances = self._posterior(certainty, weighted, several=several)
            responsibilities = torch.softmax(log_joint, 0)
            expected = (responsibilities[..., None] * means).sum(0).to(weighted.dtype)
            found = dict(zip(self._sizes, expected.split(list(self._sizes.values()), 1), strict=True))
            if not self._classes:
                return found
            found |= self._of_classes(log_joint, means, covariances, weighted.dtype)
            if several and self.straight.any():
                single = self._of_classes(*self._posterior(certainty, weighted, several=False), weighted.dtype)
                found |= {name: single[name] for name, by in zip(self._classes, self.straight, strict=True) if by}
            return found

    def _posterior(
        self, certainty: Float[Tensor, "b d d"], weighted: Float[Tensor, "b d"], *, several: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return, of every component (only the Gaussian unless ``several``), log pi_k p(x_t | k) (k, b), the mean of
        eq. (1) (k, b, d), and by category the covariance of its features (k, b, f, f)."""
        if several:
            certainty, weighted = certainty.double(), weighted.double()
        log_joint, means = [], []
        covariances: dict[str, list[Tensor]] = {name: [] for name in self._classes}
        columns = [self._places[name] for name in self._classes]
        unit = torch.eye(weighted.shape[1], dtype=weighted.dtype, device=weighted.device)
        picked = torch.cat([unit[:, place] for place in columns], 1) if columns else unit[:, :0]
        for number in range(self.components if several else 1):
            precision = self.precisions[number] if several else self.gaussian.precision
            center = (self.means[number] if several else self.center).to(weighted.dtype)
            total = precision + certainty
            deviation = weighted - certainty @ center
            right = torch.cat([deviation[:, :, None], picked.expand(len(deviation), -1, -1)], 2)
            factor = torch.linalg.cholesky(total)
            solved, start = torch.cholesky_solve(right, factor), 1
            for name, place in zip(self._classes, columns, strict=True):
                width = place.stop - place.start
                covariances[name].append(solved[:, place, start : start + width])
                start += width
            means.append(center + solved[:, :, 0])
            if several:
                evidence = (
                    (deviation * solved[:, :, 0]).sum(1) / 2 + weighted @ center - (certainty @ center) @ center / 2
                )
                log_det = torch.logdet(precision) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
                log_joint.append(self.weights[number].log() + evidence + log_det)
            else:
                log_joint.append(torch.zeros_like(deviation[:, 0]))
        by_name = {name: torch.stack(each) for name, each in covariances.items()}
        return torch.stack(log_joint), torch.stack(means), by_name

    def _of_classes(
        self, log_joint: Tensor, means: Tensor, covariances: Mapping[str, Tensor], dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Return the expected features of categories, eq. (3)."""
        found, first, prior = {}, 0, 0
        for name, count in self._classes.items():
            place = self._places[name]
            size = place.stop - place.start
            points = self.points[first : first + count * size].reshape(count, size).to(means.dtype)
            at = log_density(
                points.expand(*means.shape[:2], -1, -1), means[:, :, place], torch.linalg.inv(covariances[name])
            )
            log_class = torch.logsumexp(log_joint[..., None] + at, 0) + self.log_prior[prior : prior + count]
            found[name] = (torch.softmax(log_class, 1) @ points).to(dtype)
            first, prior = first + count * size, prior + count
        return found
