"""A folder with a few random weights, for checks of the backbone."""

import atexit
import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from metavoxel_language.config import LlamaConfig
from metavoxel_language.folder import CONFIG, EMBEDDINGS, WEIGHTS

SPREAD = 0.2
"""Standard deviation of the weights."""


def write_example(folder: Path) -> None:
    """Write ``config.json`` and weights of two layers, in the format of transformers."""
    raw = {
        "model_type": "llama", "vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 24, "rms_norm_eps": 1e-5, "rope_theta": 1000.0,
        "bos_token_id": 1,
    }  # fmt: skip
    config = LlamaConfig.model_validate(raw)
    generator = torch.Generator().manual_seed(0)
    shapes = [*config.tensors(config.num_hidden_layers), (EMBEDDINGS, (config.vocab_size, config.hidden_size))]
    weights = {
        f"model.{name}": SPREAD * torch.randn(shape, generator=generator) + (1.0 if len(shape) == 1 else 0.0)
        for name, shape in shapes
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def example_folder() -> Path:
    """Write the example into a temporary folder, which is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="metavoxel-language-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_example(folder)
    return folder
