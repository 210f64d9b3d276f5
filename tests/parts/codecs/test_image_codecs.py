"""Codecs of images: shapes and scale, partial encoding, and weights from a file."""

import pytest
import torch
from safetensors.torch import save_file

from metavoxel.parts.codecs.block_components import fit_block_components
from metavoxel.parts.codecs.blocks import from_blocks, to_blocks
from metavoxel.parts.codecs.identity import IdentitySpec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.kl_vae_network import INITIAL_SD
from metavoxel.rng import Rng

TINY = KLVAESpec(downsampling=4, channels=(8, 8, 8), latent_channels=3, batch_size=2, steps=3)
SHAPES = {"volume": (1, 16, 12, 8), "picture": (1, 16, 24)}


def images(shape, rows=6):
    rng = Rng.for_rows(rows, "images")
    base = torch.linspace(0, 1, shape[-1]).expand(shape)
    return (base + 0.3 * rng.normal((rows, 1, *[1] * (len(shape) - 1))) + 0.2 * rng.normal((rows, *shape))).float()


def batches(values):
    return lambda: values.split(2)


@pytest.fixture(scope="module", params=SHAPES)
def fitted(request):
    torch.manual_seed(0)
    values = images(SHAPES[request.param])
    codec = TINY.build(SHAPES[request.param])
    codec.prepare(batches(values))
    codec.eval().fit(batches(values))
    return codec, values


