"""Convert a GGUF file of a Llama-type model to a folder that backbone ``causal_lm`` reads (needs the package gguf).

python -m metavoxel_language.convert FILE.gguf FOLDER

Quantised weights are dequantised and written in single precision. The tokenizer, which the backbone does not use, is
written for files of SmolLM2 alone.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from metavoxel_language.folder import CONFIG, WEIGHTS

_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OTHERS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_OF_LAYER = re.compile(r"^blk\.(\d+)\.(\w+)\.weight$")


def convert(file: Path, folder: Path) -> None:
    """Write ``config.json``, the weights and, of SmolLM2, ``tokenizer.json``.

    Raises:
        ValueError: not a GGUF file of a Llama-type model.
        OSError: a file cannot be read or written.
    """
    from gguf import GGUFReader

    reader = GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields.get("general.architecture") != "llama":
        raise ValueError(f"{file} is of architecture {fields.get('general.architecture')!r}, not 'llama'")
    config = _config(fields)
    weights = dict(_weights(reader, config))
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    if fields.get("tokenizer.ggml.pre") == "smollm":
        _write_tokenizer(fields, folder)


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    heads = fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": fields["llama.embedding_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get("llama.attention.head_count_kv", heads),
        "intermediate_size": fields["llama.feed_forward_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields.get("llama.rope.freq_base", 10_000.0),
        "max_position_embeddings": fields["llama.context_length"],
        "hidden_act": "silu",
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id", 0),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id", 0),
    }


def _weights(reader: Any, config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    from gguf.quants import dequantize

    for tensor in reader.tensors:
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
        found = _OF_LAYER.match(tensor.name)
        if found and found[2] in _NAMES:
            heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(found[2])
            name = f"model.layers.{found[1]}.{_NAMES[found[2]]}"
            yield f"{name}.weight", value if heads is None else _in_halves(value, heads)
        elif tensor.name.removesuffix(".weight") in _OTHERS:
            yield f"{_OTHERS[tensor.name.removesuffix('.weight')]}.weight", value
        else:
            raise ValueError(
                f"has the tensor {tensor.name}, which a model of type llama without scaled positions has not"
            )


def _in_halves(weight: Tensor, heads: int) -> Tensor:
    """Return the rows of each head with all first channels of rotated pairs before all second ones.

    GGUF has the channels of a pair side by side.
    """
    return weight.reshape(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape).contiguous()


def _write_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    """Write byte-level byte-pair encoding in which every digit is a piece, as SmolLM2 was trained with."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = {piece: index for index, piece in enumerate(fields["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=merges))
    digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> int:
    """Convert the file that the command line names; return 2 if it cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    try:
        convert(asked.file, asked.folder)
    except ModuleNotFoundError as error:
        print(f"needs the package {error.name}: pip install 'metavoxel-language[gguf]'", file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError, IndexError) as error:
        print(f"{asked.file}: cannot be converted ({error})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
