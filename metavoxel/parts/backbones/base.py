"""Abstract backbone: the network shared by all variables, independent of their types."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.parts.adapters.base import BackboneOutputs, Ports, Streams


class TrainingPlan(NamedTuple):
    """Default training hyperparameters.

    Attributes:
        steps: optimiser steps.
        batch_size: rows per step.
        learning_rate: peak learning rate.
        token_rows: additional rows per step that are processed without grids.
        time_power: exponent p of the training times t = u^p, with u uniform on (0, 1). Values above 1 favour small
            times, where the fine structure of scalars is learnt.
    """

    steps: int
    batch_size: int
    learning_rate: float
    token_rows: int = 0
    time_power: float = 1.0


class AbstractBackbone(nn.Module, ABC):
    """Network from streams to outputs of the same ports and shapes."""

    ports: Ports

    @abstractmethod
    def forward(self, streams: Streams, time_embedding: Float[Tensor, "b w"]) -> BackboneOutputs:
        """Compute the outputs; ``time_embedding`` is the sum of the variables' tagged time embeddings.

        A backbone whose plan has ``token_rows`` also accepts streams without grids, and then returns tokens only.
        """


class AbstractBackboneSpec(BaseModel, ABC):
    """Settings of a backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    respects_factors: ClassVar[bool] = False
    """Whether tokens attend only to tokens that ``Streams.links`` marks."""

    type: str

    @classmethod
    def examples(cls) -> Sequence["AbstractBackboneSpec"]:
        """Return settings that ``metavoxel plugins --check`` checks; by default the default settings."""
        return [cls.model_validate({})]

    def grid_multiple(self) -> int:
        """Return the number of which the axes of a code grid must be multiples."""
        return 1

    def problems(self, grids: dict[str, tuple[int, ...]]) -> list[str]:
        """Return reasons why this backbone does not support such code grids; empty if it does."""
        return []

    def default_plan(self) -> TrainingPlan:
        """Return the training hyperparameters for settings that a schema omits."""
        return TrainingPlan(steps=2000, batch_size=32, learning_rate=1e-3)

    @abstractmethod
    def build(self, grids: dict[str, tuple[int, ...]]) -> AbstractBackbone:
        """Return a new backbone with a port for each of these code grids (name to spatial shape)."""
