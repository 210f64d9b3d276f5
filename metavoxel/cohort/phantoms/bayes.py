"""Exact posteriors and Bayes errors of age, sex and diagnosis given the generating factors.

The image is a function of the factors and of independent nuisance variables, so the Bayes errors given the image are at
least as large (data-processing inequality). Posteriors are sums over a lattice of ages (midpoint rule) and over the
categories. Bayes errors are integrals over the sufficient statistic: the means of the whitened factors span two to four
dimensions, and the orthogonal complement carries no information. A lattice there integrates mixtures of unit normals
with an error far below 1e-6 (trapezoidal rule: Trefethen and Weideman 2014, "The exponentially convergent trapezoidal
rule").
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.linalg import solve_triangular
from scipy.spatial import cKDTree
from scipy.special import softmax

from metavoxel.cohort.phantoms.factors import AGE_SD, OLDEST, YOUNGEST, FactorModel


class Posterior(NamedTuple):
    """Posteriors of n subjects given their factors: age in years, and probabilities."""

    age_mean: Float64[np.ndarray, " n"]
    age_sd: Float64[np.ndarray, " n"]
    age_median: Float64[np.ndarray, " n"]
    male: Float64[np.ndarray, " n"]
    patient: Float64[np.ndarray, " n"]


class Bounds(NamedTuple):
    """Bayes errors in the population given the factors (and the variables named after ``given``).

    Age errors in years: root mean square error of the posterior mean, mean absolute error of the posterior median.
    ``given_others``: given the factors and the others of age, sex and diagnosis; without a disease, the same as given
    sex or age. Diagnosis entries are ``None`` without a disease.
    """

    age_sd: float
    age_rmse: float
    age_mae: float
    age_rmse_given_sex: float
    age_mae_given_sex: float
    sex_accuracy: float
    sex_accuracy_given_age: float
    diagnosis_accuracy: float | None
    diagnosis_auc: float | None
    diagnosis_majority: float | None
    age_rmse_given_others: float | None = None
    age_mae_given_others: float | None = None
    sex_accuracy_given_others: float | None = None
    diagnosis_accuracy_given_others: float | None = None
    diagnosis_auc_given_others: float | None = None


class _Risk(NamedTuple):
    """Unnormalised integrals over a part of the population, and (score, patients, controls) of the lattice nodes."""

    age_square: float
    age_absolute: float
    sex_right: float
    diagnosis_right: float
    scores: Float64[np.ndarray, "nodes 3"]


def _ages(cells: int) -> Float64[np.ndarray, " cells"]:
    """Midpoints of equal age cells, in years."""
    width = (OLDEST - YOUNGEST) / cells
    return YOUNGEST + width * (np.arange(cells) + 0.5)


def _median(mass: Float64[np.ndarray, "n cells"]) -> Float64[np.ndarray, " n"]:
    """Median age, from the masses of equal cells between the youngest and the oldest."""
    cumulative = np.cumsum(mass, axis=1)
    cell = np.argmax(cumulative >= 0.5, axis=1)
    rows = np.arange(len(mass))
    inside = (0.5 - (cumulative[rows, cell] - mass[rows, cell])) / mass[rows, cell]
    return YOUNGEST + (OLDEST - YOUNGEST) / mass.shape[1] * (cell + inside)


def posterior(
    model: FactorModel,
    factors: Float64[np.ndarray, "n factors"],
    *,
    age: Float64[np.ndarray, " n"] | None = None,
    male: Bool[np.ndarray, " n"] | None = None,
    patient: Bool[np.ndarray, " n"] | None = None,
    cells: int = 700,
) -> Posterior:
    """Compute p(age, sex, diagnosis | factors, given variables); exact up to the width of the age cells."""
    whitened = solve_triangular(model.cholesky, factors.T, lower=True).T
    ages = _ages(cells)[None, :] if age is None else age[:, None]
    means, prior = _states(model, ages)
    axes = "ijlk" if age is None else "nijlk"
    with np.errstate(divide="ignore"):
        log_joint = np.log(prior) - 0.5 * np.square(means).sum(-1)
    log_joint = log_joint + np.einsum(f"nk,{axes}->nijl", whitened, means[0] if age is None else means)
    if male is not None:
        log_joint = np.where((np.arange(2) == male[:, None])[:, None, :, None], log_joint, -np.inf)
    if patient is not None:
        log_joint = np.where((np.arange(2) == patient[:, None])[:, None, None, :], log_joint, -np.inf)
    mass = softmax(log_joint, axis=(1, 2, 3))
    by_age = mass.sum((2, 3))
    mean = (by_age * ages).sum(1)
    sd = np.sqrt((by_age * (ages - mean[:, None]) ** 2).sum(1))
    median = _median(by_age) if age is None else mean
    return Posterior(mean, sd, median, mass[:, :, 1].sum((1, 2)), mass[..., 1].sum((1, 2)))


def _states(
    model: FactorModel, ages: Float64[np.ndarray, "*n"]
) -> tuple[Float64[np.ndarray, "*n 2 2 factors"], Float64[np.ndarray, "*n 2 2"]]:
    """Whitened means and prior densities for every sex and diagnosis at these ages."""
    grid = np.broadcast_arrays(ages[..., None, None], np.array([[0.0], [1.0]]), np.array([0.0, 1.0]))
    means = model.mean(*grid)
    whitened = solve_triangular(model.cholesky, means.reshape(-1, means.shape[-1]).T, lower=True).T
    return whitened.reshape(means.shape), model.prior(*grid)


def _lattice(
    means: Float64[np.ndarray, "states factors"], step: float, reach: float = 6.0
) -> tuple[Float64[np.ndarray, "states dims"], Float64[np.ndarray, "nodes dims"], float]:
    """Project the means onto their span; return them, the lattice nodes within ``reach`` of any, and its step."""
    centred = means - means.mean(0)
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    dims = int((size > 1e-9 * max(size[0], 1.0)).sum())
    if dims == 0:
        return np.zeros((len(means), 1)), np.zeros((1, 1)), np.sqrt(2 * np.pi)
    if dims == 1:
        step /= 25
    # The maximum over two classes has a kink along a hyperplane; a lattice oblique to it integrates it accurately.
    oblique = np.linalg.qr(np.cos(np.arange(dims)[:, None] * np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0])[:dims]))[0]
    placed = centred @ directions[:dims].T @ oblique
    axes = [
        np.arange(low - reach, high + reach + step, step)
        for low, high in zip(placed.min(0), placed.max(0), strict=True)
    ]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, dims)
    distance, _ = cKDTree(placed).query(lattice, distance_upper_bound=reach)
    return placed, lattice[np.isfinite(distance)], step


def _risk(
    means: Float64[np.ndarray, "ages 2 2 factors"],
    prior: Float64[np.ndarray, "ages 2 2"],
    ages: Float64[np.ndarray, " ages"],
    step: float,
) -> _Risk:
    """Bayes errors over the states with positive prior."""
    positive = (prior > 0).ravel()
    placed, nodes, step = _lattice(means.reshape(-1, means.shape[-1])[positive], step)
    total, scores = np.zeros(4), []
    for chunk in np.array_split(nodes, max(1, len(nodes) * positive.sum() // 2_000_000)):
        square = ((chunk[:, None] - placed) ** 2).sum(-1)
        joint = np.zeros((len(chunk), positive.size))
        joint[:, positive] = np.exp(-0.5 * square) * prior.ravel()[positive]
        joint *= (step / np.sqrt(2 * np.pi)) ** placed.shape[1]
        joint = joint.reshape(len(chunk), *prior.shape)
        by_age, by_sex, by_diagnosis = joint.sum((2, 3)), joint.sum((1, 3)), joint.sum((1, 2))
        mass = by_age.sum(1)
        mean = by_age @ ages / mass
        distance = np.abs(ages - _median(by_age / mass[:, None])[:, None]) if len(ages) > 1 else np.zeros((1, 1))
        total += [
            (by_age * (ages - mean[:, None]) ** 2).sum(),
            (by_age * distance).sum(),
            by_sex.max(1).sum(),
            by_diagnosis.max(1).sum(),
        ]
        scores.append(np.column_stack([by_diagnosis[:, 1] / mass, by_diagnosis[:, 1], by_diagnosis[:, 0]]))
    age_square, age_absolute, sex_right, diagnosis_right = total.tolist()
    return _Risk(age_square, age_absolute, sex_right, diagnosis_right, np.concatenate(scores))


def _auc(scores: Float64[np.ndarray, "nodes 3"]) -> float:
    """Area under the ROC curve: P(score of a patient > score of a control), from the masses of both at each score."""
    _, patients, controls = scores[np.argsort(scores[:, 0])].T
    below = np.cumsum(controls) - controls / 2
    return float((patients * below).sum() / (patients.sum() * controls.sum()))


def bounds(model: FactorModel, *, cells: int = 70, step: float | None = None) -> Bounds:
    """Compute Bayes errors in the population by deterministic quadrature.

    Args:
        model: the distribution of the factors.
        cells: number of equal age cells of the midpoint rule; one per year by default.
        step: distance of the lattice nodes, in standard deviations of the whitened factors; by default 0.5, or 0.75
            with a disease, whose lattice has one more dimension (accuracies are then exact to 1e-3).
    """
    step = step or (0.75 if model.disease else 0.5)
    ages = _ages(cells)
    means, prior = _states(model, ages)
    prior /= prior.sum()

    sexes, diagnoses = np.eye(2)[:, None, :, None], np.eye(2)[:, None, None, :]

    def by_age(weight: Float64[np.ndarray, "_ _ _"] | float = 1.0) -> Iterator[_Risk]:
        weighted = prior * weight
        for cell in range(cells):
            yield _risk(means[[cell]], weighted[[cell]], ages[[cell]], step)

    disease = model.disease
    from_factors, sex_given = _risk(means, prior, ages, step), [_risk(means, prior * sex, ages, step) for sex in sexes]
    age_risks, sex_risks, diagnosis_risks = sex_given, list(by_age()), []
    if disease:
        age_risks = [_risk(means, prior * sex * diagnosis, ages, step) for sex in sexes for diagnosis in diagnoses]
        sex_risks = [risk for diagnosis in diagnoses for risk in by_age(diagnosis)]
        diagnosis_risks = [risk for sex in sexes for risk in by_age(sex)]
    return Bounds(
        age_sd=AGE_SD,
        age_rmse=from_factors.age_square**0.5,
        age_mae=from_factors.age_absolute,
        age_rmse_given_sex=sum(risk.age_square for risk in sex_given) ** 0.5,
        age_mae_given_sex=sum(risk.age_absolute for risk in sex_given),
        sex_accuracy=from_factors.sex_right,
        sex_accuracy_given_age=sum(risk.sex_right for risk in by_age()),
        diagnosis_accuracy=from_factors.diagnosis_right if disease else None,
        diagnosis_auc=_auc(from_factors.scores) if disease else None,
        diagnosis_majority=float(prior.sum((0, 1)).max()) if disease else None,
        age_rmse_given_others=sum(risk.age_square for risk in age_risks) ** 0.5,
        age_mae_given_others=sum(risk.age_absolute for risk in age_risks),
        sex_accuracy_given_others=sum(risk.sex_right for risk in sex_risks),
        diagnosis_accuracy_given_others=sum(risk.diagnosis_right for risk in diagnosis_risks) if disease else None,
        diagnosis_auc_given_others=(
            _auc(np.concatenate([risk.scores for risk in diagnosis_risks])) if disease else None
        ),
    )
