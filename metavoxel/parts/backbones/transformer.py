"""Self-attention over tokens, for schemas without images and for the fusion of tokens with grids."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.parts.adapters.base import BackboneOutputs, Ports, Streams
from metavoxel.parts.backbones.base import AbstractBackbone, AbstractBackboneSpec, TrainingPlan


class TokenBlock(nn.Module):
    """Pre-norm self-attention and feed-forward layer, gated and modulated by the time embedding (Peebles and Xie 2023).

    Final.
    """

    def __init__(self, width: int, heads: int, dropout: float, time_width: int) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.norms = nn.ModuleList([nn.LayerNorm(width, elementwise_affine=False) for _ in range(2)])
        self.modulation = nn.Linear(time_width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():  # gates are initialised to 1, so that a shallow network learns from the first step
            self.modulation.bias[4 * width :] = 1.0
        self.mix_in, self.mix_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(
        self,
        tokens: Float[Tensor, "b n w"],
        time_embedding: Float[Tensor, "b v"],
        links: Bool[Tensor, "n n"] | None = None,
    ) -> Float[Tensor, "b n w"]:
        modulation = self.modulation(functional.silu(time_embedding))[:, None]
        shift_a, scale_a, shift_f, scale_f, gate_a, gate_f = modulation.chunk(6, -1)
        normed = self.norms[0](tokens) * (1 + scale_a) + shift_a
        batch, count, width = normed.shape
        query, key, value = (
            part.reshape(batch, count, self._heads, -1).transpose(1, 2) for part in self.mix_in(normed).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=links)
        mixed = mixed.transpose(1, 2).reshape(batch, count, width)
        # Dropout of outputs rather than attention weights, whose number is quadratic in the tokens.
        tokens = tokens + gate_a * self.mix_out(functional.dropout(mixed, self._dropout, self.training))
        tokens = tokens + gate_f * self.feed(self.norms[1](tokens) * (1 + scale_f) + shift_f)
        return tokens


class Transformer(AbstractBackbone):
    """Transformer over tokens. Final."""

    def __init__(self, spec: "TransformerSpec") -> None:
        super().__init__()
        width = spec.width
        self.ports = Ports(grids={}, grid_width=width, bottleneck_width=width, token_width=width, time_width=width)
        self.blocks = nn.ModuleList([TokenBlock(width, spec.heads, spec.dropout, width) for _ in range(spec.depth)])

    def forward(self, streams: Streams, time_embedding: Float[Tensor, "b w"]) -> BackboneOutputs:
        assert streams.tokens is not None
        tokens = streams.tokens
        for block in self.blocks:
            tokens = block(tokens, time_embedding, streams.links)
        return BackboneOutputs({}, {}, tokens)


class TransformerSpec(AbstractBackboneSpec):
    """Settings of a transformer over tokens, for tables."""

    respects_factors: ClassVar[bool] = True

    type: Literal["transformer"] = "transformer"
    width: PositiveInt = Field(96, description="channels of a token; a multiple of heads")
    depth: PositiveInt = Field(4, description="number of blocks")
    heads: PositiveInt = Field(4, description="attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout within attention and feed-forward layers")

    def problems(self, grids: dict[str, tuple[int, ...]]) -> list[str]:
        if grids:
            return ["backbone 'transformer' has no port for images. Use backbone 'unet'"]
        if self.width % self.heads:
            return [f"width {self.width} must be a multiple of heads {self.heads}"]
        return []

    def default_plan(self) -> TrainingPlan:
        return TrainingPlan(steps=1000, batch_size=128, learning_rate=1e-3, time_power=2.0)

    def build(self, grids: dict[str, tuple[int, ...]]) -> Transformer:
        return Transformer(self)
