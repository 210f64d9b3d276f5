"""Llama-type decoder layers (Touvron et al. 2023) without a causal mask, modulated by the diffusion time.

With m = (shift_a, scale_a, gate_a, shift_f, scale_f, gate_f) a linear function of the time embedding (Peebles and Xie
2023), a layer is

    h <- h + (1 + gate_a) Attention(RMSNorm(h) (1 + scale_a) + shift_a)
    h <- h + (1 + gate_f) SwiGLU(RMSNorm(h) (1 + scale_f) + shift_f).                                            (1)

m is 0 at the start, so that (1) is the pretrained layer. With gates in place of 1 + gate it would be the identity.

Modules are named as the tensors of a file.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from metavoxel_language.config import LlamaConfig

Trained = Literal["all", "lora", "ends"]
Rotations = tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]
"""Cosines and sines of the angles of each position."""

MODULATIONS = 6
"""Numbers of m for each channel."""


def hold(module: nn.Module, name: str, tensor: Tensor, *, trained: bool) -> None:
    """Give a module a weight: trained, or fixed and then not among the weights that a run stores."""
    if trained:
        module.register_parameter(name, nn.Parameter(tensor))
    else:
        module.register_buffer(name, tensor, persistent=False)


class RMSNorm(nn.Module):
    """Division by the root mean square over channels, and a scale for each (Zhang and Sennrich 2019). Final."""

    weight: Tensor

    def __init__(self, width: int, eps: float, *, trained: bool) -> None:
        super().__init__()
        self._eps = eps
        hold(self, "weight", torch.empty(width), trained=trained)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        return functional.rms_norm(x, self.weight.shape, self.weight, self._eps)


class Projection(nn.Module):
    """Linear layer without bias: trained, fixed, or fixed beside a trained product of two low-rank matrices. Final.

    The second matrix starts at 0 (LoRA; Hu et al. 2022).
    """

    weight: Tensor

    def __init__(self, inputs: int, outputs: int, train: Trained, rank: int) -> None:
        super().__init__()
        hold(self, "weight", torch.empty(outputs, inputs), trained=train == "all")
        self.lora: nn.Sequential | None = None
        if train == "lora":
            down, up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
            nn.init.zeros_(up.weight)
            self.lora = nn.Sequential(down, up)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n v"]:
        fixed = functional.linear(x, self.weight)
        return fixed if self.lora is None else fixed + self.lora(x)


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023) with rotary positions. Final."""

    def __init__(self, config: LlamaConfig, train: Trained, rank: int) -> None:
        super().__init__()
        self._width = config.head_dim
        queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = Projection(config.hidden_size, queries, train, rank)
        self.k_proj = Projection(config.hidden_size, keys, train, rank)
        self.v_proj = Projection(config.hidden_size, keys, train, rank)
        self.o_proj = Projection(queries, config.hidden_size, train, rank)

    def forward(
        self, x: Float[Tensor, "b n w"], rotations: Rotations, mask: Bool[Tensor, "n n"] | None
    ) -> Float[Tensor, "b n w"]:
        query, key, value = (
            part.unflatten(-1, (-1, self._width)).transpose(1, 2)
            for part in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        query, key = rotated(query, rotations), rotated(key, rotations)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """Feed-forward layer with a gated input (Shazeer 2020). Final."""

    def __init__(self, config: LlamaConfig, train: Trained, rank: int) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = Projection(width, inner, train, rank)
        self.up_proj = Projection(width, inner, train, rank)
        self.down_proj = Projection(inner, width, train, rank)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """One layer, eq. (1). Final."""

    def __init__(self, config: LlamaConfig, train: Trained, rank: int) -> None:
        super().__init__()
        width, eps, trained = config.hidden_size, config.rms_norm_eps, train == "all"
        self.input_layernorm = RMSNorm(width, eps, trained=trained)
        self.self_attn = Attention(config, train, rank)
        self.post_attention_layernorm = RMSNorm(width, eps, trained=trained)
        self.mlp = SwiGLU(config, train, rank)

    def forward(
        self,
        hidden: Float[Tensor, "b n w"],
        modulation: Float[Tensor, "#b 1 m"],
        rotations: Rotations,
        mask: Bool[Tensor, "n n"] | None,
    ) -> Float[Tensor, "b n w"]:
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = modulation.chunk(MODULATIONS, -1)
        normed = self.input_layernorm(hidden) * (1 + scale_a) + shift_a
        hidden = hidden + (1 + gate_a) * self.self_attn(normed, rotations, mask)
        normed = self.post_attention_layernorm(hidden) * (1 + scale_f) + shift_f
        return hidden + (1 + gate_f) * self.mlp(normed)


class Decoder(nn.Module):
    """The first ``layers`` layers and the last norm, with weights to be loaded. Final.

    Args:
        config: architecture.
        layers: number of layers.
        train: 'all' weights, 'lora' beside fixed weights, or none ('ends').
        rank: of LoRA.

    ``forward`` returns the hidden states after the last norm. ``mask`` marks which positions (columns) each position
    (row) attends to; None is all.
    """

    def __init__(self, config: LlamaConfig, layers: int, train: Trained, rank: int) -> None:
        super().__init__()
        self._config = config
        self.layers = nn.ModuleList([DecoderLayer(config, train, rank) for _ in range(layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, trained=train == "all")

    def forward(
        self,
        hidden: Float[Tensor, "b n w"],
        modulations: Sequence[Float[Tensor, "#b 1 m"]],
        mask: Bool[Tensor, "n n"] | None = None,
    ) -> Float[Tensor, "b n w"]:
        rotations = self._rotations(hidden)
        for layer, modulation in zip(self.layers, modulations, strict=True):
            hidden = layer(hidden, modulation, rotations, mask)
        return self.norm(hidden)

    def _rotations(self, hidden: Float[Tensor, "b n w"]) -> Rotations:
        frequencies = self._config.rope.frequencies(self._config.head_dim).to(hidden.device)
        angles = torch.arange(hidden.shape[1], device=hidden.device)[:, None] * frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)


def rotated(x: Float[Tensor, "b h n d"], rotations: Rotations) -> Float[Tensor, "b h n d"]:
    """Rotate the pairs of channels (i, i + d / 2) by the angles of their positions.

    In the precision of the angles; attention needs one precision of queries, keys and values.
    """
    cosines, sines = rotations
    first, second = x.chunk(2, -1)
    return (x * cosines + torch.cat([-second, first], -1) * sines).to(x.dtype)
