"""An adapter as a third party writes it: a scalar as one token, with the Gaussian baseline of its code."""

from typing import Literal

import torch
from torch import nn

from metavoxel.parts.adapters.base import AbstractAdapter, AbstractAdapterSpec, Streams
from metavoxel.parts.adapters.embedding import row_time, time_features
from metavoxel.parts.features.scalar import scalar_features


class LinearAdapter(AbstractAdapter):
    """Linear maps of code, time, observed mask and expected features to a token, and of the token to the output."""

    tokens = 1
    needs_grids = False

    def __init__(self, context):
        super().__init__()
        inputs = context.code_shape[0] + time_features(torch.zeros(1)).shape[1] + 1 + context.expected
        self.in_proj = nn.Linear(inputs, context.ports.token_width)
        self.out_proj = nn.Linear(context.ports.token_width, context.outputs)

    def embed(self, inputs):
        time = time_features(row_time(inputs.time)).to(inputs.x)
        parts = [inputs.x, time, inputs.observed.to(inputs.x), inputs.expected.to(inputs.x)]
        return Streams({}, self.in_proj(torch.cat(parts, 1))[:, None])

    def head(self, outputs):
        return self.out_proj(outputs.tokens[:, 0])


class LinearAdapterSpec(AbstractAdapterSpec):
    """A scalar by linear maps."""

    type: Literal["linear_token"] = "linear_token"

    def features(self, context):
        return scalar_features(context.kernel, context.code_shape[0])

    def build(self, context):
        return LinearAdapter(context)
