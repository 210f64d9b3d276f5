"""The Gaussian baseline: fits, posterior means, and the predictions of an untrained model."""

from pathlib import Path

import pytest
import torch

from metavoxel.network.baseline.mixture import MixtureBaseline
from metavoxel.parts.features import rows as stored
from metavoxel.parts.features.base import GaussianLikelihood
from metavoxel.parts.features.components import Components
from metavoxel.parts.features.rows import Rows
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams
from metavoxel.schema import parse_schema

SIZES = {"image": 2, "age": 1, "sex": 1}
COVARIANCE = torch.tensor([[1.0, 0.0, 0.8, 0.1], [0.0, 1.0, -0.3, 0.5], [0.8, -0.3, 1.0, 0.2], [0.1, 0.5, 0.2, 1.0]])
ROWS = 20_000
CERTAIN = 1e5


def one_gaussian(sizes, links=None):
    return MixtureBaseline(sizes, {}, links, mixed=False)


def drawn(rows=ROWS):
    return Rng.for_rows(rows, "linear").normal((rows, 4)) @ torch.linalg.cholesky(COVARIANCE).T


def parts(matrix):
    return dict(zip(SIZES, matrix.split(list(SIZES.values()), 1), strict=True))


def all_present(rows=ROWS):
    return {name: torch.ones(rows, dtype=torch.bool) for name in SIZES}


def measured(features, precision):
    """Return the likelihood of features measured with this precision."""
    return GaussianLikelihood(torch.diag_embed(torch.full_like(features, precision)), precision * features)


def unknown(size):
    return GaussianLikelihood(torch.zeros(1, size, size), torch.zeros(1, size))


def test_the_fit_recovers_correlations():
    baseline = one_gaussian(SIZES)
    baseline.fit(parts(drawn()), all_present())
    torch.testing.assert_close(torch.linalg.inv(baseline.gaussian.precision), COVARIANCE, rtol=0, atol=0.03)


def test_posterior_means_are_regressions():
    baseline = one_gaussian(SIZES)
    baseline.fit(parts(drawn()), all_present())
    image = torch.tensor([[1.2, -0.7]])
    expected = baseline({"image": measured(image, CERTAIN), "age": unknown(1), "sex": unknown(1)})
    torch.testing.assert_close(expected["image"], image, rtol=0, atol=1e-3)
    for name, row in (("age", 2), ("sex", 3)):
        exact = COVARIANCE[row, :2] @ torch.linalg.solve(COVARIANCE[:2, :2], image[0])
        torch.testing.assert_close(expected[name][0, 0], exact, rtol=0, atol=0.03)
    noisy = baseline({"image": unknown(2), "age": measured(torch.ones(1, 1), 1.0), "sex": unknown(1)})
    torch.testing.assert_close(noisy["age"], torch.full((1, 1), 0.5), rtol=0, atol=1e-3)
    torch.testing.assert_close(noisy["image"], torch.tensor([[0.4, -0.15]]), rtol=0, atol=0.03)


def test_the_fit_uses_rows_with_missing_cells():
    features = parts(drawn())
    present = {name: Rng.for_rows(ROWS, name, "present").uniform((ROWS,)) < 0.6 for name in SIZES}
    features = {name: torch.where(present[name][:, None], x, torch.nan) for name, x in features.items()}
    baseline = one_gaussian(SIZES)
    baseline.fit(features, present)
    torch.testing.assert_close(torch.linalg.inv(baseline.gaussian.precision), COVARIANCE, rtol=0, atol=0.06)


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_the_fit_of_few_rows_is_finite_and_positive_definite(rows):
    baseline = one_gaussian(SIZES)
    baseline.fit(parts(drawn(rows)), all_present(rows))
    assert torch.isfinite(baseline.gaussian.precision).all()
    assert (torch.linalg.eigvalsh(baseline.gaussian.precision) > 0).all()


