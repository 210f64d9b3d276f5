"""The backbone: what is trained and stored, its start, and weights that have changed."""

import pytest
import torch
from metavoxel_language import CausalLMSpec
from metavoxel_language.example import write_example
from metavoxel_language.folder import WEIGHTS, ModelFolder
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from metavoxel.errors import RunError
from metavoxel.parts.adapters.base import Streams

ENDS = {"begin", "in_proj", "out_proj", "time_token", "modulations"}


@pytest.fixture
def folder(tmp_path):
    write_example(tmp_path / "model")
    return tmp_path / "model"


def built(folder, **settings):
    torch.manual_seed(0)
    return CausalLMSpec(folder=folder, **{"width": 8, "rank": 2, **settings}).build({})


def inputs(rows=2, tokens=5):
    generator = torch.Generator().manual_seed(1)
    return Streams({}, torch.randn(rows, tokens, 8, generator=generator)), torch.randn(rows, 8, generator=generator)


@pytest.mark.parametrize(
    ("train", "within"),
    [("ends", set()), ("lora", {"lora"}), ("all", {"weight"})],
)
def test_what_is_trained_and_stored(folder, train, within):
    backbone = built(folder, train=train)
    names = {name for name, _ in backbone.named_parameters()}
    assert names == set(backbone.state_dict())
    assert {name.split(".")[0] for name in names} == ENDS | ({"decoder"} if within else set())
    inner = [name for name in names if name.startswith("decoder.")]
    assert all(within & set(name.split(".")) for name in inner)
    tensors = dict(backbone.named_parameters()) | dict(backbone.named_buffers())
    for name, tensor in load_file(folder / WEIGHTS).items():
        if "embed" not in name:
            assert torch.equal(tensors[f"decoder.{name.removeprefix('model.')}"], tensor)


def test_all_modes_start_as_the_pretrained_model(folder):
    outputs = []
    for train in ("ends", "lora", "all"):
        backbone = built(folder, train=train)
        for name, parameter in backbone.named_parameters():
            if not name.startswith("decoder."):
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
        outputs.append(backbone(*inputs()).tokens)
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(outputs[0], outputs[2])


def test_the_start_does_not_depend_on_the_time(folder):
    backbone = built(folder)
    streams, time = inputs()
    assert torch.equal(backbone(streams, time).tokens, backbone(streams, time.flip(1)).tokens)


def test_an_output_reads_the_position_before_and_its_own(folder):
    """The output for token i is linear in the hidden states of positions i - 1 and i; the first reads the begin."""
    backbone = built(folder)
    streams, time = inputs()
    seen = []
    handle = backbone.decoder.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        outputs = backbone(streams, time).tokens - streams.tokens
    handle.remove()
    own, before = backbone.out_proj.weight.split(16, 1)
    expected = seen[0][:, 1:] @ own.T + seen[0][:, :-1] @ before.T + backbone.out_proj.bias
    torch.testing.assert_close(outputs, expected)


def test_tokens_enter_in_the_scale_of_the_word_embeddings(folder):
    backbone = built(folder, width=64)
    table = load_file(folder / WEIGHTS)["model.embed_tokens.weight"]
    torch.testing.assert_close(backbone.begin.detach(), table[1])
    with torch.no_grad():
        found = backbone.in_proj(torch.randn(200, 64, generator=torch.Generator().manual_seed(0)))
    size = found.square().mean().sqrt()
    assert abs(float(size / table.square().mean().sqrt()) - 1) < 0.15


def test_the_first_layers_alone(folder):
    backbone = built(folder, layers=1)
    assert len(backbone.decoder.layers) == len(backbone.modulations) == 1
    assert backbone(*inputs()).tokens.shape == (2, 5, 8)


def test_the_digest_is_filled_in_and_checked(folder):
    spec = CausalLMSpec(folder=folder)
    assert spec.digest == ModelFolder(folder).digest()
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(RunError, match=rf"backbone\.digest: the content of .* has changed.*{spec.digest} is recorded"):
        spec.build({})
    with torch.device("meta"):
        spec.build({})  # of shapes alone
    again = CausalLMSpec.model_validate(spec.model_dump(mode="json"))
    assert again.digest == spec.digest, "a recorded digest is not replaced"


def test_a_folder_that_is_missing(tmp_path):
    spec = CausalLMSpec(folder=tmp_path / "absent")
    assert spec.digest == "" and ["no folder" in problem for problem in spec.problems({})] == [True]
    with pytest.raises(RunError, match="backbone: no folder"):
        spec.build({})


def test_images_on_grids_are_refused(folder):
    (problem,) = CausalLMSpec(folder=folder).problems({"image": ()})
    assert "adapter 'sequence'" in problem


@pytest.mark.parametrize("train", ["all", "lora", "ends"])
def test_half_precision(folder, train):
    backbone = built(folder, train=train)
    with torch.no_grad():
        whole = backbone(*inputs()).tokens
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(*inputs()).tokens
    assert float((half - whole).abs().max()) < 0.05 < float(whole.std())


def test_settings_without_a_folder():
    with pytest.raises(ValidationError, match="folder"):
        CausalLMSpec()


def test_nothing_is_read_on_the_meta_device(folder):
    with torch.device("meta"):
        backbone = CausalLMSpec(folder=folder, train="all").build({})
    assert all(tensor.is_meta for tensor in [*backbone.parameters(), *backbone.buffers()])


@pytest.mark.parametrize("train", ["lora", "ends"])
def test_fixed_weights_do_not_change_in_training(folder, train):
    backbone = built(folder, train=train)
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    optimiser = torch.optim.SGD(backbone.parameters(), 0.1)
    for _ in range(2):
        backbone(*inputs()).tokens.square().sum().backward()
        optimiser.step()
    assert all(torch.equal(before[name], buffer) for name, buffer in backbone.named_buffers())


def test_a_model_of_another_folder_has_other_outputs(folder, tmp_path):
    weights = load_file(folder / WEIGHTS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text((folder / "config.json").read_text())
    save_file({name: tensor + 0.1 for name, tensor in weights.items()}, tmp_path / "other" / WEIGHTS)
    first, second = (built(path) for path in (folder, tmp_path / "other"))
    assert not torch.allclose(first(*inputs()).tokens, second(*inputs()).tokens)
