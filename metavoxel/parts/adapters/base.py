"""What an adapter is: how a code enters a backbone, and what the network adds to the Gaussian baseline's prediction."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.parts.features.base import AbstractFeatures, FeaturesContext
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


class Streams(NamedTuple):
    """Inputs of a backbone: a sum of maps for each grid port, and a row of tokens.

    ``context`` are tokens that grids attend to and that are no output. ``links`` marks which tokens (columns) each
    token (row) may attend to; None is all.
    """

    grids: dict[str, Float[Tensor, "b w *s"]]
    tokens: Float[Tensor, "b n w"] | None
    context: Float[Tensor, "b m w"] | None = None
    links: Bool[Tensor, "n n"] | None = None


class BackboneOutputs(NamedTuple):
    """Outputs of a backbone. An adapter receives its own tokens alone."""

    grids: dict[str, Float[Tensor, "b w *s"]]
    bottlenecks: dict[str, Float[Tensor, "b w *s"]]
    tokens: Float[Tensor, "b n w"] | None


def port_name(code_shape: tuple[int, ...]) -> str | None:
    """The grid port of a code: codes on one grid share it. None for a scalar."""
    return "grid_" + "x".join(map(str, code_shape[1:])) if len(code_shape) > 1 else None


class Ports(NamedTuple):
    """Widths (channels) of a backbone's streams, and the shape of every grid port."""

    grids: dict[str, tuple[int, ...]]
    grid_width: int
    bottleneck_width: int
    token_width: int
    time_width: int


class AdapterContext(NamedTuple):
    """What an adapter is built from.

    Attributes:
        kernel: of the variable.
        code_shape: (c, *s), without the batch axis.
        outputs: channels that ``head`` gives.
        port: the variable's own grid port, None for a scalar.
        ports: of the backbone.
        features: the variable's features in the Gaussian baseline, None if it has none. A module of the model.
        common: what the settings' own ``common`` made. A module of the model.
        variables: how many the model has.

    An adapter keeps a module of the model in a tuple, so that it is not registered twice: else its weights would be
    saved under several names, and averaged under one.
    """

    kernel: AbstractKernel
    code_shape: tuple[int, ...]
    outputs: int
    port: str | None
    ports: Ports
    features: AbstractFeatures | None = None
    common: nn.Module | None = None
    variables: int = 1

    @property
    def expected(self) -> int:
        """Number of expected features that ``embed`` receives."""
        return 0 if self.features is None else self.features.size


class AbstractAdapter(nn.Module, ABC):
    """The two ends of one variable's path through the backbone.

    The joint network composes the prediction: the baseline's outputs plus the network weight times what ``head`` gives,
    through the features' link (:class:`metavoxel.network.joint.JointModel`).
    """

    tokens: int
    """Number of tokens that ``embed`` gives (beside any context); ``head`` receives as many."""
    needs_grids: bool
    """Whether ``head`` needs the backbone's grids."""

    stackable: bool = False
    """Whether several such adapters of one setting may be computed as one (``torch.vmap`` over their weights): one
    without maps or context, that does not branch on a tensor's content, and whose weights and buffers exist from the
    start."""

    @abstractmethod
    def embed(
        self,
        x: Code,
        time: Time,
        observed: Mask,
        expected: Float[Tensor, "b k"],
        baseline: Float[Tensor, "b q *s"] | None = None,
    ) -> Streams:
        """Contributions of this variable to the ports that it uses.

        Args:
            x: noisy code; clean where observed.
            time: of each row, or of each cell.
            observed: cells given clean.
            expected: posterior mean of the variable's features under the Gaussian baseline.
            baseline: the baseline's outputs, if there are any.
        """

    def embed_without_grids(
        self,
        x: Code,
        time: Time,
        observed: Mask,
        expected: Float[Tensor, "b k"],
        baseline: Float[Tensor, "b q *s"] | None = None,
    ) -> Streams:
        """``embed`` without its maps. To be overridden where those cost much."""
        return self.embed(x, time, observed, expected, baseline)._replace(grids={})

    @abstractmethod
    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q *s"]:
        """The network's own output from the backbone's: a correction where there is a baseline, else the prediction."""


class AbstractAdapterSpec(BaseModel, ABC):
    """Settings of an adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str

    @classmethod
    def examples(cls) -> Sequence["AbstractAdapterSpec"]:
        """Settings that ``metavoxel plugins --check`` tries: by default the default ones."""
        return [cls.model_validate({})]

    def features(self, context: FeaturesContext) -> AbstractFeatures | None:
        """Fresh features of the variable in the Gaussian baseline. None by default: its prediction is the network's
        alone, and the baseline of other variables does not depend on it."""

    def context(
        self, kernel: AbstractKernel, code_shape: tuple[int, ...], ports: Ports, *, variables: int = 1
    ) -> AdapterContext:
        """The context of an adapter of these settings, with fresh features, but without what ``common`` makes.

        Args:
            kernel: of the variable.
            code_shape: (c, *s), without the batch axis.
            ports: of the backbone.
            variables: number of the model's variables.
        """
        channels = kernel.prediction_channels(code_shape[0])
        features = self.features(FeaturesContext(kernel, code_shape, channels))
        outputs = channels if features is None else features.outputs
        return AdapterContext(kernel, code_shape, outputs, port_name(code_shape), ports, features, None, variables)

    def common(self, context: AdapterContext) -> nn.Module | None:
        """A module that all variables of these settings, this kernel and this code shape share: built once, and passed
        to each in its ``context``. Nothing by default."""

    @abstractmethod
    def build(self, context: AdapterContext) -> AbstractAdapter:
        """A fresh adapter for these shapes."""

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        """Reasons why this adapter does not suit a variable; empty if it does.

        Args:
            spatial: whether the variable has a grid.
            grids: whether any variable of the schema has one.
        """
        return []