def test_latent_shape_is_the_image_shape_over_downsampling(fitted):
    codec, values = fitted
    assert codec.code_shape == (3, *(size // 4 for size in values.shape[2:]))
    encoded = codec.encode(values)
    assert encoded.mean.shape == encoded.sd.shape == (len(values), *codec.code_shape)
    assert (encoded.sd > 0).all()
    assert codec.decode(encoded.mean).shape == values.shape


def test_codes_have_mean_0_and_variance_1_in_every_channel(fitted):
    """Over the whole training set, including the posterior variance."""
    codec, values = fitted
    encoded = codec.encode(values)
    axes = (0, *range(2, encoded.mean.ndim))
    torch.testing.assert_close(encoded.mean.mean(axes), torch.zeros(3), atol=1e-5, rtol=0)
    variance = (encoded.mean.square() + encoded.sd.square()).mean(axes)
    torch.testing.assert_close(variance, torch.ones(3), atol=1e-4, rtol=0)


def test_the_training_mean_is_subtracted(fitted):
    codec, values = fitted
    torch.testing.assert_close(codec.mean_image, values.mean(0))
    spread = (values - values.mean(0)).square().mean().sqrt()
    torch.testing.assert_close(codec.contrast, spread)


def test_losses_are_means(fitted):
    """Hence their relative weights do not depend on the size of the image or latent grid."""
    codec, values = fitted
    terms = codec.losses(values[:2], rng=Rng.for_rows(2, "losses"))
    assert set(terms) == {"l1", "kl"}
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    mean, sd = codec.autoencoder.encode((values[:2] - codec.mean_image) / codec.contrast)
    kl = (0.5 * (mean**2 + sd**2 - torch.log(sd**2) - 1)).mean()
    torch.testing.assert_close(terms["kl"], TINY.kl_weight * kl)


def test_the_squared_error_is_an_option():
    values = images((2, 8, 8))
    codec = KLVAESpec(**TINY.model_dump(exclude={"error"}), error="squared").build((2, 8, 8))
    codec.prepare(batches(values))
    image = (values - codec.mean_image) / codec.contrast
    mean, sd = codec.autoencoder.encode(image)
    drawn = mean + sd * Rng.for_rows(6, "squared").normal(tuple(mean.shape))
    terms = codec.losses(values, rng=Rng.for_rows(6, "squared"))
    assert set(terms) == {"l2", "kl"}
    torch.testing.assert_close(terms["l2"], (codec.autoencoder.decode(drawn) - image).square().mean())
    assert codec.decode(codec.encode(values).mean).shape == values.shape


def test_only_cells_away_from_unknown_voxels_are_reliable(fitted):
    codec, values = fitted
    known = torch.ones_like(values, dtype=torch.bool)
    known[:, :, -1] = False  # the last plane of voxels of the first axis
    encoded, reliable = codec.encode_partial(values, known)
    cells = codec.code_shape[1]
    # The last row of cells contains unknown voxels, and the one before is adjacent to it.
    expected = torch.arange(cells) < cells - 2
    along = reliable[0, 0].reshape(cells, -1)
    assert torch.equal(along, expected[:, None].expand_as(along))
    assert reliable.shape == (len(values), 1, *codec.code_shape[1:])
    assert torch.isfinite(encoded.mean).all()


@pytest.mark.parametrize("hidden", [float("nan"), 1e30])
def test_unknown_voxels_have_no_influence(fitted, hidden):
    codec, values = fitted
    known = torch.zeros_like(values, dtype=torch.bool)
    known[:, :, : values.shape[2] // 2] = True
    expected, reliable = codec.encode_partial(values, known)
    filled, same = codec.encode_partial(torch.where(known, values, hidden), known)
    assert torch.equal(expected.mean, filled.mean) and torch.equal(reliable, same)


def test_complete_data_are_reliable_everywhere(fitted):
    codec, values = fitted
    encoded, reliable = codec.encode_partial(values, torch.ones_like(values, dtype=torch.bool))
    assert reliable.all() and torch.equal(encoded.mean, codec.encode(values).mean)


def test_weights_are_loaded_from_a_file(fitted, tmp_path):
    codec, values = fitted
    file = tmp_path / "codec.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in codec.state_dict().items()}, file)
    loaded = TINY.model_copy(update={"weights": file}).build(tuple(values.shape[1:])).eval()
    assert loaded.training_plan is None and codec.training_plan is not None
    assert torch.equal(loaded.encode(values).mean, codec.encode(values).mean)


@pytest.mark.parametrize(
    ("downsampling", "channels", "block"),
    [(2, (64,), 2), (4, (64,), 4), (8, (64, 128), 4), (16, (64, 128, 128), 4)],
)
def test_levels_and_their_default_widths(downsampling, channels, block):
    spec = KLVAESpec(downsampling=downsampling)
    assert (spec.channels, spec.block) == (channels, block)


@pytest.mark.parametrize(("channels", "block"), [((8,), 4), ((8, 8), 2), ((8, 8, 8), 1)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_step_0_is_the_closed_form_linear_code(shape, channels, block):
    values = images(shape)
    spec = KLVAESpec(channels=channels, latent_channels=3)
    assert spec.block == block
    codec = spec.build(shape).eval()
    codec.prepare(batches(values))
    blocks = to_blocks((values - codec.mean_image) / codec.contrast, 4).flatten(1, 2)
    components = fit_block_components([blocks], 3)
    mean, sd = codec.autoencoder.encode((values - codec.mean_image) / codec.contrast)
    torch.testing.assert_close(mean, components.encode(blocks), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sd, torch.full_like(sd, INITIAL_SD))
    alone = from_blocks(components.decode(components.encode(blocks)).unflatten(1, (shape[0], -1)), 4)
    error = (codec.decode(codec.encode(values).mean) - values).square().mean()
    assert error <= (alone * codec.contrast + codec.mean_image - values).square().mean()


def test_training_improves_on_the_linear_code():
    torch.manual_seed(0)
    values = images((1, 16, 16), rows=8).sigmoid()
    codec = KLVAESpec(channels=(16,), latent_channels=2, error="squared", kl_weight=0).build((1, 16, 16))
    codec.prepare(batches(values))
    optimiser = torch.optim.Adam(codec.parameters(), 3e-3)
    errors = []
    for step in range(60):
        (loss := codec.losses(values, rng=Rng.for_rows(8, "step", step))["l2"]).backward()
        optimiser.step()
        optimiser.zero_grad()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.8 * errors[0]


def test_more_channels_than_a_block_has_voxels_start_as_lossless():
    values = images((1, 8, 8))
    codec = KLVAESpec(downsampling=2, latent_channels=6).build((1, 8, 8)).eval()
    codec.prepare(batches(values))
    torch.testing.assert_close(codec.decode(codec.encode(values).mean), values, atol=1e-3, rtol=1e-3)


def test_cells_normalised_over_their_channels_do_not_depend_on_distant_voxels():
    """One residual block of the encoder reaches 4 cells, and its linear path 1."""
    spec = KLVAESpec(channels=(8,), latent_channels=2, residual_blocks=1)
    values = images((1, 48, 16), rows=2)
    codec = spec.build((1, 48, 16)).eval()
    changed = values.clone()
    changed[:, :, -4:] += 1
    same = (codec.encode(values).mean == codec.encode(changed).mean).all(1).all(2).all(0)
    assert same.tolist() == [True] * (12 - 5) + [False] * 5


def test_other_levels_are_refused():
    with pytest.raises(ValueError, match="downsampling 4 has 1 to 3 levels of channels, not 4"):
        KLVAESpec(channels=(8, 8, 8, 8))
    with pytest.raises(ValueError, match=r"norm_groups 3 must divide all channels, \[8\]"):
        KLVAESpec(channels=(8,), norm_groups=3)


def test_the_plan_and_the_grid():
    assert KLVAESpec(downsampling=8).grid_multiple() == 8
    assert TINY.build(SHAPES["picture"]).training_plan == (3, 2, 1e-3)


@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 3, 4, 5)])
def test_identity_is_standardised_and_invertible(shape):
    values = 100 + 30 * images(shape)
    codec = IdentitySpec().build(shape)
    codec.fit(batches(values))
    codes = codec.encode(values).mean
    assert codec.code_shape == shape and codec.encode(values).sd is None
    torch.testing.assert_close(codes.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes.std(unbiased=False), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(codec.decode(codes), values)


def test_identity_cells_are_reliable_if_all_channels_are_known():
    values = images((2, 3, 4))
    codec = IdentitySpec().build((2, 3, 4))
    codec.fit(batches(values))
    known = torch.ones_like(values, dtype=torch.bool)
    known[:, 0, 0] = False
    known[:, :, 1] = False
    encoded, reliable = codec.encode_partial(torch.where(known, values, float("nan")), known)
    assert reliable.shape == (len(values), 1, 3, 4)
    assert torch.equal(reliable[0, 0].all(1), torch.tensor([False, False, True]))
    assert torch.equal(encoded.mean[:, :, 2], codec.encode(values).mean[:, :, 2])
    assert torch.isfinite(encoded.mean).all()
