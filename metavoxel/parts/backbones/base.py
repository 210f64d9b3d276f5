"""What a backbone is: the network that all variables share, and that knows none of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.parts.adapters.base import Features, Ports, Streams


class TrainingPlan(NamedTuple):
    """Optimiser steps, rows a step, peak learning rate; rows a step that are seen by tokens alone; how times are drawn.

    Times between are uniform numbers to ``time_power``: the fine structure of scalars is learnt where they are hardly
    noisy, the larger part of an image where it is.
    """

    steps: int
    batch_size: int
    learning_rate: float
    token_rows: int = 0
    time_power: float = 1.0


class AbstractBackbone(nn.Module, ABC):
    """Streams in, features out; every port keeps its shape."""

    ports: Ports

    @abstractmethod
    def forward(self, streams: Streams, level: Float[Tensor, "b w"]) -> Features:
        """``level`` tells how noisy the variables are: the tagged sum of their time embeddings.

        A backbone whose plan has ``token_rows`` also takes streams without grids, and then gives tokens alone.
        """


class AbstractBackboneSpec(BaseModel, ABC):
    """Settings of a backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keeps_factors: ClassVar[bool] = False
    """Whether tokens see those alone that ``Streams.links`` lets them see."""

    type: str

    @classmethod
    def examples(cls) -> Sequence["AbstractBackboneSpec"]:
        """Settings that ``metavoxel plugins --check`` tries: by default the default ones."""
        return [cls.model_validate({})]

    def grid_multiple(self) -> int:
        """Axes of a code grid must be multiples of this."""
        return 1

    def problems(self, grids: dict[str, tuple[int, ...]]) -> list[str]:
        """Why this backbone cannot serve such code grids, in words; nothing when it can."""
        return []

    def default_plan(self) -> TrainingPlan:
        """How to train when a schema does not say."""
        return TrainingPlan(steps=2000, batch_size=32, learning_rate=1e-3)

    @abstractmethod
    def build(self, grids: dict[str, tuple[int, ...]]) -> AbstractBackbone:
        """A fresh backbone with a port for each of these code grids (name to spatial shape)."""
