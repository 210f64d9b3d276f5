"""Interface of feature networks."""

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

SLICES_PER_BATCH = 64


class AbstractImageFeatures(ABC):
    """Map slices to feature vectors. Deterministic; values of different networks or versions are not comparable."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in the report: kind and version, and a digest of any weights."""

    @property
    @abstractmethod
    def description(self) -> str:
        """Description in a sentence for the report."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of features per slice."""

    @abstractmethod
    def describe(self, slices: Float[Tensor, "n h w"]) -> Float[Tensor, "n f"]:
        """Features of a batch of slices of any size, with intensities in [0, 1]."""

    @final
    def __call__(self, slices: Float[Tensor, "n h w"]) -> Float[Tensor, "n f"]:
        with torch.inference_mode():
            return torch.cat([self.describe(part) for part in slices.float().split(SLICES_PER_BATCH)])
