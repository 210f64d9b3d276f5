"""The residual field against its dense Gaussian distribution over all cells."""

import itertools
import math

import pytest
import torch

from metavoxel.network.residual_field import PADDING, REACH, Noisy, ResidualField
from metavoxel.rng import Rng

ROWS = 4


def normal(*shape, key="field"):
    return Rng.for_rows(shape[0], key, *shape).normal(shape)


def smooth(maps):
    """Add to each cell half of the preceding one along every axis, cyclically."""
    for axis in range(2, maps.ndim):
        maps = maps + 0.5 * maps.roll(1, axis)
    return maps


def residuals(channels, grid, rows=400):
    """Return images with correlated neighbouring cells and correlated channels, within and between images."""
    cause = smooth(normal(rows, 1, *grid, key="cause"))
    return [
        smooth(normal(rows, width, *grid, key=f"own {place}")) + cause.roll(place, -1)
        for place, width in enumerate(channels)
    ]


def fit(field, batches, uncertainty=None):
    started = field.begin_fit()
    for images, present in batches:
        started.add(images, present)
    started.finish(uncertainty)


def fitted(channels, grid):
    field, images = ResidualField(channels, grid), residuals(channels, grid)
    present = [torch.ones(len(images[0]), dtype=torch.bool)] * len(images)
    fit(field, [(images, present)])
    return field


