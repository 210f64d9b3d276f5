"""Codecs of numbers and labels, beyond the conformance checks of ``metavoxel.testing``."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.parts.codecs.base import Encoded
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.rng import Rng

AGES = torch.tensor([3.5, 4.0, 5.25, 7.0, 12.0, 39.0])


def fitted(spec, values):
    codec = spec.build(())
    codec.fit(lambda: [values[:2], values[2:]])
    return codec


@pytest.mark.parametrize("transform", [None, "log"])
def test_standard_codes_have_mean_0_and_sd_1_on_the_training_rows(transform):
    codes = fitted(LinearSpec(transform=transform, range=(3, 40)), AGES).encode(AGES).mean
    assert codes.shape == (6, 1)
    torch.testing.assert_close(codes.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(codes.std(unbiased=False), torch.tensor(1.0))


@pytest.mark.parametrize("transform", [None, "log"])
def test_a_range_is_scaled_to_minus_1_to_1(transform):
    codec = fitted(LinearSpec(scale="range", range=(3, 40), transform=transform), AGES)
    middle = math.sqrt(3 * 40) if transform else 21.5
    codes = codec.encode(torch.tensor([3.0, middle, 40.0])).mean[:, 0]
    torch.testing.assert_close(codes, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6, rtol=0)


@given(st.floats(1e-3, 1e6), st.floats(0.01, 5), st.sampled_from([None, "log"]))
def test_numbers_are_recovered(center, spread, transform):
    values = center * torch.exp(spread * torch.linspace(-1, 1, 9))
    codec = fitted(LinearSpec(transform=transform), values)
    back = codec.decode(codec.encode(values).mean)
    # A float32 code limits the precision: relative to the sd, or under a logarithm relative to the number.
    allowed = 1e-5 * (values * (1 + spread) if transform else values.std() + values)
    assert ((back - values).abs() <= allowed).all()


def test_a_constant_has_a_code():
    codec = fitted(LinearSpec(), torch.full((4,), 7.0))
    assert codec.encode(torch.tensor([7.0, 8.0])).mean.tolist() == [[0.0], [1.0]]


def test_fitted_values_are_in_the_state_dict():
    codec, other = fitted(LinearSpec(transform="log"), AGES), LinearSpec(transform="log").build(())
    other.load_state_dict(codec.state_dict())
    assert torch.equal(other.encode(AGES).mean, codec.encode(AGES).mean)


def test_labels_are_one_hot_and_recovered():
    codec = OneHotSpec(categories=4).build(())
    labels = torch.tensor([2, 0, 3, 1])
    codes = codec.encode(labels).mean
    assert torch.equal(codes, torch.eye(4)[labels])
    assert torch.equal(codec.decode(codes), labels)
    assert torch.equal(codec.decode(torch.tensor([[0.2, 0.3, 0.4, 0.1]])), torch.tensor([2]))


@pytest.mark.parametrize("codec", [fitted(LinearSpec(), AGES), OneHotSpec(categories=40).build(())])
def test_a_scalar_is_known_or_unknown(codec):
    values = torch.arange(3) if codec.support == "one_hot" else AGES[:3]
    encoded, reliable = codec.encode_partial(values, torch.tensor([True, False, True]))
    assert reliable.tolist() == [[True], [False], [True]]
    assert torch.equal(encoded.mean, codec.encode(values).mean)


def test_draws_have_the_stated_mean_and_sd_and_depend_on_the_row():
    rows = 40_000
    encoded = Encoded(torch.full((rows, 2), 3.0), torch.tensor([[0.0, 0.5]]).expand(rows, 2))
    draw = encoded.draw(Rng.for_rows(rows, "draw"))
    assert torch.equal(draw[:, 0], torch.full((rows,), 3.0))
    error = 0.5 / math.sqrt(rows)
    assert abs(float(draw[:, 1].mean()) - 3) < 5 * error
    assert abs(float(draw[:, 1].std()) - 0.5) < 5 * error
    part = Encoded(encoded.mean[5:9], encoded.sd[5:9]).draw(Rng.for_rows(rows, "draw")[slice(5, 9)])
    assert torch.equal(part, draw[5:9])
