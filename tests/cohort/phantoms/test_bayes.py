"""Exact posteriors and Bayes errors against Monte Carlo estimates."""

import numpy as np
import pytest

from metavoxel.cohort.phantoms import FactorModel, bounds, posterior
from metavoxel.cohort.phantoms.factors import AGE_SD, OLDEST, YOUNGEST, prevalence

ROWS = 40_000


def population(model: FactorModel, rows: int = ROWS, seed: int = 0):
    """Draw ages, sexes, diagnoses and factors from their definition."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(YOUNGEST, OLDEST, rows)
    male = generator.random(rows) < 0.5
    patient = (generator.random(rows) < prevalence(age)) & model.disease
    noise = generator.multivariate_normal(np.zeros(len(model.names)), model.covariance, rows)
    return age, male, patient, model.mean(age, male.astype(float), patient.astype(float)) + noise


def z_score(values: np.ndarray, expected: float) -> float:
    """Deviation of the mean from its expectation, in standard errors."""
    return float((values.mean() - expected) / (values.std() / len(values) ** 0.5))


@pytest.mark.parametrize("disease", [False, True])
def test_posterior_agrees_with_importance_sampling(disease: bool) -> None:
    model = FactorModel(disease=disease)
    age, male, patient, _ = population(model, 400_000)
    means = model.mean(age, male.astype(float), patient.astype(float))
    *_, factors = population(model, 5, seed=1)
    answer = posterior(model, factors)
    for row in range(5):
        whitened = np.linalg.solve(model.cholesky, (factors[row] - means).T)
        weight = np.exp(-0.5 * (whitened**2).sum(0))
        weight /= weight.sum()
        effective = 1 / (weight**2).sum()
        assert effective > 500
        mean = weight @ age
        sd = np.sqrt(weight @ (age - mean) ** 2)
        assert abs(answer.age_mean[row] - mean) < 4 * sd / effective**0.5
        assert abs(answer.age_sd[row] / sd - 1) < 4 / effective**0.5
        below = weight @ (age < answer.age_median[row])
        assert abs(below - 0.5) < 4 * 0.5 / effective**0.5
        for probability, label in ((answer.male[row], male), (answer.patient[row], patient)):
            error = np.sqrt(probability * (1 - probability) / effective)
            assert abs(probability - weight @ label) <= 4 * error + 1e-12


@pytest.mark.parametrize("disease", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_bounds_agree_with_errors_on_a_drawn_population(disease: bool) -> None:
    model = FactorModel(disease=disease)
    found = bounds(model)
    age, male, patient, factors = population(model)
    parts = np.array_split(np.arange(ROWS), 40)

    def estimate(**given: np.ndarray) -> list[np.ndarray]:
        answers = [
            posterior(model, factors[part], cells=70, **{name: label[part] for name, label in given.items()})
            for part in parts
        ]
        return [np.concatenate(field) for field in zip(*answers, strict=True)]

    mean, _, median, p_male, p_patient = estimate()
    assert abs(z_score((mean - age) ** 2, found.age_rmse**2)) < 4
    assert abs(z_score(np.abs(median - age), found.age_mae)) < 4
    assert abs(z_score((p_male > 0.5) == male, found.sex_accuracy)) < 4
    mean, _, median, *_ = estimate(male=male)
    assert abs(z_score((mean - age) ** 2, found.age_rmse_given_sex**2)) < 4
    assert abs(z_score(np.abs(median - age), found.age_mae_given_sex)) < 4
    p_male = estimate(age=age)[3]
    assert abs(z_score((p_male > 0.5) == male, found.sex_accuracy_given_age)) < 4
    if disease:
        assert abs(z_score((p_patient > 0.5) == patient, found.diagnosis_accuracy)) < 4
        assert abs(z_score(~patient, found.diagnosis_majority)) < 4
        controls = np.sort(p_patient[~patient])
        below = np.searchsorted(controls, p_patient[patient]) / len(controls)
        assert abs(z_score(below, found.diagnosis_auc)) < 4
        mean, _, median, *_ = estimate(male=male, patient=patient)
        assert abs(z_score((mean - age) ** 2, found.age_rmse_given_others**2)) < 4
        assert abs(z_score(np.abs(median - age), found.age_mae_given_others)) < 4
        p_male = estimate(age=age, patient=patient)[3]
        assert abs(z_score((p_male > 0.5) == male, found.sex_accuracy_given_others)) < 4
        p_patient = estimate(age=age, male=male)[4]
        assert abs(z_score((p_patient > 0.5) == patient, found.diagnosis_accuracy_given_others)) < 4
        controls = np.sort(p_patient[~patient])
        below = np.searchsorted(controls, p_patient[patient]) / len(controls)
        assert abs(z_score(below, found.diagnosis_auc_given_others)) < 4


@pytest.mark.parametrize("disease", [False, True])
def test_the_signal_is_strong_and_further_variables_never_increase_errors(disease: bool) -> None:
    found = bounds(FactorModel(disease=disease))
    assert found.age_sd == AGE_SD
    assert 0.25 < found.age_rmse / found.age_sd <= 0.35
    assert 0.85 <= found.sex_accuracy < 0.95
    assert found.age_rmse_given_sex <= found.age_rmse
    assert found.age_mae_given_sex <= found.age_mae < found.age_rmse
    assert found.sex_accuracy_given_age >= found.sex_accuracy
    assert (found.diagnosis_auc is not None) == disease
    grain = 1e-3 if disease else 0.0  # of accuracies, by the coarser lattice
    assert found.age_mae_given_others <= found.age_mae_given_sex
    assert found.sex_accuracy_given_others >= found.sex_accuracy_given_age - grain
    if disease:
        assert found.diagnosis_auc_given_others > found.diagnosis_auc
        assert found.diagnosis_accuracy_given_others >= found.diagnosis_accuracy - grain > found.diagnosis_majority
    else:
        assert found.age_mae_given_others == found.age_mae_given_sex


@pytest.mark.slow
def test_bounds_do_not_depend_on_the_lattice() -> None:
    model = FactorModel()
    usual, finer = bounds(model), bounds(model, cells=210, step=0.45)
    assert abs(usual.age_rmse - finer.age_rmse) < 1e-3
    assert abs(usual.age_mae - finer.age_mae) < 1e-3
    assert abs(usual.sex_accuracy - finer.sex_accuracy) < 1e-3


def test_given_variables_have_point_posteriors() -> None:
    model = FactorModel(disease=True)
    age, male, patient, factors = population(model, 50)
    answer = posterior(model, factors, age=age, male=male, patient=patient)
    np.testing.assert_allclose(answer.age_mean, age)
    np.testing.assert_allclose(answer.age_sd, 0, atol=1e-9)
    np.testing.assert_array_equal(answer.male, male)
    np.testing.assert_array_equal(answer.patient, patient)


def test_sex_given_age_is_linear_discriminant_analysis() -> None:
    model = FactorModel()
    age, _, _, factors = population(model, 50)
    zeros = np.zeros(50)
    women, men = model.mean(age, zeros, zeros), model.mean(age, zeros + 1, zeros)
    direction = np.linalg.solve(model.covariance, (men - women).T).T
    log_odds = ((factors - (men + women) / 2) * direction).sum(1)
    np.testing.assert_allclose(posterior(model, factors, age=age).male, 1 / (1 + np.exp(-log_odds)), rtol=1e-9)
