"""Rows with missing cells: how their cells go missing, and weights that undo what depends on known columns.

Under MAR the presence of variables depends on always-observed variables W alone. A question (predict v from
the evidence E, beside the noisy variables M) can only be asked of a row where v, E and M are all present, and a row
with few present variables is asked the few questions that it allows more often. So the rows that teach a question are
a selection by W, and an answer that does not condition on W is that of the selection. Each loss term is therefore
weighted by

    pi(question) / pi(question | W)
    pi(question | W) = P(v, E, M are present | W) E[P(E, M are drawn | which are present) | W, v, E, M are present],

the inverse probability of being asked (Robins, Rotnitzky and Zhao 1994, "Estimation of regression coefficients when
some regressors are not always observed"; Seaman and White 2013, "Review of inverse probability weighting for dealing
with missing data"), stabilised by the same with marginal shares of presence, which depends on the question alone and so
leaves its answer as it is. Presences are taken as independent given W. Where W itself is clean evidence the selection
does not matter, and the weight is 1.
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
    READ_OUT_SHARE,
    SINGLE_TARGET_SHARE,
    evidence_times,
)
from metavoxel.rng import Rng
from metavoxel.schema import Schema
from metavoxel.typing import AnyTime

CLIP_QUANTILE = 0.995
"""Weights of a variable above this quantile are lowered to it: a few huge ones would be noise, not information."""
LOWEST_PROBABILITY = 0.01
NOT_AT_RANDOM_AUC = 0.6
FEWEST_CELLS = 10
"""Present, and missing, cells that a model of missingness is fitted from; with fewer the marginal share is used."""
_FOLDS, _KNOTS = 5, 5
_QUESTIONS = 8192
"""Questions that the bounds are measured on, spread evenly over the training rows."""


def check_missing_weights(schema: Schema, cohort: Cohort) -> None:
    """Refuse variables that cannot explain what is missing.

    Raises:
        SchemaError: ``training.missing_weights`` names what is no variable, is an image, is missing in training rows,
            or stands twice; or ``diffusion.times`` drops incomplete rows. All at once.
    """
    names, where = schema.training.missing_weights, "training.missing_weights"
    problems = []
    if names and schema.diffusion.times == "shared":
        problems.append(
            Problem(where, "diffusion.times 'shared' drops incomplete rows; use 'evidence', or leave it out")
        )
    rows = cohort.parts["train"]
    known = [name for name, spec in cohort.variables.items() if not spec.spatial]
    complete = [name for name in known if cohort.columns[name].present[rows].all()]
    usable = f"Always present in the training rows: {', '.join(complete) or 'none'}"
    for place, name in enumerate(names):
        if name in names[:place]:
            problems.append(Problem(where, f"{name!r} stands there twice"))
        elif name not in cohort.variables:
            problems.append(Problem(where, f"no variable {name!r}.{did_you_mean(name, known)} {usable}"))
        elif name not in known:
            problems.append(Problem(where, f"{name!r} is an image; name numbers or categories. {usable}"))
        elif name not in complete:
            missing = int((~cohort.columns[name].present[rows]).sum())
            problems.append(Problem(where, f"{name!r} is missing itself in {missing} of {len(rows)} rows. {usable}"))
    if problems:
        raise SchemaError(problems)


def question_law(variables: int) -> Float64[Tensor, "n n n"]:
    """P(these ``a`` variables are clean and these ``b`` are noisy, at times between | ``n`` variables are present).

    The law of :func:`metavoxel.learning.time_sampling.evidence_times`, of one set of each size; the sizes run from 0 to
    ``variables``. Given b, what does not depend on n is left out, for it has no say in a weight.
    """
    law = torch.zeros(variables + 1, variables + 1, variables + 1, dtype=torch.float64)
    for n in range(1, variables + 1):
        for a in range(n):
            even = (1 - SINGLE_TARGET_SHARE - NO_EVIDENCE_SHARE) / n
            size = even + (SINGLE_TARGET_SHARE if a == n - 1 else 0) + (NO_EVIDENCE_SHARE if a == 0 else 0)
            size /= math.comb(n, a)
            law[n, a, 0] = size  # nothing between: all unknown are at t = 1, as the read-out has it
            for b in range(1, n - a + 1):
                share = MARGINAL_SHARE / (n - a) + ((1 - MARGINAL_SHARE) if b == n - a else 0)
                law[n, a, b] = size * share / math.comb(n - a, b)
    return law


def question_probability(
    presence: Float64[Tensor, "b v"],
    clean: Bool[Tensor, "b v"],
    noisy: Bool[Tensor, "b v"],
    law: Float64[Tensor, "n n n"],
) -> Float64[Tensor, "b v"]:
    """Probability that a row is asked for each variable from these clean ones, beside these noisy ones.

    ``presence`` is the probability that each variable is present, independently; ``law`` is :func:`question_law`'s.
    """
    rows, variables = presence.shape
    informs = clean | noisy
    needed = informs[:, None] | torch.eye(variables, dtype=torch.bool)  # (b, target, variable)
    every = torch.where(needed, presence[:, None], 1.0).prod(2)
    # How many are present beside those: a Poisson-binomial distribution, one variable after another.
    count = torch.zeros(rows, variables, variables + 1, dtype=torch.float64)
    count[:, :, 0] = 1.0
    for index in range(variables):
        present = torch.where(needed[:, :, index], 1.0, presence[:, None, index])[..., None]
        shifted = torch.cat([torch.zeros_like(count[..., :1]), count[..., :-1]], 2)
        count = count * (1 - present) + shifted * present
    drawn = law[:, clean.sum(1), noisy.sum(1)].T  # (b, n)
    return every * (count * drawn[:, None]).sum(2)


@final
class MissingWeights:
    """Weights of rows whose cells are missing at random given some always-observed variables.

    Attributes:
        names: variables, in the order of all tensors here.
        bound: largest weight of each variable: the ``CLIP_QUANTILE`` of those drawn with the training rows.
        effective: share of the loss terms of each variable that the weights leave, (sum w)^2 / (n sum w^2).
        largest: of each variable, before it was lowered to the bound.
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
        """Weights for a cohort.

        Args:
            names: all variables.
            given: the always-observed variables that ``presence`` depends on.
            presence: of each row of the cohort, the probability that each variable is present; that of training rows
                alone is used.
            present: which are.
            rows: training rows.
            seed: of the questions that the bounds are measured on.
        """
        self.names, self._presence = tuple(names), presence.clamp_min(LOWEST_PROBABILITY)
        self._given = [self.names.index(name) for name in given]
        self._marginal, self._law = self._presence[rows].mean(0, keepdim=True), question_law(len(names))
        self.bound = torch.full((len(names),), torch.inf, dtype=torch.float64)
        asked = rows[torch.arange(_QUESTIONS) * len(rows) // _QUESTIONS]
        times = evidence_times(
            present[asked], Rng.for_rows(len(asked), seed, "missing weights"), read_out=READ_OUT_SHARE
        )
        weights = self._of(asked, times.observed, (times.t > 0) & (times.t < 1))
        counts = present[asked] & ~times.observed
        drawn = [weights[counts[:, index], index] for index in range(len(names))]
        self.effective = [float(w.sum().square() / (len(w) * w.square().sum())) if len(w) else 1.0 for w in drawn]
        self.largest = [float(w.max()) if len(w) else 1.0 for w in drawn]
        self.bound = torch.stack([w.quantile(CLIP_QUANTILE) if len(w) else torch.ones(()).double() for w in drawn])

    def _of(
        self, rows: Int64[Tensor, "b"], clean: Bool[Tensor, "b v"], noisy: Bool[Tensor, "b v"]
    ) -> Float64[Tensor, "b v"]:
        marginal = self._marginal.expand(len(rows), -1)
        expected = question_probability(marginal, clean, noisy, self._law)
        weight = expected / question_probability(self._presence[rows], clean, noisy, self._law)
        explained = clean[:, self._given].all(1, keepdim=True)
        # Every variable is clean in no question: such a row asks nothing, and 0/0 has to stay out of the loss.
        usable = ~explained & (expected > 0)
        return torch.where(usable, weight, 1.0).minimum(self.bound)

    def of(self, rows: Int64[Tensor, "b"], times: Mapping[str, AnyTime]) -> dict[str, Float64[Tensor, "b"]]:
        """Weights of each variable's loss in these rows of the cohort, at these times.

        A variable is clean where all of it is at time 0, and else noisy where some of it is before 1 (a partly given
        image).
        """
        flat = [times[name].flatten(1) if times[name].ndim > 1 else times[name][:, None] for name in self.names]
        clean = torch.stack([(t == 0).all(1) for t in flat], 1)
        noisy = torch.stack([(t < 1).any(1) for t in flat], 1) & ~clean
        weights = self._of(rows, clean, noisy)
        return {name: weights[:, index] for index, name in enumerate(self.names)}


def missing_weights(schema: Schema, cohort: Cohort, banks: Mapping[str, LatentCache]) -> MissingWeights | None:
    """Weights as ``training.missing_weights`` asks for; None where it does not.

    Raises:
        SchemaError: see :func:`check_missing_weights`.
    """
    given = schema.training.missing_weights
    if not given:
        return None
    check_missing_weights(schema, cohort)
    rows, names = cohort.parts["train"], list(banks)
    present = torch.stack([banks[name].present for name in names], 1)
    presence = torch.ones(present.shape, dtype=torch.float64)
    inputs = _inputs(schema, banks, given, rows)
    for index in range(len(names)):
        here = present[rows, index].numpy()
        if not here.all():
            presence[rows, index] = torch.from_numpy(_presence(inputs, here))
    return MissingWeights(names, given, presence, present, rows, schema.training.seed)


def missing_report(
    schema: Schema, cohort: Cohort, banks: Mapping[str, LatentCache], weights: MissingWeights | None
) -> dict[str, dict[str, float]]:
    """How the training rows miss cells, by variable; nothing of those that miss none and are not weighted.

    ``missing`` is the share of rows; ``auc``, how well the scalars that are always present tell which, on rows that the
    regression was not fitted on (.5 is not at all; ``auc_sd`` is its standard error if so). With weights also
    ``effective_share``, ``largest_weight`` and ``clipped_at``.
    """
    rows = cohort.parts["train"]
    scalar = [name for name, spec in cohort.variables.items() if not spec.spatial]
    complete = [name for name in scalar if banks[name].present[rows].all()]
    report: dict[str, dict[str, float]] = {}
    for index, (name, bank) in enumerate(banks.items()):
        here = bank.present[rows].numpy()
        found = {"missing": float(1 - here.mean())}
        few = min(here.sum(), (~here).sum())
        if complete and few >= FEWEST_CELLS:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
            inputs = _inputs(schema, banks, complete, rows)
            told = cross_val_predict(_model(), inputs, here, cv=folds, method="predict_proba")[:, 1]
            found["auc"] = float(roc_auc_score(here, told))
            found["auc_sd"] = math.sqrt((len(here) + 1) / (12 * here.sum() * (~here).sum()))
        if weights is not None:
            found["effective_share"], found["largest_weight"] = weights.effective[index], weights.largest[index]
            found["clipped_at"] = float(weights.bound[index])
        if weights is not None or found["missing"]:
            report[name] = found
    return report


def missing_lines(report: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The report in words, a line for each variable."""
    for name, found in report.items():
        line = f"{name}: missing in {found['missing']:.0%} of the training rows"
        if "auc" in found:
            line += f"; what is always present tells which with an AUC of {found['auc']:.2f}"
        if "effective_share" in found:
            line += (
                f"; weights leave an effective share of {found['effective_share']:.0%}, the largest is "
                f"{found['largest_weight']:.3g}, lowered to {found['clipped_at']:.3g}"
            )
        elif found.get("auc", 0.0) > max(NOT_AT_RANDOM_AUC, 0.5 + 2 * found.get("auc_sd", 0.0)):
            line += ". Not missing completely at random: consider training.missing_weights"
        yield line


def _model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _presence(inputs: Float64[np.ndarray, "m f"], here: Bool[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
    """Probability of being present, by logistic regression; the same for all where there are too few to fit."""
    if min(here.sum(), (~here).sum()) < FEWEST_CELLS:
        return np.full(len(here), here.mean())
    told: np.ndarray = _model().fit(inputs, here).predict_proba(inputs)[:, 1]
    return told


def _inputs(
    schema: Schema, banks: Mapping[str, LatentCache], names: Sequence[str], rows: Int64[Tensor, "m"]
) -> Float64[np.ndarray, "m f"]:
    """Codes of these variables in these rows: numbers as cubic splines between quantiles, categories one-hot."""
    columns = []
    for name in names:
        code = banks[name].mean[rows, 0].flatten(1).double().numpy()
        if schema.variables[name].parts.codec.support == "one_hot":
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
