"""Conversion of GGUF files: a small model whose rotated channels are side by side, and files that cannot be converted."""

import sys

import pytest
import torch
from metavoxel_language import convert
from metavoxel_language.example import write_example
from metavoxel_language.folder import WEIGHTS, ModelFolder
from safetensors.torch import load_file


def side_by_side(weight, heads):
    """Return the rows of each head with the channels of a rotated pair side by side, as GGUF has them."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def written(path, architecture="llama", extra=()):
    """Write the example as GGUF."""
    gguf = pytest.importorskip("gguf")
    write_example(path.parent / "example")
    config = ModelFolder(path.parent / "example").config()
    names = {theirs: ours for ours, theirs in {**convert._NAMES, **convert._OTHERS}.items()}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope.rope_theta)
    writer.add_context_length(64)
    writer.add_token_list([str(piece) for piece in range(config.vocab_size)])
    writer.add_bos_token_id(config.bos_token_id)
    for name, tensor in load_file(path.parent / "example" / WEIGHTS).items():
        bare = name.removesuffix(".weight")
        if "q_proj" in name or "k_proj" in name:
            tensor = side_by_side(tensor, config.num_attention_heads if "q_" in name else config.num_key_value_heads)
        if bare.startswith("model.layers."):
            layer, part = bare.removeprefix("model.layers.").split(".", 1)
            writer.add_tensor(f"blk.{layer}.{names[part]}.weight", tensor.contiguous().numpy())
        else:
            writer.add_tensor(f"{names[bare]}.weight", tensor.numpy())
    for name in extra:
        writer.add_tensor(name, torch.ones(4).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
    return convert.main()


def test_a_model_is_converted_exactly(tmp_path, monkeypatch):
    assert run(monkeypatch, written(tmp_path / "model.gguf"), tmp_path / "folder") == 0
    whole, found = (load_file(tmp_path / name / WEIGHTS) for name in ("example", "folder"))
    assert set(whole) == set(found) and all(torch.equal(whole[name], found[name]) for name in whole)
    first, second = (ModelFolder(tmp_path / name) for name in ("example", "folder"))
    assert not list(second.problems(None))
    assert second.config().model_dump(exclude={"rms_norm_eps"}) == first.config().model_dump(exclude={"rms_norm_eps"})
    assert second.config().rms_norm_eps == pytest.approx(first.config().rms_norm_eps)


def test_files_that_cannot_be_converted(tmp_path, monkeypatch, capsys):
    (tmp_path / "text.gguf").write_text("no model")
    whole = written(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    for file, expected in (
        (tmp_path / "absent.gguf", "absent.gguf: cannot be converted"),
        (tmp_path / "text.gguf", "text.gguf: cannot be converted"),
        (tmp_path / "cut.gguf", "cut.gguf: cannot be converted"),
        (written(tmp_path / "other.gguf", "gpt2"), "of architecture 'gpt2', not 'llama'"),
        (written(tmp_path / "scaled.gguf", extra=["rope_freqs.weight"]), "the tensor rope_freqs.weight"),
    ):
        assert run(monkeypatch, file, tmp_path / "folder") == 2
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_the_package_is_named_where_it_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert run(monkeypatch, tmp_path / "model.gguf", tmp_path / "folder") == 2
    assert "pip install 'metavoxel-language[gguf]'" in capsys.readouterr().err
