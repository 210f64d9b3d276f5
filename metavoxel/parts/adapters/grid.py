"""Image latents as maps on a grid port: as in the paper, or beginning with their principal components."""

import math
from abc import ABC
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from metavoxel.parts.adapters.base import (
    AbstractAdapter,
    AbstractAdapterSpec,
    AdapterContext,
    Features,
    Information,
    Streams,
)
from metavoxel.parts.adapters.embedding import TIME_FEATURES, convolution, row_time, time_features
from metavoxel.parts.features.components import Components
from metavoxel.parts.kernels.base import along
from metavoxel.typing import Code, Mask, Time


class GridAdapter(AbstractAdapter):
    """(b, c, *s) latents into a stem convolution, and a map out of another. Final."""

    tokens = 0
    needs_grids = True

    def __init__(self, context: AdapterContext) -> None:
        super().__init__()
        assert context.port is not None
        channels, *grid = context.code_shape
        ports = context.ports
        self._port = context.port
        self.stem = convolution(len(grid), channels + 2, ports.grid_width, kernel_size=3, padding=1)
        self.outlet = nn.Sequential(
            nn.GroupNorm(math.gcd(8, ports.grid_width), ports.grid_width),
            nn.SiLU(),
            convolution(len(grid), ports.grid_width, context.prediction_channels, kernel_size=3, padding=1),
        )

    def embed(self, x: Code, time: Time, observed: Mask, belief: Float[Tensor, "b k"]) -> Streams:
        cells = (len(x), 1, *x.shape[2:])
        maps = [x, observed.to(x).expand(cells), along(time, x).to(x).expand(cells)]
        return Streams({self._port: self.stem(torch.cat(maps, 1))}, None)

    def head(self, features: Features) -> Float[Tensor, "b p *s"]:
        prediction: Tensor = self.outlet(features.grids[self._port])
        return prediction


class GridSummaryAdapter(AbstractAdapter):
    """A grid adapter that begins with principal components of the training latents. Final.

    The components' scores (:class:`metavoxel.parts.features.components.Components`) are the image's part in the joint normal
    law. What that expects of them, and a field of neighbouring cells of what they leave over, make a prediction that
    goes past the backbone to the head, so that the network learns what a linear model misses; the expected scores
    enter as a token, and what comes back moves the prediction along the components. A few dozen components hold most
    of what a small cohort can teach about how an image goes with scalars, and a network that sees only the
    convolutions' features finds it late, if at all.
    """

    tokens = 1
    needs_grids = False

    def __init__(self, context: AdapterContext, components: int, dropout: float) -> None:
        super().__init__()
        width = context.ports.token_width
        self._kernel = context.kernel
        self.grid = GridAdapter(context)
        self.components = Components(components, context.code_shape)
        self.features = components if context.kernel.is_gaussian else 0
        self.inlet = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(self.features + TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
        )
        channels, width_in = context.prediction_channels, context.ports.grid_width
        self.beginning = convolution(len(context.code_shape) - 1, channels, width_in, kernel_size=3, padding=1)
        self.shift = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, components))
        # Begin with the components alone; what moves along them has to be small, not nothing, for its inputs to learn.
        (last,), shift = list(self.grid.outlet.children())[-1:], self.shift[1]
        for module, spread in ((last, 0.0), (shift, 0.02)):
            assert isinstance(module.weight, Tensor) and isinstance(module.bias, Tensor)
            nn.init.normal_(module.weight, std=spread)
            nn.init.zeros_(module.bias)

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        self.components.fit(codes())

    def describe(self, x0: Code) -> Float[Tensor, "b k"]:
        return self.components.scores(x0) if self.features else super().describe(x0)

    def explained(self, features: Float[Tensor, "b k"]) -> Code | None:
        return self.components.explained(features) if self.features else None

    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        if not self.features:
            return super().measure(x, time, observed)
        return self.components.measure(x, self._kernel.scales(along(time, x)))

    def embed(self, x: Code, time: Time, observed: Mask, belief: Float[Tensor, "b k"]) -> Streams:
        maps = self.grid.embed(x, time, observed, belief).grids
        return self.embed_without_grids(x, time, observed, belief)._replace(grids=maps)

    def embed_without_grids(self, x: Code, time: Time, observed: Mask, belief: Float[Tensor, "b k"]) -> Streams:
        token: Tensor = self.inlet(torch.cat([belief, time_features(row_time(time)).to(belief)], 1))
        return Streams({}, token[:, None])

    def begun(self, streams: Streams, skip: Float[Tensor, "b p *s"]) -> Streams:
        grids = {port: grid + self.beginning(skip) for port, grid in streams.grids.items()}
        return streams._replace(grids=grids, skip=skip)

    def head(self, features: Features) -> Float[Tensor, "b p *s"]:
        parts = [self.grid.head(features)] if features.grids else []
        if features.tokens is not None:
            parts.append(self.components.along(self.shift(features.tokens[:, 0])))
        if features.skip is None:
            return torch.stack(parts).sum(0)
        return features.skip + self.network_weight * torch.stack(parts).sum(0) if parts else features.skip


class _GridSpec(AbstractAdapterSpec, ABC):
    """What both specs share: only a variable with a grid can be carried so."""

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if not spatial:
            carries = f"adapter {self.type!r} carries images, and this variable is a scalar"
            return [f"{carries}. Use adapter 'token' or 'painted'"]
        return []


class GridAdapterSpec(_GridSpec):
    """An image's latent on its own grid and nothing else, as in the paper."""

    type: Literal["grid"] = "grid"

    def build(self, context: AdapterContext) -> GridAdapter:
        return GridAdapter(context)


class GridSummaryAdapterSpec(_GridSpec):
    """An image's latent on its own grid, beginning with what its principal components tell, which are a token."""

    type: Literal["grid_summary"] = "grid_summary"
    components: PositiveInt = Field(48, description="principal components of the training latents")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the components in the token")

    def build(self, context: AdapterContext) -> GridSummaryAdapter:
        return GridSummaryAdapter(context, self.components, self.dropout)
