"""The baseline as a mixture: its number of components, and posterior means against exact ones."""

import pytest
import torch

from metavoxel.network.baseline.mixture import MixtureBaseline
from metavoxel.parts.features.base import GaussianLikelihood
from metavoxel.rng import Rng

CERTAIN = 1000.0


def fitted(features, classes=None, points=None, present=None):
    rows = len(next(iter(features.values())))
    baseline = MixtureBaseline({name: x.shape[1] for name, x in features.items()}, classes or {}, mixed=True)
    present = present or {name: torch.ones(rows, dtype=torch.bool) for name in features}
    baseline.fit(features, present, points=points or {})
    return baseline


def measured(x):
    return GaussianLikelihood(torch.diag_embed(torch.full_like(x, CERTAIN)), CERTAIN * x)


def unknown(rows, size=1):
    return GaussianLikelihood(torch.zeros(rows, size, size), torch.zeros(rows, size))


def normals(rows, count, purpose="numbers"):
    return Rng.for_rows(rows, "mixture", purpose).normal((rows, count))


def test_normal_numbers_have_one_component():
    for rows in (50, 400):
        x = normals(rows, 3)
        x[:, 2] = 0.8 * x[:, 0] + 0.6 * x[:, 2]
        assert fitted({"a": x[:, :1], "b": x[:, 1:2], "c": x[:, 2:]}).components == 1


def test_a_bimodal_conditional_distribution():
    """y = +x or -x with x from 1 to 3 and small noise: the posterior mean of y given x and a noisy y."""
    rng = Rng.for_rows(2000, "humps")
    x = 1 + 2 * rng.fork("x").uniform((2000, 1))
    sign = torch.where(rng.fork("sign").uniform((2000, 1)) < 0.5, 1.0, -1.0)
    y = sign * x + 0.2 * rng.fork("noise").normal((2000, 1))
    center = x.mean()
    baseline = fitted({"x": x - center, "y": y})
    assert baseline.components > 1
    at = torch.tensor([[1.2], [2.0], [2.8]])
    expected = baseline({"x": measured(at - center), "y": unknown(3)})["y"]
    torch.testing.assert_close(
        expected, torch.zeros(3, 1), rtol=0, atol=0.6
    )  # y is near +x or -x, so that an error of .1 in a weight of .5 is one of about .4
    # With y measured as x / 3 with noise of variance 1, the odds of the upper mode are exp(2 y x / 1.04)
    noisy = at / 3
    of_y = GaussianLikelihood(torch.ones(3, 1, 1), noisy)
    upper = torch.sigmoid(2 * noisy * at / 1.04)
    exact = (2 * upper - 1) * (at + 0.0) + 0.04 / 1.04 * (noisy - (2 * upper - 1) * at)
    torch.testing.assert_close(baseline({"x": measured(at - center), "y": of_y})["y"], exact, rtol=0, atol=0.15)


def test_a_category_is_expected_by_bayes_rule():
    """Two classes of frequencies .9 and .1, whose means differ by 1 in a number of variance 1: a logistic function."""
    rows = 4000
    rng = Rng.for_rows(rows, "classes")
    second = (rng.fork("class").uniform((rows, 1)) < 0.1).float()
    number = second + rng.fork("number").normal((rows, 1))
    share = second.mean()
    spread = (share * (1 - share)).sqrt()
    points = (torch.tensor([[1.0], [0.0]]) - (1 - share)) / spread
    indicator = ((1 - second) - (1 - share)) / spread
    scale = number.std()
    features = {"class": indicator, "number": (number - number.mean()) / scale}
    baseline = MixtureBaseline({"class": 1, "number": 1}, {"class": 2}, mixed=False)
    present = torch.ones(rows, dtype=torch.bool)
    baseline.fit(features, {"class": present, "number": present}, points={"class": points})
    at = torch.linspace(-2, 4, 7)[:, None]
    likelihoods = {"class": unknown(7), "number": measured((at - number.mean()) / scale)}
    found = share - spread * baseline(likelihoods)["class"]
    exact = torch.sigmoid(torch.log(torch.tensor(1 / 9)) + at - 0.5)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.02)
    without = baseline({"class": unknown(1), "number": unknown(1)})["class"]
    torch.testing.assert_close(share - spread * without, share.reshape(1, 1), rtol=0, atol=1e-3)


def test_the_fit_is_in_the_state_dict():
    x = normals(200, 1)
    features = {"x": x, "y": torch.where(x > 0, 1.0, -1.0) + 0.1 * normals(200, 1, "noise")}
    baseline = fitted(features)
    again = MixtureBaseline({"x": 1, "y": 1}, {}, mixed=True)
    again.load_state_dict(baseline.state_dict())
    likelihoods = {"x": measured(x), "y": unknown(200)}
    assert baseline.components == again.components > 1
    torch.testing.assert_close(again(likelihoods)["y"], baseline(likelihoods)["y"])


@pytest.mark.parametrize("rows", [0, 1, 3, 12])
def test_few_rows_have_one_component(rows):
    baseline = fitted({"x": normals(rows, 1), "y": normals(rows, 1, "other")})
    assert baseline.components == 1
    assert torch.isfinite(baseline({"x": measured(torch.ones(1, 1)), "y": unknown(1)})["y"]).all()


def test_rows_with_gaps_are_used():
    x = normals(400, 1)
    y = torch.where(normals(400, 1, "sign") > 0, 2.0, -2.0) + 0.2 * x + 0.3 * normals(400, 1, "noise")
    there = Rng.for_rows(400, "gaps").uniform((400,)) < 0.6
    present = {"x": torch.ones(400, dtype=torch.bool), "y": there}
    baseline = fitted({"x": x, "y": torch.where(there[:, None], y, torch.nan)}, present=present)
    assert baseline.components > 1
    noisy = torch.tensor([[0.5], [-0.5]])
    of_y = GaussianLikelihood(torch.ones(2, 1, 1), noisy)
    expected = baseline({"x": measured(torch.zeros(2, 1)), "y": of_y})["y"]
    # y is measured with noise of variance 1, and has modes at 2 and -2 of variance .09
    upper = torch.sigmoid(4 * noisy / 1.09)
    exact = (2 * (2 * upper - 1) + 0.09 * noisy) / 1.09
    torch.testing.assert_close(expected, exact, rtol=0, atol=0.25)


@pytest.mark.slow
def test_an_independent_category_keeps_its_frequencies_beside_a_bimodal_number():
    """A mixture chosen for the numbers must not overfit the category."""
    rng = Rng.for_rows(300, "beside")
    x = 1 + 2 * rng.fork("x").uniform((300, 1))
    y = torch.where(rng.fork("sign").uniform((300, 1)) < 0.5, 1.0, -1.0) * x + 0.2 * rng.fork("noise").normal((300, 1))
    first = (rng.fork("class").uniform((300, 1)) < 0.5).float()
    share, spread = first.mean(), first.std(unbiased=False)
    points = (torch.tensor([[1.0], [0.0]]) - share) / spread
    features = {"x": (x - x.mean()) / x.std(), "y": (y - y.mean()) / y.std(), "class": (first - share) / spread}
    baseline = fitted(features, {"class": 2}, {"class": points})
    assert baseline.components > 1
    likelihoods = {name: measured(features[name]) for name in ("x", "y")}
    probabilities = share + spread * baseline({**likelihoods, "class": unknown(300)})["class"]
    assert float((probabilities - share).abs().mean()) < 0.06
