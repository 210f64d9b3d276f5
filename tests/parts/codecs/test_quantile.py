"""Rank-based inverse normal transform: agreement with SciPy, ties, extrapolation, bounds and errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from metavoxel.parts.codecs.quantile import POINTS, QuantileSpec
from metavoxel.sampling.bounds import codes_between


def fitted(values, **settings):
    values = torch.as_tensor(np.asarray(values, float))
    codec = QuantileSpec(**settings).build(())
    codec.fit(lambda: [values[: len(values) // 2], values[len(values) // 2 :]])
    return codec


def encode(codec, values):
    return codec.encode(torch.as_tensor(np.asarray(values, float))).mean[:, 0].double().numpy()


def decode(codec, codes):
    return codec.decode(torch.as_tensor(np.asarray(codes, float)).float()[:, None]).numpy()


def draws(count=20_000):
    """Evenly spaced quantiles of the standard normal distribution."""
    return norm.ppf((np.arange(count) + 0.5) / count)


SKEWED = np.random.default_rng(0).lognormal(1, 1, 101)
ZEROS = np.where(np.random.default_rng(1).random(200) < 0.6, 0.0, np.random.default_rng(2).lognormal(0, 1, 200))
COUNTS = np.random.default_rng(3).poisson(2.5, 300).astype(float)


@pytest.mark.parametrize("values", [SKEWED, ZEROS, COUNTS, -SKEWED], ids=["skewed", "zeros", "counts", "mirrored"])
def test_codes_are_normal_quantiles_of_mid_ranks(values):
    expected = norm.ppf((rankdata(values, "average") - 0.5) / len(values))
    np.testing.assert_allclose(encode(fitted(values), values), expected, atol=1e-6)


def test_map_is_linear_between_support_points():
    codec = fitted(SKEWED)
    known = np.sort(SKEWED)
    codes = norm.ppf((np.arange(101) + 0.5) / 101)
    between = known[:-1] + 0.3 * np.diff(known)
    np.testing.assert_allclose(encode(codec, between), np.interp(between, known, codes), atol=1e-6)
    queries = np.linspace(codes[0], codes[-1], 777)
    np.testing.assert_allclose(decode(codec, queries), np.interp(queries, codes, known), rtol=1e-5)


def test_extrapolation_has_the_slope_of_the_outer_quantiles():
    values = np.arange(10.0, 110.0) ** 2
    codes = norm.ppf((np.arange(100) + 0.5) / 100)
    codec = fitted(values)
    inner = int(np.argmax(codes >= codes[0] + 1))
    slope = (values[inner] - values[0]) / (codes[inner] - codes[0])
    np.testing.assert_allclose(decode(codec, [codes[0] - 0.5]), values[0] - 0.5 * slope, rtol=1e-5)
    np.testing.assert_allclose(encode(codec, [values[0] - 3 * slope]), codes[0] - 3, rtol=1e-6)
    outer = 99 - inner
    slope = (values[-1] - values[outer]) / (codes[-1] - codes[outer])
    np.testing.assert_allclose(decode(codec, [codes[-1] + 2]), values[-1] + 2 * slope, rtol=1e-5)


def test_zeros_keep_their_frequency_and_are_the_minimum():
    codec, frequency = fitted(ZEROS), (ZEROS == 0).mean()
    drawn = decode(codec, draws())
    assert abs((drawn == 0).mean() - frequency) < 1e-3 and drawn.min() == 0
    edge = norm.ppf(frequency)
    assert decode(codec, [-40.0, -1.0, edge - 1e-6]).tolist() == [0, 0, 0]
    assert encode(codec, [0.0]) == pytest.approx(norm.ppf(frequency / 2), abs=1e-6)
    low, high = codec.code_interval(torch.zeros(1, dtype=torch.float64))
    assert float(low) == -math.inf and float(high) == pytest.approx(edge, abs=1e-6)


def test_integers_stay_integers_with_their_frequencies():
    drawn = decode(fitted(COUNTS), draws())
    values, counts = np.unique(COUNTS, return_counts=True)
    for value, count in zip(values[counts > 1], counts[counts > 1], strict=True):
        assert abs((drawn == value).mean() - count / 300) < 1e-3
    common = np.repeat(np.arange(11.0), np.arange(11, 22))
    assert set(decode(fitted(common), draws())) == set(range(11))


@given(st.lists(st.integers(-5, 5) | st.floats(-1e3, 1e3), min_size=1, max_size=60))
def test_map_is_monotone_and_recovers_training_values(values):
    codec = fitted(values)
    codes = encode(codec, np.sort(values))
    assert np.isfinite(codes).all() and (np.diff(codes) >= 0).all()
    assert np.abs(decode(codec, codes) - np.sort(values)).max() <= codec.tolerance
    unique, counts = np.unique(np.asarray(values, float), return_counts=True)
    tied = unique[counts > 1]
    assert decode(codec, encode(codec, tied)).tolist() == tied.tolist()
    grid = np.sort(np.concatenate([unique, unique + 1e-3, (unique[1:] + unique[:-1]) / 2, [-2e3, 2e3]]))
    assert (np.diff(encode(codec, grid)) >= 0).all()
    drawn = decode(codec, np.linspace(-7, 7, 501))
    assert np.isfinite(drawn).all() and (np.diff(drawn) >= 0).all()


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60))
def test_codes_in_the_interval_of_a_value_decode_to_it(values):
    codec = fitted(values)
    unique, counts = np.unique(np.asarray(values, float), return_counts=True)
    low, high = (edge[:, 0].double().clamp(-9, 9).numpy() for edge in codec.code_interval(torch.from_numpy(unique)))
    for value, start, end, count in zip(unique, low, high, counts, strict=True):
        inside = start + (end - start) * np.array([0.01, 0.3, 0.99])
        if count > 1:
            assert decode(codec, inside).tolist() == [value] * 3
        elif len(values) > 1:
            assert start == end


def test_values_between_ties_are_encoded_between_and_decode_to_a_tie():
    codec = fitted([0.0] * 6 + [10.0] * 4)
    codes = encode(codec, [0.0, 1.0, 5.0, 9.0, 10.0])
    expected = norm.ppf(0.3) + np.array([0, 0.1, 0.5, 0.9, 1]) * (norm.ppf(0.8) - norm.ppf(0.3))
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    assert decode(codec, codes).tolist() == [0, 0, 0, 10, 10]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_constant_is_always_decoded(count):
    codec = fitted([7.0] * count)
    assert encode(codec, [6.0, 7.0, 8.0]).tolist() == [-1, 0, 1]
    assert decode(codec, [-5.0, 0.0, 5.0]).tolist() == [7, 7, 7]


def test_two_rows_define_a_linear_map():
    codec, z = fitted([1.0, 3.0]), norm.ppf(0.75)
    np.testing.assert_allclose(encode(codec, [-1.0, 1.0, 2.0, 3.0, 5.0]), [-3 * z, -z, 0, z, 3 * z], atol=1e-6)
    np.testing.assert_allclose(decode(codec, [-3 * z, 0, 3 * z]), [-1, 2, 5], atol=1e-5)


def test_support_points_are_limited_and_include_common_values():
    rng = np.random.default_rng(4)
    values = np.where(rng.random(20_000) < 0.05, 12.5, rng.lognormal(2, 0.7, 20_000))
    codec = fitted(values)
    assert 200 < int(codec.size) <= POINTS and codec.values.shape == (POINTS,)
    expected = norm.ppf((rankdata(values, "average") - 0.5) / len(values))
    codes = encode(codec, values)
    assert np.abs(codes - expected).max() < 0.06 and abs(codes.std() - expected.std()) < 1e-3
    assert np.abs(codes[values == 12.5] - expected[values == 12.5]).max() < 1e-6
    assert abs((decode(codec, draws()) == 12.5).mean() - 0.05) < 5e-3
    assert np.abs(decode(codec, codes) - values).max() <= codec.tolerance


def test_numbers_finer_than_single_precision_are_distinguished():
    seconds = 1_700_000_000 + np.random.default_rng(5).permutation(60).astype(float)
    codec = fitted(seconds)
    np.testing.assert_allclose(decode(codec, encode(codec, seconds)), seconds, atol=1e-3, rtol=0)


def test_decoded_values_lie_within_limits():
    codec = fitted(SKEWED, limits=(0.0, 60.0))
    drawn = decode(codec, np.linspace(-30, 30, 99))
    assert drawn.min() == 0 and drawn.max() == 60
    assert QuantileSpec(limits=(3.0, 3.0)).problems() and not QuantileSpec(limits=(None, 3.0)).problems()


def test_all_codes_of_a_tied_bound_lie_within():
    """A ceiling of 30 attained by training rows: no draw of 30 is outside ``valid: [0, 30]``."""
    scores = np.minimum(np.random.default_rng(6).normal(28, 3, 200).round(), 30.0)
    codec = fitted(scores, limits=(0.0, 30.0))
    assert codes_between(codec, (0.0, 30.0), torch.device("cpu")) == (-math.inf, math.inf)
    assert set(decode(codec, draws())) <= set(scores)


def test_a_bound_between_ties_is_the_code_between_theirs():
    codec = fitted([0.0] * 5 + [6.0] * 5 + [8.0] * 5)
    low, high = codes_between(codec, (0.0, 7.0), torch.device("cpu"))
    assert low == -math.inf and high == pytest.approx(norm.ppf(2 / 3), abs=1e-6)
    assert decode(codec, [high, high + 1e-6]).tolist() == [6, 8]
    low, high = codes_between(codec, (7.0, 9.0), torch.device("cpu"))
    assert high == math.inf and decode(codec, [low - 1e-6, low]).tolist() == [6, 8]


def test_slopes_are_densities_and_zero_at_ties():
    codec = fitted([0.0] * 4 + [1.0, 2.0, 4.0, 7.0] + [9.0] * 2 + [11.0] * 2)
    slopes = codec.code_slopes(torch.tensor([0.0, 3.0, 5.0, 9.0, 10.0], dtype=torch.float64)).numpy()
    z = norm.ppf((np.array([6, 7, 8]) - 0.5) / 12)
    np.testing.assert_allclose(slopes, [0, (z[1] - z[0]) / 2, (z[2] - z[1]) / 3, 0, 0], atol=1e-6)


def test_code_sd_is_the_standard_deviation_of_perturbed_codes():
    values = draws(200) * 3 + 50
    assert float(fitted(values).code_sd(torch.tensor([50.0]).double(), 1.5)) == pytest.approx(0.5, rel=0.02)
    codec = fitted(ZEROS)
    rng = np.random.default_rng(7)
    expected = encode(codec, 1.0 + 0.8 * rng.standard_normal(100_000)).std()
    assert float(codec.code_sd(torch.tensor([1.0]).double(), 0.8)) == pytest.approx(expected, rel=0.05)
    assert float(codec.code_sd(torch.tensor([0.0]).double(), 1e-9)) == pytest.approx(0, abs=1)


def test_fitted_values_are_in_the_state_dict():
    codec, other = fitted(ZEROS), QuantileSpec().build(())
    other.load_state_dict(codec.state_dict())
    assert np.array_equal(encode(other, ZEROS), encode(codec, ZEROS))
    codec.fit(lambda: [torch.tensor([1.0, 2.0])])
    assert encode(codec, [1.5]) == pytest.approx(0, abs=1e-7)
