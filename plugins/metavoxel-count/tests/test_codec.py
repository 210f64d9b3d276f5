"""Normal scores: codes are normal, and normal draws decode to the frequencies of the counts."""

import pytest
import torch
from metavoxel_count import CountSpec
from metavoxel_count.codec import truncated

from metavoxel.rng import Rng

ROWS = 20_000


def fitted(spec, values):
    codec = spec.parts().codec.build(())
    codec.fit(lambda: [values])
    return codec


def counts(rows=ROWS):
    """Return counts of which three in five are 0, and the others are log-normal."""
    rng = Rng.for_rows(rows, "counts")
    many = torch.exp(1.2 * rng.normal((rows,))).ceil()
    return torch.where(rng.uniform((rows,)) < 0.6, 0.0, many)


def test_codes_are_normal_in_spite_of_ties():
    values = counts()
    codec = fitted(CountSpec(), values)
    drawn = codec.encode(values).draw(Rng.for_rows(ROWS, "codes"))[:, 0].double()
    assert float(drawn.mean()) == pytest.approx(0, abs=0.03)
    assert float(drawn.var()) == pytest.approx(1, abs=0.06)


def test_normal_draws_decode_to_the_frequencies_of_the_counts():
    values = counts()
    codec = fitted(CountSpec(), values)
    decoded = codec.decode(Rng.for_rows(ROWS, "normal").normal((ROWS, 1)))
    for count in range(6):
        share = float((values == count).double().mean())
        assert float((decoded == count).double().mean()) == pytest.approx(share, abs=0.015), count
    for level in (0.9, 0.99):
        expected = float(values.double().quantile(level))
        assert float(decoded.double().quantile(level)) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("scale", ["quantile", "log"])
def test_values_beyond_a_limit_have_one_code(scale):
    spec = CountSpec(whole=False, scale=scale, limits=(0.5, 20.0))
    latent = torch.exp(1 + 1.5 * Rng.for_rows(ROWS, "latent").normal((ROWS,)))
    values = torch.stack([spec.parse(f"{value:.4f}") for value in latent[:4000].tolist()])
    codec = fitted(spec, values)
    below, above = (codec.encode(spec.parse(cell)[None]) for cell in ("<LOD", ">20"))
    assert float(below.mean) < -1 < 1 < float(above.mean) and float(below.sd) > 0.1 and float(above.sd) > 0.1
    decoded = codec.decode(Rng.for_rows(ROWS, "normal").normal((ROWS, 1)))
    for limit, cell in ((0.5, "<0.5"), (20.0, ">20")):
        share = float((values == limit).double().mean())
        assert float((decoded == limit).double().mean()) == pytest.approx(share, abs=0.04)
        assert spec.format(torch.tensor(limit)) == cell


def test_numbers_beyond_the_training_rows_have_different_scores():
    codec = fitted(CountSpec(), counts())
    codes = codec.encode(torch.tensor([200.0, 2000.0, 20_000.0])).mean[:, 0]
    assert bool((codes.diff() > 0.1).all())
    assert codec.decode(codes[:, None]).tolist() == [200.0, 2000.0, 20_000.0]


def test_truncated_moments_equal_those_of_draws():
    draws = Rng.for_rows(400_000, "truncated").normal((400_000,)).double()
    edges = torch.tensor([-9.0, -1.0, 0.3, 1.0, 9.0], dtype=torch.float64)
    mean, sd = truncated(edges[:-1], edges[1:])
    for place in range(4):
        inside = draws[(draws > edges[place]) & (draws < edges[place + 1])]
        assert float(mean[place]) == pytest.approx(float(inside.mean()), abs=0.01)
        assert float(sd[place]) == pytest.approx(float(inside.std()), abs=0.01)


@pytest.mark.parametrize(
    ("settings", "cell", "what"),
    [
        ({}, "2.5", "is not a whole number. Set 'whole: false'"),
        ({}, "<5", r"\[None, None\].*Set limits: \[5.0, null\]"),
        ({"limits": (2, None)}, "<5", r"a limit that is not the variable's \(\[2.0, None\]\)"),
        ({}, ">x", "'x' is not a number"),
    ],
)
def test_cells_that_cannot_be_read(settings, cell, what):
    with pytest.raises(ValueError, match=what):
        CountSpec(**settings).parse(cell)


def test_negative_numbers_are_missing():
    assert CountSpec().parse("-1").rule == "below 0"


@pytest.mark.parametrize("cell", [">90", ">=90", "90+", "90 +"])
def test_right_censored_ages(cell):
    spec = CountSpec(whole=False, limits=(None, 90))
    assert float(spec.parse(cell)) == 90 and spec.format(spec.parse(cell)) == ">90"
    with pytest.raises(ValueError, match="a limit that is not the variable's"):
        CountSpec(limits=(None, 80)).parse(cell)
