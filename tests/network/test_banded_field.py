"""Independent fields of bands against one field of all channels."""

import pytest
import torch

from metavoxel.network.banded_field import BandedField
from metavoxel.network.residual_field import Noisy, ResidualField
from metavoxel.rng import Rng

ROWS, GRID = 6, (4, 5)


def normal(*shape, key="banded"):
    return Rng.for_rows(shape[0], key, *shape).normal(shape)


def residuals(width, key, rows=300):
    maps = normal(rows, width, *GRID, key=key)
    return maps + 0.6 * maps.roll(1, -1) + 0.4 * maps.roll(1, 1)  # channels are correlated in a ring


def fit(field, batches, uncertainty=None):
    started = field.begin_fit()
    for images, present in batches:
        started.add(images, present)
    started.finish(uncertainty)


def noisy(width, key, alpha_bar):
    x, fitted = (normal(ROWS, width, *GRID, key=f"{key} {what}") for what in ("x", "fit"))
    return Noisy(x, fitted, alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def levels(*, cells):
    """Return alpha_bar of rows that are clean, without signal, and noisy; or different from cell to cell."""
    if cells:
        return torch.sigmoid(2 * normal(ROWS, 1, *GRID, key="cells"))
    return torch.tensor([1.0, 0.0, 0.5, 0.9, 0.1, 0.7]).reshape(-1, 1, 1, 1)


def test_one_band_is_the_field_of_all_channels():
    images, present = [residuals(3, "one")], [torch.ones(300, dtype=torch.bool)]
    whole, banded = ResidualField([3], GRID), BandedField([[7, 7, 7]], GRID)
    for field in (whole, banded):
        fit(field, [(images, present)], torch.tensor([0.1, 0.2, 0.3]))
    for cells in (False, True):
        image = noisy(3, "state", levels(cells=cells))
        (found,), (expected,) = banded([image]), whole([image])
        torch.testing.assert_close(found.x0_hat, expected.x0_hat, rtol=0, atol=2e-4)
        informative = image.noise.expand_as(image.x) > 0
        torch.testing.assert_close(found.noise_hat[informative], expected.noise_hat[informative], rtol=0, atol=2e-4)


@pytest.mark.parametrize("cells", [False, True], ids=["rows", "cells"])
def test_bands_are_solved_apart(cells):
    """Each as the field of its channels in both images; a band of one image as that image's alone."""
    bands = [[0, 1, 0, 1], [1, 2, 0]]
    images, present = [residuals(4, "first"), residuals(3, "second")], [torch.ones(300, dtype=torch.bool)] * 2
    white = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    field = BandedField(bands, GRID)
    fit(field, iter([(images, present)]), white)
    states = [noisy(4, "a", levels(cells=cells)), noisy(3, "b", levels(cells=cells).flip(0))]
    found = field(states)
    for members in ({0: [0, 2], 1: [2]}, {0: [1, 3], 1: [0]}, {1: [1]}):
        own = ResidualField([len(channels) for channels in members.values()], GRID)
        variance = torch.cat([white.split([4, 3])[image][channels] for image, channels in members.items()])
        fit(own, [([images[i][:, c] for i, c in members.items()], [present[i] for i in members])], variance)
        parts = [
            Noisy(states[i].x[:, c], states[i].fitted[:, c], states[i].signal, states[i].noise)
            for i, c in members.items()
        ]
        for (i, channels), expected in zip(members.items(), own(parts), strict=True):
            torch.testing.assert_close(found[i].x0_hat[:, channels], expected.x0_hat, rtol=0, atol=1e-5)
            torch.testing.assert_close(found[i].noise_hat[:, channels], expected.noise_hat, rtol=0, atol=1e-5)


def test_rows_without_noise_or_without_signal_are_their_state_or_fit():
    field = BandedField([[0, 0, 1]], GRID)
    image = noisy(3, "state", levels(cells=False))
    (found,) = field([image])
    assert torch.equal(found.x0_hat[0], image.x[0]) and torch.equal(found.noise_hat[0], torch.zeros_like(image.x[0]))
    assert torch.equal(found.x0_hat[1], image.fitted[1]) and torch.equal(found.noise_hat[1], image.x[1])
    state = image.signal * found.x0_hat + image.noise * found.noise_hat
    torch.testing.assert_close(state, image.x, rtol=0, atol=1e-4)


def test_a_row_does_not_depend_on_the_other_rows():
    field, images = BandedField([[0, 1], [0, 1]], GRID), [residuals(2, "first"), residuals(2, "second")]
    fit(field, [(images, [torch.ones(300, dtype=torch.bool)] * 2)])
    states = [noisy(2, "a", levels(cells=False)), noisy(2, "b", levels(cells=True))]
    together = field(states)
    for row in range(ROWS):
        alone = field([Noisy(*(part[row : row + 1] for part in state)) for state in states])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one.x0_hat[0], all_.x0_hat[row], rtol=0, atol=1e-5)


def test_it_is_made_on_the_meta_device():
    with torch.device("meta"):
        field = BandedField([[0, 0, 1], [1]], GRID)
    assert len(field.fields) == 2
    assert {buffer.device.type for buffer in field.buffers()} == {"meta"}
