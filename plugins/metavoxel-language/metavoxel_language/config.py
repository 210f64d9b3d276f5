"""The architecture of a Llama-type decoder, as ``config.json`` of a model folder describes it."""

import math
from collections.abc import Iterator
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor


class Rope(BaseModel):
    """Rotary positions (Su et al. 2021): frequencies theta^(-2i/d), those of long waves divided by ``factor``.

    ``llama3`` interpolates: waves longer than ``original / low`` positions are divided, shorter than ``original /
    high`` are not, and others in part (Llama 3.1).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    rope_theta: PositiveFloat = 10_000.0
    rope_type: Literal["default", "llama3"] = "default"
    factor: PositiveFloat = 1.0
    low: PositiveFloat = Field(1.0, alias="low_freq_factor")
    high: PositiveFloat = Field(4.0, alias="high_freq_factor")
    original: PositiveInt = Field(8192, alias="original_max_position_embeddings")

    def frequencies(self, width: int) -> Float[Tensor, "half"]:
        """Return the angle of each pair of a head's channels from one position to the next."""
        angles = self.rope_theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        if self.rope_type == "llama3":
            waves = self.original * angles / math.tau
            kept = ((waves - self.low) / (self.high - self.low)).clamp(0, 1)
            angles = (1 - kept) * angles / self.factor + kept * angles
        return angles.float()


class LlamaConfig(BaseModel):
    """Sizes of a Llama-type decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["llama"]
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt = 0  # filled in below: as many as attention heads
    head_dim: PositiveInt = 0  # filled in below: hidden_size / num_attention_heads
    intermediate_size: PositiveInt
    rms_norm_eps: PositiveFloat = 1e-6
    hidden_act: Literal["silu"] = "silu"
    attention_bias: Literal[False] = False
    mlp_bias: Literal[False] = False
    quantization_config: None = None
    bos_token_id: NonNegativeInt = 0
    rope: Rope = Rope()

    @model_validator(mode="before")
    @classmethod
    def _rope_of_either_format(cls, raw: Any) -> Any:
        """Collect the settings of rotary positions, which have their own mapping since version 5 of transformers."""
        if not isinstance(raw, dict):
            return raw
        given = {name: value for name, value in raw.items() if value is not None or name == "quantization_config"}
        rope = {"rope_theta": given["rope_theta"]} if "rope_theta" in given else {}
        for name in ("rope_scaling", "rope_parameters"):
            if isinstance(given.get(name), dict):
                rope |= given[name]
        if "type" in rope:
            rope.setdefault("rope_type", rope["type"])
        heads, width = given.get("num_attention_heads"), given.get("hidden_size")
        if isinstance(heads, int) and isinstance(width, int) and heads > 0:
            given.setdefault("num_key_value_heads", heads)
            given.setdefault("head_dim", width // heads)
        return {**given, "rope": rope}

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is no multiple of num_key_value_heads "
                f"{self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd")
        if self.bos_token_id >= self.vocab_size:
            raise ValueError(f"bos_token_id {self.bos_token_id} is no token of {self.vocab_size}")
        return self

    def tensors(self, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the names and shapes of the weights of the first ``layers`` layers and of the last norm."""
        width, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        of_layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (width,),
            "self_attn.q_proj": (queries, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, queries),
            "post_attention_layernorm": (width,),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        for layer in range(layers):
            for name, shape in of_layer.items():
                yield f"layers.{layer}.{name}.weight", shape
        yield "norm.weight", (width,)
