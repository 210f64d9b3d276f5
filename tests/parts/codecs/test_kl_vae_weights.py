"""Weights from files: own codecs, published layouts written here with random numbers, and everything that is refused."""

import pickle

import pytest
import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.networks.nets import AutoencoderKL
from safetensors.torch import save_file

from metavoxel.errors import RunError
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.codecs.kl_vae_weights import layout_of, monai_name, published_settings, read_weights
from metavoxel.rng import Rng

SHAPE = (1, 16, 12, 8)
COMMON = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3, "norm_num_groups": 4,
          "attention_levels": (False, False, False), "with_encoder_nonlocal_attn": False,
          "with_decoder_nonlocal_attn": False}  # fmt: skip
PUBLISHED = {
    "downsampling": 4, "latent_channels": 3, "channels": (8, 8, 16), "residual_blocks": 2, "linear_path": False,
    "norm_groups": 4,
}  # fmt: skip


def randomised(network):
    """Random weights everywhere: MONAI's start has biases of 0 and norms of 1, which no test would miss."""
    for name, parameter in network.named_parameters():
        with torch.no_grad():
            parameter.add_(0.05 * Rng.for_rows(len(parameter), name).normal(tuple(parameter.shape)).to(parameter))
    return network.eval()


def monai():
    return randomised(AutoencoderKL(channels=(8, 8, 16), num_res_blocks=2, **COMMON))


def maisi():
    return randomised(
        AutoencoderKlMaisi(num_channels=(8, 8, 16), num_res_blocks=(2, 2, 2), num_splits=1, save_mem=False, **COMMON)
    )


def generative(state):
    """The names of MONAI Generative, which calls the convolution after an upsampling ``conv``."""
    return {name.replace(".postconv.", ".conv."): value for name, value in state.items()}


FILES = {
    "monai.safetensors": (monai, dict, "nearest"),
    "monai.pt": (monai, dict, "nearest"),
    "brlp.pth": (monai, generative, "nearest"),
    "pinaya.safetensors": (monai, generative, "nearest"),
    "maisi.pt": (maisi, lambda state: {"epoch": 273, "unet_state_dict": state}, "linear"),
    "parallel.pt": (maisi, lambda state: {f"module.{name}": value for name, value in state.items()}, "linear"),
}


def written(folder, name):
    build, rename, upsampling = FILES[name]
    network, path = build(), folder / name
    state = rename({key: value.contiguous() for key, value in network.state_dict().items()})
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return network, path, KLVAESpec(weights=path, upsampling=upsampling, **PUBLISHED)


def images(rows=4, shape=SHAPE):
    return Rng.for_rows(rows, "images").uniform((rows, *shape))


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_gives_the_codes_and_images_of_its_network(tmp_path, name):
    network, _, spec = written(tmp_path, name)
    codec, values = spec.build(SHAPE).eval(), images()
    assert codec.training_plan is None
    with torch.no_grad():
        mean, sd = network.encode(values)
        torch.testing.assert_close(codec.encode(values), (mean, sd))
        torch.testing.assert_close(codec.decode(mean), network.decode(mean))
        codec.fit(lambda: values.split(2))
        encoded = codec.encode(values)
        torch.testing.assert_close(codec.decode(encoded.mean), network.decode(mean), atol=1e-4, rtol=1e-4)
    variance = (encoded.mean.square() + encoded.sd.square()).mean((0, 2, 3, 4))
    torch.testing.assert_close(variance, torch.ones(3), atol=1e-4, rtol=0)


def test_maisi_interpolates_linearly(tmp_path):
    """With the same tensors, nearest-neighbour interpolation would give other images without an error."""
    network, path, spec = written(tmp_path, "maisi.pt")
    with pytest.raises(RunError, match="upsampling: linear"):
        spec.model_copy(update={"upsampling": "nearest"}).build(SHAPE)
    state = {monai_name(name, "maisi"): value for name, value in network.state_dict().items()}
    other = AutoencoderKL(channels=(8, 8, 16), num_res_blocks=2, **COMMON).eval()
    other.load_state_dict(state)
    with torch.no_grad():
        code = network.encode(images())[0]
        assert (other.decode(code) - network.decode(code)).abs().max() > 0.01