def dense(field, grid):
    """Return the covariance matrix of all channels and cells of the padded grid, from the spectrum."""
    padded = [size + PADDING for size in grid]
    vectors = torch.view_as_complex(field.vectors).to(torch.complex128)
    spectrum = (vectors * field.values.double()[:, None]) @ vectors.mH
    half = (*padded[:-1], padded[-1] // 2 + 1)
    maps = spectrum.permute(1, 2, 0).reshape(*spectrum.shape[1:], *half)
    offsets = torch.fft.irfftn(maps, s=padded, dim=tuple(range(2, maps.ndim)))
    cells = list(itertools.product(*(range(size) for size in padded)))
    total = spectrum.shape[1]
    found = torch.zeros(total * len(cells), total * len(cells), dtype=torch.float64)
    for row, first in enumerate(cells):
        for column, second in enumerate(cells):
            place = tuple((a - b) % size for a, b, size in zip(first, second, padded, strict=True))
            found[row * total : (row + 1) * total, column * total : (column + 1) * total] = offsets[(..., *place)]
    return found, cells


def posterior(covariance, signal, misfit, seen):
    """Return the dense posterior mean of the field (n,) given the cells that are seen."""
    noise = torch.diag(1 - signal[seen].square())
    observed = signal[seen][:, None] * covariance[seen][:, seen] * signal[seen] + noise
    return covariance[:, seen] * signal[seen] @ torch.linalg.solve(observed, misfit[seen])


@pytest.mark.parametrize(("channels", "grid"), [((2,), (7,)), ((1,), (3, 4)), ((2,), (2, 2, 2))], ids=str)
def test_one_image_is_filtered_exactly(channels, grid):
    """As from the dense covariance of all cells, with padding cells observed at the mean."""
    field, alpha_bar = fitted(channels, grid), torch.tensor([0.9, 0.5, 0.1, 0.999])
    covariance, cells = dense(field, grid)
    scales = (scale.sqrt().reshape(-1, 1, *[1] * len(grid)) for scale in (alpha_bar, 1 - alpha_bar))
    image = Noisy(normal(ROWS, *channels, *grid, key="x"), normal(ROWS, *channels, *grid, key="fit"), *scales)
    (estimate,) = field([image])
    inside = [all(a < size for a, size in zip(cell, grid, strict=True)) for cell in cells]
    for row in range(ROWS):
        misfit = torch.zeros(len(cells), *channels, dtype=torch.float64)
        misfit[inside] = (image.x[row] - image.signal[row] * image.fitted[row]).flatten(1).T.double()
        signal = image.signal[row].flatten().double().expand(misfit.numel())
        exact = posterior(covariance, signal, misfit.flatten(), torch.ones(misfit.numel(), dtype=torch.bool))
        exact = exact.reshape(len(cells), -1)[inside].T.reshape(-1, *grid)
        torch.testing.assert_close((estimate.x0_hat - image.fitted)[row].double(), exact, rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    ("channels", "grid"), [((2,), (7,)), ((1,), (3, 4)), ((2, 1), (3, 2)), ((1, 1), (2, 2, 2))], ids=str
)
def test_any_noise_of_any_cell_is_solved_approximately(channels, grid):
    """As from the dense covariance of the image's cells; conjugate gradients are stopped early."""
    field = fitted(channels, grid)
    covariance, cells = dense(field, grid)
    images = []
    for place, width in enumerate(channels):
        alpha_bar = torch.sigmoid(3 * normal(ROWS, 1, *grid, key=f"noise {place}"))
        alpha_bar[0], alpha_bar[1, :, :1] = 1.0, 0.0
        x, fitted_ = (normal(ROWS, width, *grid, key=f"{what} {place}") for what in ("x", "fit"))
        images.append(Noisy(x, fitted_, alpha_bar.sqrt(), (1 - alpha_bar).sqrt()))
    estimates = field(images)
    inside = torch.tensor([all(a < size for a, size in zip(cell, grid, strict=True)) for cell in cells])
    seen = inside[:, None].expand(-1, sum(channels)).flatten()
    for row in range(ROWS):
        every = torch.ones(len(cells), sum(channels), dtype=torch.float64)
        signal, misfit = every.clone(), every * 0
        wide = [image.signal[row].expand(width, *grid) for image, width in zip(images, channels, strict=True)]
        signal[inside] = torch.cat(wide).flatten(1).T.double()
        deviation = torch.cat([image.x[row] - image.signal[row] * image.fitted[row] for image in images])
        misfit[inside] = deviation.flatten(1).T.double()
        exact = posterior(covariance, signal.flatten(), misfit.flatten(), seen).reshape(len(cells), -1)[inside]
        exact = exact.T.reshape(-1, *grid)
        pairs = zip(estimates, images, strict=True)
        found = torch.cat([estimate.x0_hat[row] - image.fitted[row] for estimate, image in pairs])
        error = (found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(0.1)
        assert error < 0.03


def test_estimates_of_data_and_noise_add_up_to_the_state():
    grid, alpha_bar = (4, 5), torch.tensor([1.0, 0.6, 0.0, 0.2]).reshape(-1, 1, 1, 1)
    image = Noisy(normal(ROWS, 2, *grid), normal(ROWS, 2, *grid), alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
    (estimate,) = fitted((2,), grid)([image])
    state = image.signal * estimate.x0_hat + image.noise * estimate.noise_hat
    torch.testing.assert_close(state, image.x, rtol=0, atol=1e-3)
    torch.testing.assert_close(estimate.x0_hat[0], image.x[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(estimate.x0_hat[2], image.fitted[2])


@pytest.mark.parametrize("channels", [(2,), (2, 1)], ids=str)
def test_a_row_does_not_depend_on_the_other_rows(channels):
    """Also where some images are partly known."""
    grid, field = (4, 5), fitted(channels, (4, 5))
    alpha_bar = torch.full((ROWS, 1, *grid), 0.4)
    alpha_bar[1, :, :2], alpha_bar[2] = 1.0, 0.7
    images = [
        Noisy(normal(ROWS, w, *grid), normal(ROWS, w, *grid), alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
        for w in channels
    ]
    together = field(images)
    for row in range(ROWS):
        alone = field([Noisy(*(part[row : row + 1] for part in image)) for image in images])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one.x0_hat[0], all_.x0_hat[row], rtol=0, atol=1e-5)


def test_covariances_are_those_of_the_cells():
    """At offset 1, reduced by the window and by the pairs that the image's end truncates."""
    rows, size = 4000, 8
    image = smooth(normal(rows, 1, size))
    field = ResidualField((1,), (size,))
    fit(field, [([image], [torch.ones(rows, dtype=torch.bool)])])
    covariance, _ = dense(field, (size,))
    error = 1.25 * math.sqrt(3 / (rows * size))  # of a variance of 1.25, from cells that are correlated with two others
    assert abs(float(field.variances) - 1.25) < 4 * error
    assert abs(float(covariance[0, 0]) - 1.25) < 4 * error
    assert abs(float(covariance[0, 1]) - 0.5 * (1 - 1 / REACH) * (1 - 1 / size)) < 4 * error
    assert abs(float(covariance[0, 2])) < 4 * error


def test_the_codecs_uncertainty_is_added_as_white_noise():
    rows, plain, drawn = torch.ones(200, dtype=torch.bool), ResidualField((2,), (5,)), ResidualField((2,), (5,))
    batch = ([normal(200, 2, 5)], [rows])
    fit(plain, [batch])
    fit(drawn, [batch], torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(drawn.variances - plain.variances, torch.tensor([0.5, 2.0]))
    added = dense(drawn, (5,))[0] - dense(plain, (5,))[0]
    torch.testing.assert_close(
        added, torch.diag(torch.tensor([0.5, 2.0]).repeat(5 + PADDING)).double(), atol=1e-4, rtol=0
    )


def test_one_contrast_predicts_another_at_the_same_place():
    grid, rows = (6, 6), 300
    first = smooth(normal(rows, 1, *grid))
    second = first.roll(1, -1) + 0.1 * normal(rows, 1, *grid, key="own")
    field = ResidualField((1, 1), grid)
    present = torch.ones(rows, dtype=torch.bool)
    fit(field, [([first, second], [present] * 2)])
    known, unknown = torch.ones(rows, 1, 1, 1), torch.zeros(rows, 1, 1, 1)
    nothing = torch.zeros_like(first)
    images = [Noisy(first, nothing, known, unknown), Noisy(normal(rows, 1, *grid), nothing, unknown, known)]
    error = (field(images)[1].x0_hat - second)[..., 1:].square().mean() / second.square().mean()
    assert error < 0.35, "not even with the loss from the window and the image's ends"
    apart = ResidualField((1, 1), grid)
    half = torch.arange(rows) < rows // 2
    fit(apart, [([first, second], [half, ~half])])
    found = apart([Noisy(first, nothing, known, unknown), Noisy(second, nothing, unknown, known)])[1]
    assert float(found.x0_hat.abs().max()) < 1e-4, "no row has both, so their covariance is 0"


def test_an_image_in_no_row_changes_nothing():
    field = ResidualField((1, 1), (3, 3))
    before = {name: tensor.clone() for name, tensor in field.state_dict().items()}
    here, gone = torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    fit(
        field,
        [
            ([normal(5, 1, 3, 3), torch.full((5, 1, 3, 3), torch.nan)], [here, gone]),
            ([normal(0, 1, 3, 3)] * 2, [here[:0]] * 2),
        ],
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in field.state_dict().items())
