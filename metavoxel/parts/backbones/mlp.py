"""Residual MLP over the sum of all tokens, for tables of few variables."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.parts.adapters.base import BackboneOutputs, Ports, Streams
from metavoxel.parts.backbones.base import AbstractBackbone, AbstractBackboneSpec, TrainingPlan


class ResidualBlock(nn.Module):
    """Residual block of two layers, modulated by the time embedding (Peebles and Xie 2023). Final."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():  # the gate is initialised to 1, so that a shallow network learns from the first step
            self.modulation.bias[2 * width :] = 1.0
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, hidden: Float[Tensor, "b w"], time_embedding: Float[Tensor, "b w"]) -> Float[Tensor, "b w"]:
        shift, scale, gate = self.modulation(functional.silu(time_embedding)).chunk(3, -1)
        update: Tensor = self.layers(self.norm(hidden) * (1 + scale) + shift)
        return hidden + gate * update


class MLP(AbstractBackbone):
    """Residual MLP over the sum of all tokens; its output is added to each token. Final.

    Each token is the output of a separate linear layer per variable, so their sum is one linear layer over all
    variables concatenated.
    """

    def __init__(self, spec: "MLPSpec") -> None:
        super().__init__()
        width = spec.width
        self.ports = Ports(grids={}, grid_width=width, bottleneck_width=width, token_width=width, time_width=width)
        self.blocks = nn.ModuleList([ResidualBlock(width, spec.dropout) for _ in range(spec.depth)])

    def forward(self, streams: Streams, time_embedding: Float[Tensor, "b w"]) -> BackboneOutputs:
        assert streams.tokens is not None
        hidden = streams.tokens.sum(1)
        for block in self.blocks:
            hidden = block(hidden, time_embedding)
        return BackboneOutputs({}, {}, streams.tokens + hidden[:, None])


class MLPSpec(AbstractBackboneSpec):
    """Settings of an MLP, for tables of few variables and thousands of rows with fine structure."""

    type: Literal["mlp"] = "mlp"
    width: PositiveInt = Field(128, description="channels of the layers, and of a token")
    depth: PositiveInt = Field(3, description="residual blocks of two layers")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout within blocks")

    def problems(self, grids: dict[str, tuple[int, ...]]) -> list[str]:
        if grids:
            return ["backbone 'mlp' has no port for images. Use backbone 'unet'"]
        return []

    def default_plan(self) -> TrainingPlan:
        return TrainingPlan(steps=1000, batch_size=128, learning_rate=1e-3, time_power=2.0)

    def build(self, grids: dict[str, tuple[int, ...]]) -> MLP:
        return MLP(self)
