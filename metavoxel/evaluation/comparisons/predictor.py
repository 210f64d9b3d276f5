"""Network of one target: inputs, loss, and predicted code."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from metavoxel.evaluation.comparisons.architectures import AbstractArchitecture, Ports
from metavoxel.evaluation.comparisons.inputs import Standard, numbers, pictures, standard
from metavoxel.evaluation.comparisons.study import Study
from metavoxel.rng import Rng


class Inputs(NamedTuple):
    """Inputs of a batch: images by name, and numeric predictors."""

    images: dict[str, Tensor]
    numbers: Float[Tensor, "b f"]


@final
class Predictor(nn.Module):
    """Sum of networks, one for each grid of images.

    Args:
        groups: names of the images on each grid, which are channels of one network.
        networks: network of each group.
    """

    def __init__(self, groups: Sequence[Sequence[str]], networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self._groups = [list(group) for group in groups]
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Inputs) -> Float[Tensor, "b k"]:
        outputs = [
            network(torch.cat([inputs.images[name] for name in group], 1), inputs.numbers)
            for group, network in zip(self._groups, self.networks, strict=True)
        ]
        return torch.stack(outputs).sum(0)


@final
class Task:
    """Prediction task of one target: squared error of a number's standardised code, cross-entropy of a category.

    Args:
        study: data of the run.
        target: variable to predict from all others.
    """

    def __init__(self, study: Study, target: str) -> None:
        self._study, self.target, self.given = study, target, study.others(target)
        self.category = study.model.codecs[target].is_label
        self._numbers = numbers(study, self.given)
        self._code = study.values(target).code
        self._standard: Standard = standard(self._code[study.known("train", target)])

    def network(self, architecture: AbstractArchitecture) -> Predictor:
        """Build an untrained network."""
        study = self._study
        groups: dict[tuple[int, ...], list[str]] = {}
        for name in study.images:
            groups.setdefault(study.cohort.variables[name].data_shape[1:], []).append(name)
        channels = {name: study.cohort.variables[name].data_shape[0] for name in study.images}
        networks = [
            architecture.build(
                Ports(grid, sum(channels[name] for name in names), self._numbers.shape[1], self._code.shape[1]),
                study.size,
            )
            for grid, names in groups.items()
        ]
        return Predictor(list(groups.values()), networks)

    def inputs(self, rows: Int64[Tensor, "b"], device: torch.device, rng: Rng | None = None) -> Inputs:
        """Return the inputs of these rows; with ``rng``, images are augmented as in the training of the run."""
        images = {name: pictures(self._study, name, rows, rng).to(device) for name in self._study.images}
        return Inputs(images, self._numbers[rows].to(device))

    def losses(self, outputs: Float[Tensor, "b k"], rows: Int64[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the loss of each row."""
        code, outputs = self._code[rows].to(outputs.device), outputs.float()
        if self.category:
            return functional.cross_entropy(outputs, code, reduction="none")
        standardised = Standard(*(part.to(outputs.device) for part in self._standard)).apply(code)
        return (outputs - standardised).square().mean(1)

    def expected(self, outputs: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Return the predicted code; for a category, its probabilities."""
        outputs = outputs.float().cpu()
        return outputs.softmax(1) if self.category else self._standard.invert(outputs)


def parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(weight.numel() for weight in module.parameters())


def state(module: nn.Module) -> Mapping[str, Tensor]:
    """Return a copy of the weights and buffers of a module."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
