"""The joint normal law, alone and as what an untrained model answers with."""

from pathlib import Path

import pytest
import torch

from metavoxel.network.baseline.mixture import MixtureBaseline
from metavoxel.parts.features.base import GaussianLikelihood
from metavoxel.parts.features.components import Components
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


def everyone(rows=ROWS):
    return {name: torch.ones(rows, dtype=torch.bool) for name in SIZES}


def said(features, certainty):
    """Every feature measured with noise of variance 1 / certainty."""
    precision = torch.diag_embed(torch.full_like(features, certainty))
    return GaussianLikelihood(precision, certainty * features)


def nothing(size):
    return GaussianLikelihood(torch.zeros(1, size, size), torch.zeros(1, size))


def test_a_fit_finds_the_correlations():
    law = one_gaussian(SIZES)
    law.fit(parts(drawn()), everyone())
    torch.testing.assert_close(torch.linalg.inv(law.gaussian.precision), COVARIANCE, rtol=0, atol=0.03)


def test_expectations_are_regressions():
    law = one_gaussian(SIZES)
    law.fit(parts(drawn()), everyone())
    image = torch.tensor([[1.2, -0.7]])
    expected = law({"image": said(image, CERTAIN), "age": nothing(1), "sex": nothing(1)})
    torch.testing.assert_close(expected["image"], image, rtol=0, atol=1e-3)
    for name, row in (("age", 2), ("sex", 3)):
        exact = COVARIANCE[row, :2] @ torch.linalg.solve(COVARIANCE[:2, :2], image[0])
        torch.testing.assert_close(expected[name][0, 0], exact, rtol=0, atol=0.03)
    noisy = law({"image": nothing(2), "age": said(torch.ones(1, 1), 1.0), "sex": nothing(1)})
    torch.testing.assert_close(noisy["age"], torch.full((1, 1), 0.5), rtol=0, atol=1e-3)
    torch.testing.assert_close(noisy["image"], torch.tensor([[0.4, -0.15]]), rtol=0, atol=0.03)


def test_a_fit_takes_rows_with_missing_cells():
    features = parts(drawn())
    present = {name: Rng.for_rows(ROWS, name, "present").uniform((ROWS,)) < 0.6 for name in SIZES}
    features = {name: torch.where(present[name][:, None], x, torch.nan) for name, x in features.items()}
    law = one_gaussian(SIZES)
    law.fit(features, present)
    torch.testing.assert_close(torch.linalg.inv(law.gaussian.precision), COVARIANCE, rtol=0, atol=0.06)


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_few_rows_make_a_cautious_law(rows):
    law = one_gaussian(SIZES)
    law.fit(parts(drawn(rows)), everyone(rows))
    assert torch.isfinite(law.gaussian.precision).all()
    assert (torch.linalg.eigvalsh(law.gaussian.precision) > 0).all()


def test_components_of_few_scans_say_what_they_are_worth():
    """Where three strong scores tell the age: a law of a hundred people is nearer the truth, and knows better how sure it
    may be, if the components were judged by people not seen."""
    rows, count, size = 100, 40, 400
    axes = torch.linalg.qr(Rng.for_rows(size, "axes").normal((size, count)))[0].T
    spreads, told = 10 * 0.8 ** torch.arange(count), torch.zeros(count)
    told[:3] = torch.tensor([0.7, -0.5, 0.4])

    def people(number, purpose):
        rng = Rng.for_rows(number, "weak features", purpose)
        scores = rng.fork("scores").normal((number, count))
        image = (scores * spreads) @ axes + 0.3 * rng.fork("noise").normal((number, size))
        return image, scores @ told[:, None] + 0.32 * rng.fork("age").normal((number, 1))

    scan, age = people(rows, "seen")
    fresh, truth = people(4000, "fresh")
    everybody = {name: torch.ones(rows, dtype=torch.bool) for name in ("scan", "age")}
    clean = (torch.ones(4000, 1), torch.zeros(4000, 1))
    fold = torch.arange(rows) % 5

    def found(batches):
        """Features of all, by components of these batches, and the components."""
        components = Components(count, (size,))
        components.fit(batches)
        return {"scan": components.scores(scan), "age": age}, components

    def answers(features, components, *judges):
        """Squared error, and what the law takes it for."""
        law = one_gaussian({"scan": count, "age": 1})
        law.fit(features, everybody, *judges)
        told = components.likelihood(fresh, clean)
        unknown = GaussianLikelihood(torch.zeros(4000, 1, 1), torch.zeros(4000, 1))
        precision = law.gaussian.precision.clone()
        precision[:-1, :-1] += told.precision[0]
        error = (law({"scan": told, "age": unknown})["age"] - truth).square().mean()
        return float(error), float(torch.linalg.inv(precision)[-1, -1])

    parts = [scan[fold == k] for k in range(5)]
    unseen = [found(parts[:k] + parts[k + 1 :])[0] for k in range(5)]
    error, belief = answers(*found(parts), unseen, fold)
    naive_error, naive_belief = answers(*found([scan]))
    assert error < 0.9 * naive_error
    assert 0.8 < belief / error < naive_belief / naive_error