@pytest.mark.parametrize("name", FILES)
def test_settings_are_derived_from_the_file(tmp_path, name):
    _, path, spec = written(tmp_path, name)
    weights = read_weights(path)
    found = published_settings(weights, layout_of(weights))
    assert found._asdict() == {**PUBLISHED, "upsampling": spec.upsampling, "norm_groups": 32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": (8, 8, 8)}, r"\[16, 8, 3, 3, 3\] instead of \[8, 8, 3, 3, 3\].* needs codec: \{.*channels: \[8, 8, 16\]"),
        ({"residual_blocks": 1}, r"has unexpected .* residual_blocks: 2"),
        ({"latent_channels": 4}, r"quant_conv_mu.conv.weight \[3, 3, 1, 1, 1\] instead of \[4, 4, 1, 1, 1\]"),
        ({"linear_path": True}, "linear_path: false"),
        ({"norm_groups": 0}, r"groups of its normalisation are not recorded .* set 'norm_groups: 32'"),
    ],
)  # fmt: skip
def test_another_architecture_is_refused_with_the_settings_that_fit(tmp_path, change, message):
    _, path, spec = written(tmp_path, "brlp.pth")
    with pytest.raises(RunError, match=message):
        spec.model_copy(update=change).build(SHAPE)


def test_weights_of_another_network_are_refused_by_name_and_shape(tmp_path):
    save_file(torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3)).state_dict(), tmp_path / "other.safetensors")
    spec = KLVAESpec(weights=tmp_path / "other.safetensors", **PUBLISHED)
    with pytest.raises(RunError, match=r"no known layout.*lacks encoder.blocks.0.conv.weight \[8, 1, 3, 3, 3\].* and \d+ more"
                                       r".*unexpected .*0.weight \[2, 1, 3, 3, 3\]"):  # fmt: skip
        spec.build(SHAPE)


def fitted(spec, values):
    codec = spec.build(tuple(values.shape[1:]))
    codec.prepare(lambda: [values])
    codec.eval().fit(lambda: [values])
    return codec


TINY = KLVAESpec(channels=(8, 8, 8), latent_channels=3)


def test_a_run_s_codec_is_loaded_and_kept(tmp_path):
    values, path = images(), tmp_path / "codec.safetensors"
    codec = fitted(TINY, values)
    save_file({name: tensor.contiguous() for name, tensor in codec.state_dict().items()}, path)
    loaded = TINY.model_copy(update={"weights": path}).build(SHAPE).eval()
    loaded.fit(lambda: [values + 1])
    assert loaded.training_plan is None and codec.training_plan is not None
    assert torch.equal(loaded.encode(values).mean, codec.encode(values).mean)


def test_missing_and_incompatible_own_weights_are_errors(tmp_path):
    path = tmp_path / "codec.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in fitted(TINY, images()).state_dict().items()}, path)
    with pytest.raises(RunError, match=r"no file .*none\.safetensors"):
        TINY.model_copy(update={"weights": tmp_path / "none.safetensors"}).build(SHAPE)
    wider = KLVAESpec(channels=(8, 8, 16), latent_channels=3, weights=path)
    with pytest.raises(
        RunError, match=r"codec\.safetensors: do not fit .*\[8, 8, 3, 3, 3\] instead of \[16, 8, 3, 3, 3\]"
    ):
        wider.build(SHAPE)
    with pytest.raises(RunError, match=r"mean_image \[1, 16, 12, 8\] instead of \[1, 32, 24, 16\]"):
        TINY.model_copy(update={"weights": path}).build((1, 32, 24, 16))


class Trap:
    """Object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("write", [lambda trap, path: path.write_bytes(pickle.dumps(trap)),
                                   lambda trap, path: torch.save({"weights": trap}, path)])  # fmt: skip
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_pickles_that_would_execute_are_refused(tmp_path, write, suffix):
    path, sprung = tmp_path / f"codec{suffix}", tmp_path / "sprung"
    write(Trap(str(sprung)), path)
    with pytest.raises(RunError, match="not a file of tensors alone.*reading it could execute code; refused"):
        TINY.model_copy(update={"weights": path}).build(SHAPE)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"\x10\x00\x00\x00\x00\x00\x00\x00{broken", b"PK\x03\x04 broken"]
)
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "codec.pt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"codec\.pt: not a (whole safetensors or torch file|file of tensors alone)"):
        read_weights(path)


@pytest.mark.parametrize("value", [{}, {"a": 1}, [torch.zeros(2)], {"state_dict": {}}])
def test_files_without_a_state_dictionary_are_refused(tmp_path, value):
    path = tmp_path / "codec.pt"
    torch.save(value, path)
    with pytest.raises(RunError, match="no state dictionary"):
        read_weights(path)
