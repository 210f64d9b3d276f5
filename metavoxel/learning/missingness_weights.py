"""Inverse-probability weights of training rows with cells missing at random, and the missingness report of a run.

Under MAR, as meant here, presence depends on always-observed variables W alone. A question (predict v from the clean
evidence E and the noisy variables M) is sampled only from rows where v, E and M are present, and more often from rows
with few present variables, which allow few questions. The training rows of a question are thus selected by W, which
biases every conditional that does not include W. Each loss term is therefore weighted by

    pi(question) / pi(question | W)
    pi(question | W) = P(v, E, M present | W) E[P(E, M sampled | present variables) | W, v, E, M present],

the inverse of its sampling probability (Robins, Rotnitzky and Zhao 1994, "Estimation of regression coefficients when
some regressors are not always observed"; Seaman and White 2013, "Review of inverse probability weighting for dealing
with missing data"). The numerator stabilises the weights: it is the same probability under the marginal presence rates,
so it is constant for each question and leaves its conditional unchanged. Presences are assumed independent given W. If
all of W is clean evidence, the selection is ignorable and the weight is 1.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import Problem, SchemaError, did_you_mean
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.time_sampling import (
    MARGINAL_SHARE,
    NO_EVIDENCE_SHARE,
    PURE_NOISE_SHARE,
    SINGLE_TARGET_SHARE,
    evidence_times,
)
from metavoxel.rng import Rng
from metavoxel.schema import Schema
from metavoxel.typing import AnyTime

CLIP_QUANTILE = 0.995
"""Quantile at which the weights of a variable are clipped, to limit the variance of the loss."""
MIN_PROBABILITY = 0.01
NOT_AT_RANDOM_AUC = 0.6
MIN_CELLS = 10
"""Minimum number of present and of missing cells to fit a presence model; with fewer the marginal rate is used."""
_FOLDS, _KNOTS = 5, 5
_QUESTIONS = 8192
"""Number of sampled questions from which the bounds are estimated, spread evenly over the training rows."""


def check_missing_weights(schema: Schema, cohort: Cohort) -> None:
    """Check that ``training.missing_weights`` names valid predictors of presence.

    Raises:
        SchemaError: a name is unknown, repeated, an image or sequence, or missing in training rows; or
            ``diffusion.times`` drops incomplete rows. Lists all problems.
    """
    names, where = schema.training.missing_weights, "training.missing_weights"
    problems = []
    if names and schema.diffusion.shared_time:
        problems.append(
            Problem(where, "diffusion.times 'shared' drops incomplete rows; use 'evidence', or leave it out")
        )
    rows = cohort.parts["train"]
    known = _scalars(schema)
    complete = [name for name in known if cohort.columns[name].present[rows].all()]
    usable = f"Always present in the training rows: {', '.join(complete) or 'none'}"
    for place, name in enumerate(names):
        if name in names[:place]:
            problems.append(Problem(where, f"{name!r} is repeated"))
        elif name not in cohort.variables:
            problems.append(Problem(where, f"no variable {name!r}.{did_you_mean(name, known)} {usable}"))
        elif name not in known:
            problems.append(Problem(where, f"{name!r} is an image or a sequence; use numbers or categories. {usable}"))
        elif name not in complete:
            missing = int((~cohort.columns[name].present[rows]).sum())
            problems.append(Problem(where, f"{name!r} is itself missing in {missing} of {len(rows)} rows. {usable}"))
    if problems:
        raise SchemaError(problems)


def _scalars(schema: Schema) -> list[str]:
    return [name for name, (spec, parts) in schema.variables.items() if not (spec.spatial or parts.codec.indexed)]


def question_distribution(variables: int) -> Float64[Tensor, "n n n"]:
    """Return P(given ``a`` variables are clean and given ``b`` are noisy, 0 < t < 1 | ``n`` variables are present).

    The distribution of :func:`metavoxel.learning.time_sampling.evidence_times` over (n, a, b) from 0 to ``variables``,
    for one set of each size. Factors that, given b, do not depend on n cancel in a weight and are omitted.
    """
    table = torch.zeros(variables + 1, variables + 1, variables + 1, dtype=torch.float64)
    for n in range(1, variables + 1):
        for a in range(n):
            uniform = (1 - SINGLE_TARGET_SHARE - NO_EVIDENCE_SHARE) / n
            size = uniform + (SINGLE_TARGET_SHARE if a == n - 1 else 0) + (NO_EVIDENCE_SHARE if a == 0 else 0)
            size /= math.comb(n, a)
            table[n, a, 0] = size  # all unknown at t = 1: the posterior mean
            for b in range(1, n - a + 1):
                share = MARGINAL_SHARE / (n - a) + ((1 - MARGINAL_SHARE) if b == n - a else 0)
                table[n, a, b] = size * share / math.comb(n - a, b)
    return table


def question_probability(
    presence: Float64[Tensor, "b v"],
    clean: Bool[Tensor, "b v"],
    noisy: Bool[Tensor, "b v"],
    distribution: Float64[Tensor, "n n n"],
) -> Float64[Tensor, "b v"]:
    """Return the probability that a row yields the question of each target with these clean and noisy variables.

    ``presence`` holds independent presence probabilities; ``distribution`` is that of :func:`question_distribution`.
    """
    rows, variables = presence.shape
    inputs = clean | noisy
    needed = inputs[:, None] | torch.eye(variables, dtype=torch.bool)  # (b, target, variable)
    all_present = torch.where(needed, presence[:, None], 1.0).prod(2)
    # The number of present variables is Poisson-binomial, computed by convolution over variables.
    count = torch.zeros(rows, variables, variables + 1, dtype=torch.float64)
    count[:, :, 0] = 1.0
    for index in range(variables):
        present = torch.where(needed[:, :, index], 1.0, presence[:, None, index])[..., None]
        shifted = torch.cat([torch.zeros_like(count[..., :1]), count[..., :-1]], 2)
        count = count * (1 - present) + shifted * present
    drawn = distribution[:, clean.sum(1), noisy.sum(1)].T  # (b, n)
    return all_present * (count * drawn[:, None]).sum(2)


@final
class MissingWeights:
    """Inverse-probability weights of rows with cells missing at random given always-observed variables.

    Attributes:
        names: variables, in the order of all tensors here.
        bound: upper bound of each variable's weights, their ``CLIP_QUANTILE`` over sampled questions.
        effective: effective share of each variable's loss terms, (sum w)^2 / (n sum w^2).
        largest: largest weight of each variable before clipping.
    """

    def __init__(
        self,
        names: Sequence[str],
        given: Sequence[str],
        presence: Float64[Tensor, "n v"],
        present: Bool[Tensor, "n v"],
        rows: Int64[Tensor, "m"],
        seed: int,
    ) -> None:
        """Estimate the bounds on the training rows of a cohort.

        Args:
            names: all variables.
            given: always-observed variables that ``presence`` is conditioned on.
            presence: probability that each variable is present in each row of the cohort.
            present: variables present in each row.
            rows: training rows.
            seed: random seed of the questions from which the bounds are estimated.
        """
        self.names, self._presence = tuple(names), presence.clamp_min(MIN_PROBABILITY)
        self._given = [self.names.index(name) for name in given]
        self._marginal = self._presence[rows].mean(0, keepdim=True)
        self._distribution = question_distribution(len(names))
        self.bound = torch.full((len(names),), torch.inf, dtype=torch.float64)
        sampled = rows[torch.arange(_QUESTIONS) * len(rows) // _QUESTIONS]
        times = evidence_times(
            present[sampled], Rng.for_rows(len(sampled), seed, "missing weights"), pure_noise=PURE_NOISE_SHARE
        )
        weights = self._of(sampled, times.observed, (times.t > 0) & (times.t < 1))
        counts = present[sampled] & ~times.observed
        drawn = [weights[counts[:, index], index] for index in range(len(names))]
        self.effective = [float(w.sum().square() / (len(w) * w.square().sum())) if len(w) else 1.0 for w in drawn]
        self.largest = [float(w.max()) if len(w) else 1.0 for w in drawn]
        self.bound = torch.stack([w.quantile(CLIP_QUANTILE) if len(w) else torch.ones(()).double() for w in drawn])

    def _of(
        self, rows: Int64[Tensor, "b"], clean: Bool[Tensor, "b v"], noisy: Bool[Tensor, "b v"]
    ) -> Float64[Tensor, "b v"]:
        marginal = self._marginal.expand(len(rows), -1)
        expected = question_probability(marginal, clean, noisy, self._distribution)
        weight = expected / question_probability(self._presence[rows], clean, noisy, self._distribution)
        ignorable = clean[:, self._given].all(1, keepdim=True)
        # A row whose variables are all clean has no target: its ratio is 0/0.
        return torch.where(~ignorable & (expected > 0), weight, 1.0).minimum(self.bound)

    def of(self, rows: Int64[Tensor, "b"], times: Mapping[str, AnyTime]) -> dict[str, Float64[Tensor, "b"]]:
        """Return the loss weights of each variable for these rows of the cohort at these times.

        A variable is clean if all its cells are at t = 0, else noisy if any has t < 1 (as in a partly observed image).
        """
        flat = [times[name].flatten(1) if times[name].ndim > 1 else times[name][:, None] for name in self.names]
        clean = torch.stack([(t == 0).all(1) for t in flat], 1)
        noisy = torch.stack([(t < 1).any(1) for t in flat], 1) & ~clean
        weights = self._of(rows, clean, noisy)
        return {name: weights[:, index] for index, name in enumerate(self.names)}


def missing_weights(schema: Schema, cohort: Cohort, caches: Mapping[str, LatentCache]) -> MissingWeights | None:
    """Fit the weights configured by ``training.missing_weights``; None if it is empty.

    Raises:
        SchemaError: see :func:`check_missing_weights`.
    """
    given = schema.training.missing_weights
    if not given:
        return None
    check_missing_weights(schema, cohort)
    rows, names = cohort.parts["train"], list(caches)
    present = torch.stack([caches[name].present for name in names], 1)
    presence = torch.ones(present.shape, dtype=torch.float64)
    inputs = _inputs(schema, caches, given, rows)
    for index in range(len(names)):
        observed = present[rows, index].numpy()
        if not observed.all():
            presence[rows, index] = torch.from_numpy(_presence(inputs, observed))
    return MissingWeights(names, given, presence, present, rows, schema.training.seed)


def missing_report(
    schema: Schema, cohort: Cohort, caches: Mapping[str, LatentCache], weights: MissingWeights | None
) -> dict[str, dict[str, float]]:
    """Report the missingness of each variable in the training rows; without weights, complete variables are omitted.

    ``missing`` is the share of rows. ``auc`` is the cross-validated area under the curve of predicting presence from
    the always-present scalars; ``auc_sd`` is its standard error under the null of .5. With weights, also
    ``effective_share``, ``largest_weight`` and ``clipped_at``.
    """
    rows = cohort.parts["train"]
    complete = [name for name in _scalars(schema) if caches[name].present[rows].all()]
    report: dict[str, dict[str, float]] = {}
    for index, (name, cache) in enumerate(caches.items()):
        present = cache.present[rows].numpy()
        found = {"missing": float(1 - present.mean())}
        smaller_class = min(present.sum(), (~present).sum())
        if complete and smaller_class >= MIN_CELLS:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
            inputs = _inputs(schema, caches, complete, rows)
            chances = cross_val_predict(_model(), inputs, present, cv=folds, method="predict_proba")[:, 1]
            found["auc"] = float(roc_auc_score(present, chances))
            found["auc_sd"] = math.sqrt((len(present) + 1) / (12 * present.sum() * (~present).sum()))
        if weights is not None:
            found["effective_share"], found["largest_weight"] = weights.effective[index], weights.largest[index]
            found["clipped_at"] = float(weights.bound[index])
        if weights is not None or found["missing"]:
            report[name] = found
    return report


def missing_lines(report: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Format the missingness report, one line per variable."""
    for name, found in report.items():
        line = f"{name}: missing in {found['missing']:.0%} of the training rows"
        if "auc" in found:
            line += f"; predicted by the always-present variables with an AUC of {found['auc']:.2f}"
        if "effective_share" in found:
            line += (
                f"; effective share with weights {found['effective_share']:.0%}, largest weight "
                f"{found['largest_weight']:.3g}, clipped at {found['clipped_at']:.3g}"
            )
        elif found.get("auc", 0.0) > max(NOT_AT_RANDOM_AUC, 0.5 + 2 * found.get("auc_sd", 0.0)):
            line += ". Not missing completely at random: consider training.missing_weights"
        yield line


def _model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _presence(inputs: Float64[np.ndarray, "m f"], present: Bool[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
    """Estimate presence probabilities by logistic regression, or by the marginal rate if a class is too small."""
    if min(present.sum(), (~present).sum()) < MIN_CELLS:
        return np.full(len(present), present.mean())
    chances: np.ndarray = _model().fit(inputs, present).predict_proba(inputs)[:, 1]
    return chances


def _inputs(
    schema: Schema, caches: Mapping[str, LatentCache], names: Sequence[str], rows: Int64[Tensor, "m"]
) -> Float64[np.ndarray, "m f"]:
    """Build regression inputs: cubic splines of numbers with knots at quantiles, and one-hot labels."""
    columns = []
    for name in names:
        code = caches[name].mean[rows, 0].flatten(1).double().numpy()
        if schema.variables[name].parts.kernel.is_categorical:
            columns.append(code)
            continue
        for channel in code.T:
            knots = np.unique(np.quantile(channel, np.linspace(0, 1, _KNOTS)))
            if len(knots) < 3:
                columns.append(channel[:, None])
            else:
                spline = SplineTransformer(knots=knots[:, None], include_bias=False)
                columns.append(spline.fit_transform(channel[:, None]))
    return np.concatenate(columns, 1)
