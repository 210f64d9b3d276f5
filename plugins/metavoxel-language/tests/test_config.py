"""Architectures in both formats of transformers, and what is refused."""

import json
import math

import pytest
import torch
from metavoxel_language.config import LlamaConfig, Rope
from pydantic import ValidationError

SIZES = {
    "model_type": "llama",
    "vocab_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}


def read(**settings):
    return LlamaConfig.model_validate(json.loads(json.dumps({**SIZES, **settings})))


def test_defaults_are_those_of_llama():
    config = read()
    assert (config.num_key_value_heads, config.head_dim) == (4, 4)
    assert config.rope == Rope(rope_theta=10_000.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"rope_theta": 1e5},
        {"rope_theta": 1e5, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 1e5, "rope_type": "default"}},
    ],
)
def test_rotary_positions_of_both_formats(settings):
    assert read(**settings).rope == Rope(rope_theta=1e5)


@pytest.mark.parametrize("name", ["type", "rope_type"])
def test_scaled_rotary_positions(name):
    scaling = {name: "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope = read(rope_scaling={**scaling, "original_max_position_embeddings": 64}).rope
    usual, scaled = Rope().frequencies(64), rope.frequencies(64)
    waves = math.tau / usual
    assert torch.equal(scaled[waves < 64 / 4], usual[waves < 64 / 4])
    torch.testing.assert_close(scaled[waves > 64], usual[waves > 64] / 8)
    between = (waves > 64 / 4) & (waves < 64)
    assert between.any() and (scaled <= usual)[between].all() and (scaled >= usual / 8)[between].all()


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"quantization_config": {"bits": 4}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4}},
        {"num_key_value_heads": 3},
        {"head_dim": 5},
        {"bos_token_id": 12},
        {"hidden_size": 0},
        {"hidden_size": "wide"},
    ],
    ids=str,
)
def test_other_architectures_are_refused(settings):
    with pytest.raises(ValidationError):
        read(**settings)
