"""Bad folders: each is a message that names the folder, the cause and the remedy."""

import json

import pytest
import torch
from metavoxel_language import CausalLMSpec
from metavoxel_language.example import write_example
from metavoxel_language.folder import CONFIG, INDEX, WEIGHTS, ModelFolder
from safetensors.torch import load_file, save_file

from metavoxel.errors import RunError


@pytest.fixture
def folder(tmp_path):
    write_example(tmp_path / "model")
    return tmp_path / "model"


def configured(folder, **settings):
    raw = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    raw = {name: value for name, value in {**raw, **settings}.items() if value != "absent"}
    (folder / CONFIG).write_text(json.dumps(raw), encoding="utf-8")


def changed(folder, **tensors):
    """Replace tensors, given without prefix and with _ for dots; None leaves one out."""
    weights = load_file(folder / WEIGHTS)
    for name in list(weights):
        if name.removeprefix("model.").replace(".", "_") in tensors:
            weights[name] = tensors[name.removeprefix("model.").replace(".", "_")]
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, folder / WEIGHTS)


def split(folder):
    """Write the weights as two files and an index."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    files = {name: f"model-{1 + index % 2}-of-2.safetensors" for index, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: weights[name] for name in names if files[name] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    (folder / WEIGHTS).unlink()
    return files


def problem(folder, layers=None):
    (found,) = ModelFolder(folder).problems(layers)
    assert str(folder) in found
    return found


def test_a_whole_folder_has_no_problem(folder):
    assert not list(ModelFolder(folder).problems(None)) and not list(ModelFolder(folder).problems(1))


def test_a_folder_that_is_missing(tmp_path):
    assert "no folder" in problem(tmp_path / "absent")
    assert ModelFolder(tmp_path / "absent").digest() is None


def test_a_file_instead_of_a_folder(folder):
    assert "is a file; give a folder" in problem(folder / WEIGHTS)
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert "convert it: python -m metavoxel_language.convert" in problem(folder / "model.gguf")


def test_a_folder_without_config(folder):
    (folder / CONFIG).unlink()
    assert "has no config.json" in problem(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '"llama"', "\x00"])
def test_a_config_that_is_none(folder, text):
    (folder / CONFIG).write_text(text, encoding="utf-8")
    assert CONFIG in problem(folder)


def test_a_config_that_is_no_text(folder):
    (folder / CONFIG).write_bytes(b"\xff\xfe\xff")
    assert "cannot be read" in problem(folder)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model_type": "gpt2"}, "of a model of type 'gpt2'; type 'llama' is read"),
        ({"model_type": "absent"}, "of a model of no type"),
        ({"hidden_size": "absent"}, "has no hidden_size"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"attention_bias": True}, "attention_bias is 'True'"),
        ({"quantization_config": {"bits": 4}}, "another architecture: quantization_config"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope.rope_type is 'yarn'"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads"),
        ({"intermediate_size": 32}, "mlp.gate_proj.weight has shape [24, 16], not [32, 16]"),
        ({"num_hidden_layers": 3}, "layers.2.input_layernorm.weight is missing"),
        ({"vocab_size": 13}, "embed_tokens.weight has shape [12, 16], not [13, 16]"),
    ],
    ids=str,
)
def test_another_architecture(folder, settings, expected):
    configured(folder, **settings)
    assert expected in problem(folder)


def test_a_model_of_another_type_is_one_problem(folder):
    (folder / CONFIG).write_text('{"model_type": "gpt2", "n_embd": 768}', encoding="utf-8")
    assert "type 'gpt2'" in problem(folder)


def test_layers_that_are_not_needed_may_be_absent(folder):
    configured(folder, num_hidden_layers=3)
    assert not list(ModelFolder(folder).problems(2))


def test_more_layers_than_there_are(folder):
    assert "layers 3 are more than the 2 of" in problem(folder, 3)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.pkl"])
def test_pickled_weights(folder, name):
    (folder / WEIGHTS).rename(folder / name)
    found = problem(folder)
    assert f"pickled weights alone ({name})" in found and "refused" in found and "save_pretrained" in found


def test_a_folder_without_weights(folder):
    (folder / WEIGHTS).unlink()
    assert "has no model.safetensors" in problem(folder)
    assert ModelFolder(folder).digest() is None


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_damaged_weights(folder, size):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:size])
    assert "is damaged" in problem(folder)


def test_a_pointer_instead_of_weights(folder):
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "pointer of Git LFS, not the file itself: git lfs pull" in problem(folder)


def test_weights_of_another_kind(folder):
    changed(folder, norm_weight=torch.ones(16, dtype=torch.int8))
    assert "norm.weight is I8" in problem(folder)
    changed(folder, norm_weight=None)
    assert "norm.weight is missing" in problem(folder)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(folder, bad):
    changed(folder, norm_weight=torch.full((16,), bad))
    with pytest.raises(RunError, match=r"backbone: norm\.weight of .* not finite; copy the folder again"):
        CausalLMSpec(folder=folder).build({})


def test_weights_in_several_files(folder):
    whole = CausalLMSpec(folder=folder).build({}).decoder.state_dict()
    files = split(folder)
    assert not list(ModelFolder(folder).problems(None))
    parts = CausalLMSpec(folder=folder).build({}).decoder.state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole if "lora" not in name)
    (folder / files["model.norm.weight"]).unlink()
    assert "which model.safetensors.index.json names, is missing" in problem(folder)


@pytest.mark.parametrize("file", ["../other.safetensors", "/tmp/other.safetensors", "model.bin", ""])
def test_an_index_that_names_another_folder(folder, file):
    split(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": file}}), encoding="utf-8")
    assert "no safetensors file of its folder" in problem(folder)
    assert ModelFolder(folder).digest() is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_is_none(folder, text):
    split(folder)
    (folder / INDEX).write_text(text, encoding="utf-8")
    assert "has no 'weight_map'" in problem(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_the_digest_is_of_the_content(folder, tmp_path, name):
    digest = ModelFolder(folder).digest()
    write_example(tmp_path / "copy")
    assert ModelFolder(tmp_path / "copy").digest() == digest
    (folder / "README.md").write_text("not of the model")
    assert ModelFolder(folder).digest() == digest
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    assert ModelFolder(folder).digest() not in (None, digest)
