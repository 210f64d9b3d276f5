"""U-Net of the MetaVoxel paper: image latents as channels, scalars as channels and by cross-attention."""

import math
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from metavoxel.parts.adapters.base import BackboneOutputs, Ports, Streams
from metavoxel.parts.backbones.base import AbstractBackbone, AbstractBackboneSpec, TrainingPlan
from metavoxel.parts.backbones.transformer import TokenBlock
from metavoxel.parts.convolutions import with_right_gradients


class _Tower(nn.Module):
    """U-Net of one grid port from MONAI's blocks, split into encoder and decoder to access the bottleneck."""

    def __init__(self, spec: "UNetSpec", dimensions: int, time_width: int) -> None:
        # takes seconds, which a table need not wait for
        from monai.networks.nets.diffusion_model_unet import get_down_block, get_mid_block, get_up_block

        super().__init__()
        channels, last = spec.channels, len(spec.channels) - 1
        groups = math.gcd(8, *channels)
        shared: dict[str, Any] = {
            "spatial_dims": dimensions, "temb_channels": time_width, "norm_num_groups": groups, "norm_eps": 1e-6,
            "transformer_num_layers": 1, "cross_attention_dim": spec.token_width,
        }  # fmt: skip
        blocks: dict[str, Any] = {"resblock_updown": False, "with_attn": False}
        attention = [index in spec.attention_levels for index in range(len(channels))]
        self.down = nn.ModuleList(
            [
                get_down_block(
                    in_channels=channels[max(index - 1, 0)],
                    out_channels=channels[index],
                    num_res_blocks=spec.residual_blocks,
                    add_downsample=index != last,
                    with_cross_attn=attention[index],
                    num_head_channels=min(spec.head_channels, channels[index]),
                    **shared,
                    **blocks,
                )
                for index in range(len(channels))
            ]
        )
        self.middle = get_mid_block(
            in_channels=channels[-1], with_conditioning=True,
            num_head_channels=min(spec.head_channels, channels[-1]), **shared,
        )  # fmt: skip
        self.up = nn.ModuleList(
            [
                get_up_block(
                    in_channels=channels[max(index - 1, 0)],
                    prev_output_channel=channels[min(index + 1, last)],
                    out_channels=channels[index],
                    num_res_blocks=spec.residual_blocks + 1,
                    add_upsample=index != 0,
                    with_cross_attn=attention[index],
                    num_head_channels=min(spec.head_channels, channels[index]),
                    **shared,
                    **blocks,
                )
                for index in reversed(range(len(channels)))
            ]
        )

        with_right_gradients(self)

    def descend(self, x: Tensor, time_embedding: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
        residuals = [x]
        for block in self.down:
            x, more = block(hidden_states=x, temb=time_embedding, context=context)
            residuals.extend(more)
        return self.middle(hidden_states=x, temb=time_embedding, context=context), residuals

    def ascend(self, x: Tensor, residuals: list[Tensor], time_embedding: Tensor, context: Tensor) -> Tensor:
        for block in self.up:
            count = len(block.resnets)  # type: ignore[arg-type]
            residuals, skipped = residuals[:-count], residuals[-count:]
            x = block(hidden_states=x, res_hidden_states_list=skipped, temb=time_embedding, context=context)
        return x


class UNet(AbstractBackbone):
    """U-Net per grid port, fused at the bottlenecks by self-attention over pooled features and tokens. Final.

    Without output tokens (every scalar uses adapter ``painted``) there is no fusion, and this is the paper's U-Net.
    Without grids only tokens are fused, at about one hundredth of the cost.
    """

    def __init__(self, spec: "UNetSpec", grids: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        time_width, width = 4 * spec.channels[0], spec.token_width
        self.ports = Ports(
            grids=grids,
            grid_width=spec.channels[0],
            bottleneck_width=spec.channels[-1],
            token_width=width,
            time_width=time_width,
        )
        self.towers = nn.ModuleDict({name: _Tower(spec, len(grid), time_width) for name, grid in grids.items()})
        self.time_token = nn.Linear(time_width, width)
        self.pooled = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(spec.channels[-1]), nn.Dropout(spec.dropout),
                                    nn.Linear(spec.channels[-1], width))
                for name in grids
            }
        )  # fmt: skip
        heads = math.gcd(width, max(width // 32, 1))
        self.fusion = nn.ModuleList(
            [TokenBlock(width, heads, spec.dropout, time_width) for _ in range(spec.token_layers)]
        )

    def forward(self, streams: Streams, time_embedding: Float[Tensor, "b w"]) -> BackboneOutputs:
        time_token = self.time_token(time_embedding)[:, None]
        tokens = time_token[:, :0] if streams.tokens is None else streams.tokens
        context = tokens[:, :0] if streams.context is None else streams.context
        # Cross-attention requires a key: the time embedding where no variable is a token.
        attended = torch.cat([tokens, context], 1) if tokens.shape[1] + context.shape[1] else time_token
        bottoms = {
            name: tower.descend(streams.grids[name], time_embedding, attended)  # type: ignore[operator]
            for name, tower in self.towers.items()
            if name in streams.grids
        }
        if tokens.shape[1]:
            pooled = [self.pooled[name](bottom.flatten(2).mean(2))[:, None] for name, (bottom, _) in bottoms.items()]
            attended = torch.cat([tokens, context, time_token, *pooled], 1)
            for block in self.fusion:
                attended = block(attended, time_embedding)
        grids = {
            name: self.towers[name].ascend(*bottom, time_embedding, attended)  # type: ignore[operator]
            for name, bottom in bottoms.items()
        }
        bottlenecks = {name: bottom for name, (bottom, _) in bottoms.items()}
        return BackboneOutputs(grids, bottlenecks, attended[:, : tokens.shape[1]])


class UNetSpec(AbstractBackboneSpec):
    """Settings of a U-Net, for schemas with images. Defaults suit small latents; the paper uses 256, 512, 768."""

    type: Literal["unet"] = "unet"
    channels: tuple[PositiveInt, ...] = Field(
        (32, 64), min_length=1, description="channels per resolution level, finest first"
    )
    residual_blocks: PositiveInt = Field(1, description="residual blocks per level")
    attention_levels: tuple[NonNegativeInt, ...] = Field(
        (1,), description="levels (0 is the finest) with cross-attention to the tokens; the bottleneck always has it"
    )
    head_channels: PositiveInt = Field(32, description="channels per attention head, at most those of the level")
    token_width: PositiveInt = Field(96, description="channels of a token")
    token_layers: NonNegativeInt = Field(2, description="self-attention blocks that fuse tokens and pooled features")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of pooled features and within fusion blocks")

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if any(level >= len(self.channels) for level in self.attention_levels):
            raise ValueError(f"attention_levels must be below {len(self.channels)}, the number of levels")
        if len(self.channels) == 1 and 1 in self.attention_levels:
            raise ValueError("attention_levels contains a level that does not exist")
        return self

    def grid_multiple(self) -> int:
        return 2 ** (len(self.channels) - 1)

    def problems(self, grids: dict[str, tuple[int, ...]]) -> list[str]:
        if not grids:
            return ["backbone 'unet' needs an image in the schema. Use backbone 'transformer'"]
        return []

    def default_plan(self) -> TrainingPlan:
        return TrainingPlan(steps=800, batch_size=16, learning_rate=1e-3, token_rows=32)

    def build(self, grids: dict[str, tuple[int, ...]]) -> UNet:
        return UNet(self, grids)