def test_rows_with_gaps_are_no_worse_than_complete_rows_alone():
    """An age that half of 300 people miss, most of which ten scores tell: the scores of the others do no harm."""
    rows, count = 300, 10
    told = torch.linspace(0.5, -0.4, count)

    def people(number, purpose):
        rng = Rng.for_rows(number, "gaps", purpose)
        scores = rng.fork("scores").normal((number, count))
        return scores, scores @ told[:, None] + 0.3 * rng.fork("age").normal((number, 1))

    scores, age = people(rows, "seen")
    fresh, truth = people(4000, "fresh")
    known = Rng.for_rows(rows, "gaps").uniform((rows,)) < 0.5
    unknown = GaussianLikelihood(torch.zeros(4000, 1, 1), torch.zeros(4000, 1))

    def error(scan, ages, there):
        law = one_gaussian({"scan": count, "age": 1})
        present = {"scan": torch.ones(len(scan), dtype=torch.bool), "age": there}
        law.fit({"scan": scan, "age": ages}, present)
        return float((law({"scan": said(fresh, CERTAIN), "age": unknown})["age"] - truth).square().mean())

    complete = error(scores[known], age[known], known[known])
    assert error(scores, torch.where(known[:, None], age, torch.nan), known) < 1.05 * complete


RAW = {
    "cohort": {"table": "people.csv"},
    "variables": {
        "scan": {"type": "image", "codec": "identity", "shape": [4, 6], "adapter": {"type": "grid_summary", "components": 3}},
        "age": {"type": "continuous"},
        "site": {"type": "categorical", "categories": ["a", "b"]},
    },
    "backbone": {"type": "unet", "channels": [8, 16], "head_channels": 8, "token_width": 32},
}  # fmt: skip


def test_an_untrained_model_answers_with_the_law():
    """The age of an image, the image of an age, and the site of both, before any step of training."""
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
    # What moves an image along its components begins small, not at nothing.
    torch.nn.init.zeros_(joint.adapter("scan").shift[1].weight)

    def asked(**given):
        known = {
            name: Evidence(code, torch.ones(len(code), 1, *code.shape[2:], dtype=torch.bool))
            for name, code in given.items()
        }
        count = len(next(iter(given.values())))
        return posterior_mean(joint, known, row_streams(0, [str(row) for row in range(count)], 0), evaluations=1)

    few = slice(0, 200)
    of_scan = asked(scan=scan[few])
    torch.testing.assert_close(of_scan["age"], 0.8 * hidden[few], rtol=0, atol=0.08)
    assert ((of_scan["site"][:, 1] > 0.5) == (hidden[few, 0] > 0)).double().mean() > 0.95
    ages = torch.tensor([[-1.5], [0.0], [1.5]])
    image = asked(age=ages)["scan"]
    torch.testing.assert_close(image, 0.8 * ages[..., None, None] * pattern, rtol=0, atol=0.06)


CHAIN = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()


def test_a_law_keeps_to_factors():
    """The ends of a chain are independent given its middle, and all else is as the rows have it."""
    rows = 4000
    rng = Rng.for_rows(rows, "chain")
    first = rng.fork("first").normal((rows, 1))
    second = 0.6 * first + 0.8 * rng.fork("second").normal((rows, 1))
    third = 0.6 * second + 0.8 * rng.fork("third").normal((rows, 1))
    features = {"first": first, "second": second, "third": third}
    present = {name: torch.ones(rows, dtype=torch.bool) for name in features}
    law, free = (one_gaussian(dict.fromkeys(features, 1), links) for links in (CHAIN, None))
    law.fit(features, present)
    free.fit(features, present)
    assert abs(float(law.gaussian.precision[0, 2])) < 1e-5 < abs(float(free.gaussian.precision[0, 2]))
    found, exact = (torch.linalg.inv(one.gaussian.precision) for one in (law, free))
    assert float(found[0, 2]) == pytest.approx(float(found[0, 1] * found[1, 2] / found[1, 1]), abs=1e-5)
    torch.testing.assert_close(found[CHAIN], exact[CHAIN], rtol=0, atol=1e-5)


def test_a_law_leaves_factors_where_dependence_is_no_line():
    """Two looks at the square of a third tell of each other, and the third linearly of neither."""
    rows = 4000
    rng = Rng.for_rows(rows, "squares")
    hidden = rng.fork("hidden").normal((rows, 1))
    looks = [(hidden.square() - 1) / 2 + 0.7 * rng.fork(name).normal((rows, 1)) for name in ("one", "other")]
    features = {"one": looks[0], "hidden": hidden, "other": looks[1]}
    law = one_gaussian(dict.fromkeys(features, 1), CHAIN)
    law.fit(features, {name: torch.ones(rows, dtype=torch.bool) for name in features})
    assert float(torch.linalg.inv(law.gaussian.precision)[0, 2]) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("rows", [100, 3000])
def test_a_law_of_factors_errs_less(rows):
    """Ten pairs that know nothing of each other: nine in ten coefficients of a regression are needless."""
    pairs = 10
    rng = Rng.for_rows(rows, "pairs")
    causes = rng.fork("causes").normal((rows, pairs))
    seen = (causes + rng.fork("seen").normal((rows, pairs))) / 2**0.5
    names = [f"cause{k}" for k in range(pairs)] + [f"seen{k}" for k in range(pairs)]
    features = dict(zip(names, torch.cat([causes, seen], 1).split(1, 1), strict=True))
    present = {name: torch.ones(rows, dtype=torch.bool) for name in names}
    errors = []
    for links in (torch.eye(pairs).repeat(2, 2).bool(), None):
        law = one_gaussian(dict.fromkeys(names, 1), links)
        law.fit(features, present)
        covariance = torch.linalg.inv(law.gaussian.precision)
        regression = covariance[:pairs, pairs:] @ torch.linalg.inv(covariance[pairs:, pairs:])
        errors.append(float((regression - 0.5**0.5 * torch.eye(pairs)).square().sum()))
    assert errors[0] < 0.4 * errors[1]
