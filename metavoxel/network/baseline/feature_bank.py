"""The features of all variables, with those of one kind evaluated together."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metavoxel.parts.features.base import AbstractFeatures, GaussianLikelihood
from metavoxel.parts.features.stack import FeatureStack
from metavoxel.parts.indices import is_indices
from metavoxel.parts.stacking import alike, each
from metavoxel.typing import AnyCode, AnyMask, AnyTime


class FeatureBank:
    """The features of all variables. Final.

    Args:
        features: by variable; None for a variable without features.
        kinds: by variable; features of one kind differ only in their buffers.
    """

    def __init__(self, features: Mapping[str, AbstractFeatures | None], kinds: Mapping[str, str]) -> None:
        self._features = dict(features)
        stackable = {name: one for name, one in features.items() if one is not None and one.stackable}
        self.stacks = [(names, FeatureStack(same)) for names, same in alike(stackable, kinds)]

    def likelihoods(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, GaussianLikelihood]:
        """Return the likelihood of every variable's features given its noisy code; of size 0 if it has none."""

        def of_one(name: str) -> GaussianLikelihood:
            features, x = self._features[name], states[name]
            if features is None:
                empty = torch.zeros(len(x), 0, 0, dtype=torch.float32 if is_indices(x) else x.dtype, device=x.device)
                return GaussianLikelihood(empty, empty.flatten(1))
            return features.likelihood(x, times[name], observed[name])

        stacked = [(names, stack.likelihood) for names, stack in self.stacks]
        return each(list(states), of_one, stacked, states, times, observed)

    def baselines(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], expected: Mapping[str, Tensor]
    ) -> dict[str, Tensor | None]:
        """Return the baseline's outputs from the expected features, for every variable without a residual field."""

        def of_one(name: str) -> Tensor | None:
            features = self._features[name]
            return None if features is None else features.baseline(states[name], times[name], expected[name])

        stacked = [(names, stack.baseline) for names, stack in self.stacks]
        return each(list(states), of_one, stacked, states, times, expected)
