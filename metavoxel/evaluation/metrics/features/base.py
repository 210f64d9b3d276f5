"""What a feature network is."""

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

SLICES_A_BATCH = 64


class AbstractFeatures(ABC):
    """Describes slices by a vector each. Deterministic; values of different networks or versions do not compare."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What a report calls it: kind and version, and of weights a digest."""

    @property
    @abstractmethod
    def told(self) -> str:
        """What it is, in a sentence for the report."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Features of a slice."""

    @abstractmethod
    def describe(self, slices: Float[Tensor, "n h w"]) -> Float[Tensor, "n f"]:
        """Features of a batch of slices of any size, with intensities in [0, 1]."""

    @final
    def __call__(self, slices: Float[Tensor, "n h w"]) -> Float[Tensor, "n f"]:
        with torch.inference_mode():
            return torch.cat([self.describe(part) for part in slices.float().split(SLICES_A_BATCH)])
