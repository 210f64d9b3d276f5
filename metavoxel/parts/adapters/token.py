"""Scalars as tokens: for any backbone."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from metavoxel.parts.adapters.base import (
    AbstractAdapter,
    AbstractAdapterSpec,
    AdapterContext,
    Features,
    Information,
    Streams,
)
from metavoxel.parts.adapters.embedding import TIME_FEATURES, row_time, time_features
from metavoxel.parts.features.scalar import AbstractScalarFeatures, CategoricalFeatures, GaussianFeatures
from metavoxel.typing import Code, Mask, Time

QUIET_TIME = 0.1
"""Of the first weights, those of the time: else its sixteen features drown the one value, whose fine structure is then
learnt late."""

TAG_SPREAD = 0.5
"""Of the numbers that tell tokens of common layers apart at first: several times what the layers then give."""


MANY = 64
"""Variables, above which layers are shared by default."""


class TokenEnds(nn.Module):
    """The layers at both ends of a token: of one variable, or of all that are alike. Final."""

    def __init__(self, context: AdapterContext, dropout: float, law: AbstractScalarFeatures | None) -> None:
        super().__init__()
        width, channels = context.ports.token_width, context.code_shape[0]
        stated = context.prediction_channels + (0 if law is None else law.further)
        inputs = channels + TIME_FEATURES + 1 + (0 if law is None else law.features)
        self.inlet = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
        self.outlet = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(width, stated),
        )
        first, last = self.inlet[0], self.outlet[-1]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        with torch.no_grad():
            first.weight[:, channels : channels + TIME_FEATURES] *= QUIET_TIME
        if law is not None:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


class TokenAdapter(AbstractAdapter):
    """One token of the value, its time, whether it is given, and what the joint normal law expects of it. Final.

    The head reads the token that comes back, and begins with that expectation, as ``law`` states it: of the code, for
    a kernel of normal noise; of the classes' probabilities, for a category, which has a part in the law where it is
    given. Without a law there is no such beginning, and other variables' beginnings do not hear of this one.

    The layers are the variable's own, or ``context.common``, and then a tag says whose token it is.
    """

    tokens = 1
    needs_grids = False
    stackable = True

    def __init__(self, context: AdapterContext, dropout: float, law: AbstractScalarFeatures | None) -> None:
        super().__init__()
        self.law = law
        self.features = 0 if self.law is None else self.law.features
        ends: nn.Module
        if context.common is None:
            ends = self.own = TokenEnds(context, dropout, law)
            self.tag = None
        else:
            ends = context.common
            self.tag = nn.Parameter(torch.randn(context.ports.token_width) * TAG_SPREAD)
        assert isinstance(ends, TokenEnds)
        self._ends = (ends,)  # not registered: what is common is the model's

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        if self.law is not None:
            self.law.fit(torch.cat(list(codes())))

    def describe(self, x0: Code) -> Float[Tensor, "b k"]:
        return super().describe(x0) if self.law is None else self.law.describe(x0)

    def points(self) -> Float[Tensor, "c k"] | None:
        return super().points() if self.law is None else self.law.points()

    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        return super().measure(x, time, observed) if self.law is None else self.law.measure(x, time, observed)

    def embed(self, x: Code, time: Time, observed: Mask, belief: Float[Tensor, "b k"]) -> Streams:
        inputs = [x, time_features(row_time(time)).to(x), observed.to(x), belief.to(x)]
        skip = None if self.law is None else self.law.to_prediction(x, time, belief)
        (ends,) = self._ends
        token: Tensor = ends.inlet(torch.cat(inputs, 1))
        return Streams({}, (token if self.tag is None else token + self.tag)[:, None], skip=skip)

    def head(self, features: Features) -> Float[Tensor, "b p"]:
        stated = features.skip
        if features.tokens is not None:
            (ends,) = self._ends
            added: Tensor = ends.outlet(features.tokens[:, 0])
            stated = added if stated is None else stated + self.network_weight * added
        assert stated is not None
        return stated if self.law is None else self.law.prediction(stated)


def scalar_features(context: AdapterContext) -> AbstractScalarFeatures | None:
    """How a code of this kernel takes part in the joint normal law, if it does."""
    if context.kernel.support == "one_hot":
        return CategoricalFeatures(context.code_shape[0], context.kernel)
    return GaussianFeatures(context.code_shape[0], context.kernel) if context.kernel.is_gaussian else None


class TokenAdapterSpec(AbstractAdapterSpec):
    """A scalar (or a short vector) as one token."""

    type: Literal["token"] = "token"
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head's last layer")
    law: bool = Field(
        True,
        description="whether the variable has a part in the joint normal law: its predictions begin with it, and those "
        "of others with what it says. Not where thousands of rows show structure much finer than their spread, which a "
        "network that begins with a linear model is slow to find",
    )
    alike: bool | None = Field(
        None,
        description="whether all variables of these settings (and one kernel and code shape) share the layers at "
        "their tokens' ends, each with a tag of its own: for such as repeated measurements; by default those of more "
        f"than {MANY} variables do, whose own layers would be most of the model",
    )

    @classmethod
    def examples(cls) -> Sequence["TokenAdapterSpec"]:
        return [cls(), cls(alike=True)]

    def common(self, context: AdapterContext) -> TokenEnds | None:
        alike = context.variables > MANY if self.alike is None else self.alike
        return TokenEnds(context, self.dropout, scalar_features(context) if self.law else None) if alike else None

    def build(self, context: AdapterContext) -> TokenAdapter:
        return TokenAdapter(context, self.dropout, scalar_features(context) if self.law else None)

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        if spatial:
            return ["adapter 'token' carries scalars, and this variable is an image. Use adapter 'grid'"]
        return []