def test_cross_validated_components_of_few_scans():
    """Age depends on three leading scores. With 100 subjects, cross-validated components give a smaller prediction error
    and a better calibrated variance."""
    rows, count, size = 100, 40, 400
    axes = torch.linalg.qr(Rng.for_rows(size, "axes").normal((size, count)))[0].T
    spreads, slopes = 10 * 0.8 ** torch.arange(count), torch.zeros(count)
    slopes[:3] = torch.tensor([0.7, -0.5, 0.4])

    def subjects(number, purpose):
        rng = Rng.for_rows(number, "weak features", purpose)
        scores = rng.fork("scores").normal((number, count))
        image = (scores * spreads) @ axes + 0.3 * rng.fork("noise").normal((number, size))
        return image, scores @ slopes[:, None] + 0.32 * rng.fork("age").normal((number, 1))

    scan, age = subjects(rows, "seen")
    fresh, truth = subjects(4000, "fresh")
    present = {name: torch.ones(rows, dtype=torch.bool) for name in ("scan", "age")}
    clean = (torch.ones(4000, 1), torch.zeros(4000, 1))
    fold = torch.arange(rows) % 5

    def found(batches):
        """Return the features of all subjects with components fitted to these batches, and the components."""
        components = Components(count, (size,))
        number = torch.repeat_interleave(torch.arange(len(batches)), torch.tensor([len(batch) for batch in batches]))
        components.fit(Rows(torch.cat(batches)), number)
        return {"scan": components.scores(scan), "age": age}, components

    def error_and_variance(features, components, *folds):
        """Return the mean squared error of age, and its variance under the baseline."""
        baseline = one_gaussian({"scan": count, "age": 1})
        baseline.fit(features, present, *folds)
        of_scan = components.likelihood(fresh, clean)
        of_age = GaussianLikelihood(torch.zeros(4000, 1, 1), torch.zeros(4000, 1))
        precision = baseline.gaussian.precision.clone()
        precision[:-1, :-1] += of_scan.precision[0]
        error = (baseline({"scan": of_scan, "age": of_age})["age"] - truth).square().mean()
        return float(error), float(torch.linalg.inv(precision)[-1, -1])

    parts = [scan[fold == k] for k in range(5)]
    unseen = [found(parts[:k] + parts[k + 1 :])[0] for k in range(5)]
    error, variance = error_and_variance(*found(parts), unseen, fold)
    naive_error, naive_variance = error_and_variance(*found([scan]))
    assert error < 0.9 * naive_error
    assert 0.8 < variance / error < naive_variance / naive_error


def test_rows_with_gaps_are_no_worse_than_complete_rows_alone():
    """Age, missing for half of 300 subjects, depends on ten scores; including the scores of that half does no harm."""
    rows, count = 300, 10
    slopes = torch.linspace(0.5, -0.4, count)

    def subjects(number, purpose):
        rng = Rng.for_rows(number, "gaps", purpose)
        scores = rng.fork("scores").normal((number, count))
        return scores, scores @ slopes[:, None] + 0.3 * rng.fork("age").normal((number, 1))

    scores, age = subjects(rows, "seen")
    fresh, truth = subjects(4000, "fresh")
    known = Rng.for_rows(rows, "gaps").uniform((rows,)) < 0.5
    of_age = GaussianLikelihood(torch.zeros(4000, 1, 1), torch.zeros(4000, 1))

    def error(scan, ages, there):
        baseline = one_gaussian({"scan": count, "age": 1})
        present = {"scan": torch.ones(len(scan), dtype=torch.bool), "age": there}
        baseline.fit({"scan": scan, "age": ages}, present)
        return float((baseline({"scan": measured(fresh, CERTAIN), "age": of_age})["age"] - truth).square().mean())

    complete = error(scores[known], age[known], known[known])
    assert error(scores, torch.where(known[:, None], age, torch.nan), known) < 1.05 * complete


RAW = {
    "cohort": {"table": "subjects.csv"},
    "variables": {
        "scan": {"type": "image", "codec": "identity", "shape": [4, 6], "adapter": {"type": "grid_summary", "components": 3}},
        "age": {"type": "continuous"},
        "site": {"type": "categorical", "categories": ["a", "b"]},
    },
    "backbone": {"type": "unet", "channels": [8, 16], "head_channels": 8, "token_width": 32},
}  # fmt: skip


def test_an_untrained_model_predicts_the_baseline():
    """Age and site from an image, and an image from age, before any training step."""
    rows, rng = 4000, Rng.for_rows(4000, "cohort")
    hidden = rng.fork("hidden").normal((rows, 1))
    age = 0.8 * hidden + 0.6 * rng.fork("age").normal((rows, 1))
    pattern = torch.linspace(-1, 1, 24).reshape(1, 1, 4, 6)
    scan = hidden[..., None, None] * pattern + 0.05 * rng.fork("scan").normal((rows, 1, 4, 6))
    site = torch.nn.functional.one_hot((hidden[:, 0] > 0).long(), 2).float()
    torch.manual_seed(0)
    schema = parse_schema(RAW, folder=Path())
    joint = build_joint(schema, build_codecs(schema)).eval()
    codes = {"scan": scan, "age": age, "site": site}
    joint.baseline.fit(codes, {name: torch.ones(rows, dtype=torch.bool) for name in codes})
    # Shifts along components start small, not at 0
    torch.nn.init.zeros_(joint.adapter("scan").shift[1].weight)

    def means(**given):
        known = {
            name: Evidence(code, torch.ones(len(code), 1, *code.shape[2:], dtype=torch.bool))
            for name, code in given.items()
        }
        count = len(next(iter(given.values())))
        return posterior_mean(joint, known, row_streams(0, [str(row) for row in range(count)], 0), evaluations=1)

    few = slice(0, 200)
    of_scan = means(scan=scan[few])
    torch.testing.assert_close(of_scan["age"], 0.8 * hidden[few], rtol=0, atol=0.08)
    assert ((of_scan["site"][:, 1] > 0.5) == (hidden[few, 0] > 0)).double().mean() > 0.95
    ages = torch.tensor([[-1.5], [0.0], [1.5]])
    image = means(age=ages)["scan"]
    torch.testing.assert_close(image, 0.8 * ages[..., None, None] * pattern, rtol=0, atol=0.06)


