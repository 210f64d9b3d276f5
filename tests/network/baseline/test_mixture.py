"""The baseline as a mixture: how many components it has, and what it expects, beside exact answers."""

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


def known(x):
    return GaussianLikelihood(torch.diag_embed(torch.full_like(x, CERTAIN)), CERTAIN * x)


def nothing(rows, size=1):
    return GaussianLikelihood(torch.zeros(rows, size, size), torch.zeros(rows, size))


def normals(rows, count, purpose="numbers"):
    return Rng.for_rows(rows, "mixture", purpose).normal((rows, count))


def test_normal_numbers_have_one_component():
    for rows in (50, 400):
        x = normals(rows, 3)
        x[:, 2] = 0.8 * x[:, 0] + 0.6 * x[:, 2]
        assert fitted({"a": x[:, :1], "b": x[:, 1:2], "c": x[:, 2:]}).components == 1


def test_two_humps_that_a_predictor_pulls_apart():
    """y = +x or -x, x from 1 to 3, in a little noise: given x and a noisy y, the hump that y is near."""
    rng = Rng.for_rows(2000, "humps")
    x = 1 + 2 * rng.fork("x").uniform((2000, 1))
    sign = torch.where(rng.fork("sign").uniform((2000, 1)) < 0.5, 1.0, -1.0)
    y = sign * x + 0.2 * rng.fork("noise").normal((2000, 1))
    center = x.mean()
    baseline = fitted({"x": x - center, "y": y})
    assert baseline.components > 1
    at = torch.tensor([[1.2], [2.0], [2.8]])
    expected = baseline({"x": known(at - center), "y": nothing(3)})["y"]
    torch.testing.assert_close(
        expected, torch.zeros(3, 1), rtol=0, atol=0.6
    )  # of 2 x: a share of .5 among a few hundred rows
    # y seen with noise of variance 1 at a third of the upper hump: exp(2 * y x) to 1 for that hump
    seen = at / 3
    said = GaussianLikelihood(torch.ones(3, 1, 1), seen)
    upper = torch.sigmoid(2 * seen * at / 1.04)
    exact = (2 * upper - 1) * (at + 0.0) + 0.04 / 1.04 * (seen - (2 * upper - 1) * at)
    torch.testing.assert_close(baseline({"x": known(at - center), "y": said})["y"], exact, rtol=0, atol=0.15)


def test_a_category_is_expected_by_bayes_rule():
    """Two classes of shares .9 and .1, a unit apart in a number of variance 1: the logistic function of the number."""
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
    everyone = torch.ones(rows, dtype=torch.bool)
    baseline.fit(features, {"class": everyone, "number": everyone}, points={"class": points})
    at = torch.linspace(-2, 4, 7)[:, None]
    said = {"class": nothing(7), "number": known((at - number.mean()) / scale)}
    found = share - spread * baseline(said)["class"]
    exact = torch.sigmoid(torch.log(torch.tensor(1 / 9)) + at - 0.5)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.02)
    without = baseline({"class": nothing(1), "number": nothing(1)})["class"]
    torch.testing.assert_close(share - spread * without, share.reshape(1, 1), rtol=0, atol=1e-3)


def test_what_is_kept_is_loaded():
    x = normals(200, 1)
    features = {"x": x, "y": torch.where(x > 0, 1.0, -1.0) + 0.1 * normals(200, 1, "noise")}
    baseline = fitted(features)
    again = MixtureBaseline({"x": 1, "y": 1}, {}, mixed=True)
    again.load_state_dict(baseline.state_dict())
    said = {"x": known(x), "y": nothing(200)}
    assert baseline.components == again.components > 1
    torch.testing.assert_close(again(said)["y"], baseline(said)["y"])


@pytest.mark.parametrize("rows", [0, 1, 3, 12])
def test_few_rows_have_one_component(rows):
    baseline = fitted({"x": normals(rows, 1), "y": normals(rows, 1, "other")})
    assert baseline.components == 1
    assert torch.isfinite(baseline({"x": known(torch.ones(1, 1)), "y": nothing(1)})["y"]).all()


def test_rows_with_gaps_are_of_use():
    x = normals(400, 1)
    y = torch.where(normals(400, 1, "sign") > 0, 2.0, -2.0) + 0.2 * x + 0.3 * normals(400, 1, "noise")
    there = Rng.for_rows(400, "gaps").uniform((400,)) < 0.6
    present = {"x": torch.ones(400, dtype=torch.bool), "y": there}
    baseline = fitted({"x": x, "y": torch.where(there[:, None], y, torch.nan)}, present=present)
    assert baseline.components > 1
    said = GaussianLikelihood(torch.ones(2, 1, 1), torch.tensor([[0.5], [-0.5]]))
    near = baseline({"x": known(torch.zeros(2, 1)), "y": said})["y"]
    # Seen in noise of variance 1 at .5 and -.5, humps at 2 and -2 of variance .09
    seen = said.weighted
    upper = torch.sigmoid(4 * seen / 1.09)
    exact = (2 * (2 * upper - 1) + 0.09 * seen) / 1.09
    torch.testing.assert_close(near, exact, rtol=0, atol=0.25)


def test_a_category_that_goes_with_nothing_keeps_its_shares_beside_humps():
    """A mixture that the numbers want must not make chance in few rows a reason for a class."""
    rng = Rng.for_rows(300, "beside")
    x = 1 + 2 * rng.fork("x").uniform((300, 1))
    y = torch.where(rng.fork("sign").uniform((300, 1)) < 0.5, 1.0, -1.0) * x + 0.2 * rng.fork("noise").normal((300, 1))
    first = (rng.fork("class").uniform((300, 1)) < 0.5).float()
    share, spread = first.mean(), first.std(unbiased=False)
    points = (torch.tensor([[1.0], [0.0]]) - share) / spread
    features = {"x": (x - x.mean()) / x.std(), "y": (y - y.mean()) / y.std(), "class": (first - share) / spread}
    baseline = fitted(features, {"class": 2}, {"class": points})
    assert baseline.components > 1
    said = {name: known(features[name]) for name in ("x", "y")}
    chances = share + spread * baseline({**said, "class": nothing(300)})["class"]
    assert float((chances - share).abs().mean()) < 0.06
