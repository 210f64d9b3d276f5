"""Abstract adapter: from a code to a backbone's inputs, and from its outputs to the network's outputs for the code."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.parts.features.base import AbstractFeatures, FeaturesContext
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


class Streams(NamedTuple):
    """Inputs of a backbone: a sum of maps for each grid port, and a row of tokens.

    ``context`` are tokens for cross-attention, which are not among the outputs. ``links`` marks which tokens (columns)
    each token (row) may attend to; None is all.
    """

    grids: dict[str, Float[Tensor, "b w *s"]]
    tokens: Float[Tensor, "b n w"] | None
    context: Float[Tensor, "b m w"] | None = None
    links: Bool[Tensor, "n n"] | None = None


class BackboneOutputs(NamedTuple):
    """Outputs of a backbone. An adapter receives only its own tokens."""

    grids: dict[str, Float[Tensor, "b w *s"]]
    bottlenecks: dict[str, Float[Tensor, "b w *s"]]
    tokens: Float[Tensor, "b n w"] | None


class AdapterInputs(NamedTuple):
    """Inputs of one variable's embedding.

    Attributes:
        x: noisy code; clean where observed. Class indices if the kernel is indexed and the adapter ``takes_indices``.
        time: of each row, or of each cell.
        observed: mask of the cells given clean.
        expected: posterior mean of the variable's features under the Gaussian baseline.
        baseline: the baseline's outputs, if there are any.
    """

    x: Code
    time: Time
    observed: Mask
    expected: Float[Tensor, "b k"]
    baseline: Float[Tensor, "b q *s"] | None = None


def port_name(code_shape: tuple[int, ...]) -> str | None:
    """Return the grid port of a code, shared by all codes on one grid; None for a scalar."""
    return "grid_" + "x".join(map(str, code_shape[1:])) if len(code_shape) > 1 else None


class Ports(NamedTuple):
    """Widths (channels) of a backbone's streams, and the shape of every grid port."""

    grids: dict[str, tuple[int, ...]]
    grid_width: int
    bottleneck_width: int
    token_width: int
    time_width: int


class AdapterContext(NamedTuple):
    """Context to build an adapter in.

    Attributes:
        kernel: of the variable.
        code_shape: (c, *s), without the batch axis.
        outputs: channels of the result of ``head``.
        port: the variable's grid port, None for a scalar.
        ports: of the backbone.
        features: the variable's features in the Gaussian baseline, None if it has none. A module of the model.
        common: result of the settings' ``common``. A module of the model.
        variables: number of the model's variables.

    An adapter keeps a module of the model in a tuple, so that it is not registered twice: its weights would be saved
    under several names, but averaged under one.
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
    """Embedding of one variable into the backbone's inputs, and head on its outputs.

    The joint network composes the prediction: the features' link of the baseline's outputs plus the network weight
    times the result of ``head`` (:class:`metavoxel.network.joint.JointModel`).
    """

    tokens: int
    """Number of tokens that ``embed`` returns (beside any context) and ``head`` receives."""
    needs_grids: bool
    """Whether ``head`` needs the backbone's grids."""

    takes_indices: bool = False
    """Whether ``embed`` takes a code held as class indices, as an embedding of the classes; otherwise it is passed as
    one-hot. The result must be that of the one-hot code."""

    stackable: bool = False
    """Whether several such adapters with the same settings may be evaluated together (``torch.vmap`` over their
    weights). They must have no maps or context and not branch on a tensor's content, and their weights and buffers must
    exist from the start."""

    @abstractmethod
    def embed(self, inputs: AdapterInputs) -> Streams:
        """Return the contributions of this variable to the backbone's inputs."""

    def embed_without_grids(self, inputs: AdapterInputs) -> Streams:
        """Return the result of ``embed`` without its maps. Override it where maps are costly."""
        return self.embed(inputs)._replace(grids={})

    @abstractmethod
    def head(self, outputs: BackboneOutputs) -> Float[Tensor, "b q *s"]:
        """Return the network's output: a correction if there is a baseline, else the prediction."""


class AbstractAdapterSpec(BaseModel, ABC):
    """Settings of an adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_sequence: ClassVar[bool] = False
    """Whether each cell of a code has a token of its own. The variable then has no grid port, whatever its axes."""

    type: str

    @classmethod
    def examples(cls) -> Sequence["AbstractAdapterSpec"]:
        """Return settings that ``metavoxel plugins --check`` checks; by default the default settings."""
        return [cls.model_validate({})]

    def features(self, context: FeaturesContext) -> AbstractFeatures | None:
        """Return new features of the variable in the Gaussian baseline; not called for codes held as indices.

        None by default: the prediction is then the network's alone, and the baseline of other variables does not depend
        on this one.
        """

    def context(
        self, kernel: AbstractKernel, code_shape: tuple[int, ...], ports: Ports, *, variables: int = 1
    ) -> AdapterContext:
        """Return the context of an adapter with these settings, with new features and without ``common``.

        Args:
            kernel: of the variable.
            code_shape: (c, *s), without the batch axis.
            ports: of the backbone.
            variables: number of the model's variables.
        """
        channels = kernel.prediction_channels(code_shape[0])
        features = None if kernel.indexed else self.features(FeaturesContext(kernel, code_shape, channels))
        outputs = channels if features is None else features.outputs
        return AdapterContext(kernel, code_shape, outputs, self.port(code_shape), ports, features, None, variables)

    def port(self, code_shape: tuple[int, ...]) -> str | None:
        """Return the grid port of a code under this adapter; None for a scalar and for a sequence of tokens."""
        return None if self.is_sequence else port_name(code_shape)

    def common(self, context: AdapterContext) -> nn.Module | None:
        """Return a module shared by all variables with these settings, kernel and code shape; None by default.

        It is built once, and passed to each adapter in its context.
        """

    @abstractmethod
    def build(self, context: AdapterContext) -> AbstractAdapter:
        """Return a new adapter."""

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        """Return reasons why this adapter does not suit a variable; empty if it does.

        Args:
            spatial: whether the variable has a grid.
            grids: whether any variable of the schema has one.
        """
        return []