CHAIN = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()


def test_covariance_selection_by_factors():
    """In a chain, first and third are independent given the second; other covariances are those of the rows."""
    rows = 4000
    rng = Rng.for_rows(rows, "chain")
    first = rng.fork("first").normal((rows, 1))
    second = 0.6 * first + 0.8 * rng.fork("second").normal((rows, 1))
    third = 0.6 * second + 0.8 * rng.fork("third").normal((rows, 1))
    features = {"first": first, "second": second, "third": third}
    present = {name: torch.ones(rows, dtype=torch.bool) for name in features}
    baseline, free = (one_gaussian(dict.fromkeys(features, 1), links) for links in (CHAIN, None))
    baseline.fit(features, present)
    free.fit(features, present)
    assert abs(float(baseline.gaussian.precision[0, 2])) < 1e-5 < abs(float(free.gaussian.precision[0, 2]))
    found, exact = (torch.linalg.inv(one.gaussian.precision) for one in (baseline, free))
    assert float(found[0, 2]) == pytest.approx(float(found[0, 1] * found[1, 2] / found[1, 1]), abs=1e-5)
    torch.testing.assert_close(found[CHAIN], exact[CHAIN], rtol=0, atol=1e-5)


def test_factors_are_not_used_where_dependence_is_nonlinear():
    """Two measurements of the square of a third variable are correlated, with each other and not with it."""
    rows = 4000
    rng = Rng.for_rows(rows, "squares")
    hidden = rng.fork("hidden").normal((rows, 1))
    squares = [(hidden.square() - 1) / 2 + 0.7 * rng.fork(name).normal((rows, 1)) for name in ("one", "other")]
    features = {"one": squares[0], "hidden": hidden, "other": squares[1]}
    baseline = one_gaussian(dict.fromkeys(features, 1), CHAIN)
    baseline.fit(features, {name: torch.ones(rows, dtype=torch.bool) for name in features})
    assert float(torch.linalg.inv(baseline.gaussian.precision)[0, 2]) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("rows", [100, 3000])
def test_factors_reduce_the_estimation_error(rows):
    """Of ten independent pairs, nine in ten regression coefficients are 0."""
    pairs = 10
    rng = Rng.for_rows(rows, "pairs")
    causes = rng.fork("causes").normal((rows, pairs))
    seen = (causes + rng.fork("seen").normal((rows, pairs))) / 2**0.5
    names = [f"cause{k}" for k in range(pairs)] + [f"seen{k}" for k in range(pairs)]
    features = dict(zip(names, torch.cat([causes, seen], 1).split(1, 1), strict=True))
    present = {name: torch.ones(rows, dtype=torch.bool) for name in names}
    errors = []
    for links in (torch.eye(pairs).repeat(2, 2).bool(), None):
        baseline = one_gaussian(dict.fromkeys(names, 1), links)
        baseline.fit(features, present)
        covariance = torch.linalg.inv(baseline.gaussian.precision)
        regression = covariance[:pairs, pairs:] @ torch.linalg.inv(covariance[pairs:, pairs:])
        errors.append(float((regression - 0.5**0.5 * torch.eye(pairs)).square().sum()))
    assert errors[0] < 0.4 * errors[1]


def test_blocks_of_rows_give_the_fit_of_all_at_once(monkeypatch):
    """Codes are read in blocks, so that memory does not grow with the cohort."""
    rows, rng = 60, Rng.for_rows(60, "blocks")
    pattern = torch.linspace(-1, 1, 24).reshape(1, 1, 4, 6)
    age = rng.fork("age").normal((rows, 1))
    scan = age[..., None, None] * pattern + 0.3 * rng.fork("scan").normal((rows, 1, 4, 6))
    site = torch.nn.functional.one_hot((age[:, 0] > 0).long(), 2).float()
    present = {"scan": torch.arange(rows) % 7 > 0, "age": torch.arange(rows) % 5 > 0, "site": torch.arange(rows) >= 0}
    schema, fits = parse_schema(RAW, folder=Path()), []
    for size in (stored.BLOCK_BYTES, 4 * 24 * 7):
        monkeypatch.setattr(stored, "BLOCK_BYTES", size)
        torch.manual_seed(0)
        joint = build_joint(schema, build_codecs(schema)).eval()
        codes = {name: Rows(code.repeat(2, *[1] * (code.ndim - 1)), torch.arange(rows, 2 * rows))
                 for name, code in {"scan": scan, "age": age, "site": site}.items()}  # fmt: skip
        joint.baseline.fit(codes, present)
        fits.append(joint.baseline)
    whole, blocks = fits
    states, times = {"scan": scan, "age": age, "site": site}, dict.fromkeys(RAW["variables"], torch.full((rows,), 0.3))
    observed = {name: torch.zeros(rows, 1, *code.shape[2:], dtype=torch.bool) for name, code in states.items()}
    expected, found = (fit(states, times, observed).outputs for fit in (whole, blocks))
    for name, output in expected.items():
        torch.testing.assert_close(found[name], output, rtol=0, atol=1e-4)
