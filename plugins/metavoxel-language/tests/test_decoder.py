"""The decoder against transformers under a causal mask, and against numbers that transformers has computed."""

import json

import pytest
import torch
from metavoxel_language.config import LlamaConfig
from metavoxel_language.decoder import MODULATIONS, Decoder, rotated
from metavoxel_language.example import write_example
from metavoxel_language.folder import CONFIG, ModelFolder

TOLERANCE = 1e-5
SCALED = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def decoder_of(folder, layers=None):
    """Return the decoder of a folder, without training."""
    model = ModelFolder(folder)
    config = model.config()
    decoder = Decoder(config, layers or config.num_hidden_layers, "ends", 1)
    own = dict(decoder.named_buffers())
    for name, tensor in model.read([name for name, _ in config.tensors(len(decoder.layers))]):
        own[name].copy_(tensor)
    return decoder


def unmodulated(decoder, width):
    return [torch.zeros(1, 1, MODULATIONS * width)] * len(decoder.layers)


def causal(decoder, hidden):
    count = hidden.shape[1]
    mask = torch.ones(count, count, dtype=torch.bool).tril()
    with torch.no_grad():
        return decoder(hidden, unmodulated(decoder, hidden.shape[2]), mask)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"head_dim": 6},
        {"rope_parameters": {"rope_theta": 50_000.0, **SCALED}},
        {"tie_word_embeddings": True},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
@pytest.mark.parametrize("head", [False, True], ids=["without-head", "with-head"])
def test_hidden_states_are_those_of_transformers(tmp_path, settings, head):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = {"num_key_value_heads": 2, **settings}
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, bos_token_id=1, **settings)
    model = (transformers.LlamaForCausalLM if head else transformers.LlamaModel)(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # as initialised, norms are 1 and attention is nearly uniform
            weight.add_(0.2 * torch.randn_like(weight))
    model.to(settings.get("dtype", torch.float32)).save_pretrained(tmp_path)
    model = type(model).from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert not list(ModelFolder(tmp_path).problems(None))
    tokens = torch.randint(50, (3, 40))
    with torch.no_grad():
        expected = (model.model if head else model)(tokens).last_hidden_state
    hidden = causal(decoder_of(tmp_path), (model.model if head else model).embed_tokens(tokens).detach())
    torch.testing.assert_close(hidden, expected, atol=TOLERANCE, rtol=TOLERANCE)
    if head:
        with torch.no_grad():
            torch.testing.assert_close(model.lm_head(hidden), model(tokens).logits, atol=1e-3, rtol=1e-3)


def test_known_hidden_states(tmp_path):
    """Numbers computed with transformers 5.24 on the example's weights."""
    write_example(tmp_path)
    hidden = torch.sin(torch.arange(1.0, 81.0)).reshape(1, 5, 16)
    found = causal(decoder_of(tmp_path), hidden)[0]
    expected = torch.tensor(KNOWN)
    torch.testing.assert_close(found[[0, 4], :4], expected, atol=TOLERANCE, rtol=TOLERANCE)


KNOWN = [
    [2.215127, -0.463816, 0.504272, -0.671818],
    [2.132027, 0.512571, 0.696454, 0.155866],
]


def test_without_a_mask_every_position_depends_on_every_other(tmp_path):
    write_example(tmp_path)
    decoder = decoder_of(tmp_path)
    hidden = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = decoder(hidden, unmodulated(decoder, 16))
        for place in range(4):
            other = hidden.clone()
            other[:, place] += 1
            after = decoder(other, unmodulated(decoder, 16))
            assert ((after - before).abs().amax(2) > 1e-4).all()


def test_rotated_products_depend_on_the_distance_alone(tmp_path):
    write_example(tmp_path)
    config = LlamaConfig.model_validate(json.loads((tmp_path / CONFIG).read_text(encoding="utf-8")))
    decoder = decoder_of(tmp_path)
    rotations = decoder._rotations(torch.zeros(1, 9, 16))
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 1, 1, config.head_dim, generator=generator).expand(1, 1, 9, -1) for _ in range(2))
    products = rotated(query, rotations) @ rotated(key, rotations).transpose(2, 3)
    for distance in range(-8, 9):
        diagonal = products[0, 0].diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-5)


def test_gates_of_zero_are_the_pretrained_layers_and_of_minus_one_none(tmp_path):
    """With ``gate`` in place of ``1 + gate``, a gate that starts at zero would leave nothing of the model."""
    write_example(tmp_path)
    decoder = decoder_of(tmp_path)
    hidden = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    off = torch.zeros(MODULATIONS, 16)
    off[[2, 5]] = -1
    with torch.no_grad():
        torch.testing.assert_close(decoder(hidden, [off.reshape(1, 1, -1)] * 2), decoder.norm(hidden))
        assert not torch.allclose(decoder(hidden, unmodulated(decoder, 16)), decoder.norm(hidden), atol=0.1)
