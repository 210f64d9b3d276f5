"""What an adapter is: how a code enters a backbone, and how a prediction leaves it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


class Streams(NamedTuple):
    """What enters a backbone: a sum of maps for each grid port, and a row of tokens.

    ``context`` are tokens that grids attend to and that do not come back; ``skip`` goes past the backbone, straight to
    the variable's own head. ``links`` says which tokens (columns) each token (row) may see; None is all.
    """

    grids: dict[str, Float[Tensor, "b w *s"]]
    tokens: Float[Tensor, "b n w"] | None
    context: Float[Tensor, "b m w"] | None = None
    skip: Float[Tensor, "b p *s"] | None = None
    links: Bool[Tensor, "n n"] | None = None


class Features(NamedTuple):
    """What leaves a backbone. An adapter sees only its own tokens and its own skip."""

    grids: dict[str, Float[Tensor, "b w *s"]]
    bottlenecks: dict[str, Float[Tensor, "b w *s"]]
    tokens: Float[Tensor, "b n w"] | None
    skip: Float[Tensor, "b p *s"] | None = None


class Information(NamedTuple):
    """What a noisy code says of its variable's features f, as a normal law: log-likelihood -f'Pf/2 + f'w."""

    precision: Float[Tensor, "b k k"]
    weighted: Float[Tensor, "b k"]


class Ports(NamedTuple):
    """What a backbone offers: widths (channels) of its streams, and the shape of every grid port."""

    grids: dict[str, tuple[int, ...]]
    grid_width: int
    bottleneck_width: int
    token_width: int
    level_width: int


class AdapterContext(NamedTuple):
    """What an adapter is built from. ``port`` is the variable's own grid port, None for a scalar.

    ``variables`` is how many the model has. ``common`` is what the settings' own ``common`` made. It is a module of the
    model, and not to be registered by an adapter (keep it in a tuple): its weights would be saved under several names,
    and averaged under one.
    """

    kernel: AbstractKernel
    code_shape: tuple[int, ...]
    prediction_channels: int
    port: str | None
    ports: Ports
    common: nn.Module | None = None
    variables: int = 1


class AbstractAdapter(nn.Module, ABC):
    """The two ends of one variable's path through the backbone."""

    tokens: int
    """How many tokens ``embed`` gives (beside any context); ``head`` receives as many."""
    needs_grids: bool
    """Whether ``head`` has nothing to say where the backbone's grids are left out."""

    stackable: bool = False
    """Whether several such adapters of one setting may be computed as one, their weights stacked: one without maps or
    context, that chooses nothing by a tensor's content, and whose weights and buffers are there from the start."""

    network_weight: Tensor
    """A buffer, (): how much ``head`` believes of what the network adds to a skip. 1 until validation chooses it."""

    features: int = 0
    """How many numbers of the code are features of :class:`metavoxel.network.baseline.mixture.MixtureBaseline`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("network_weight", torch.ones(()))

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        """Take statistics of the training rows' codes into buffers, once, before training. Nothing by default.

        All rows of a person are in one batch, and people are spread evenly: what is fitted on all batches but one can
        be judged by that one.
        """

    def describe(self, x0: Code) -> Float[Tensor, "b k"]:
        """The features of clean codes, of mean 0, and of variance 1 over rows that were not seen.

        Over the training rows it is more where the features were chosen by those rows.
        """
        return x0.new_zeros(len(x0), 0)

    def points(self) -> Float[Tensor, "c k"] | None:
        """The features of each class, where the code is one of several and the features tell which. None otherwise."""

    def explained(self, features: Float[Tensor, "b k"]) -> Code | None:
        """The code that these features make, where a stationary field is expected to be left over: its estimate and
        this one's are the ``skip`` (:class:`metavoxel.network.residual_field.ResidualField`). None where there is none."""

    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        """What a noisy code says of the features."""
        return Information(x.new_zeros(len(x), 0, 0), x.new_zeros(len(x), 0))

    @abstractmethod
    def embed(self, x: Code, time: Time, observed: Mask, belief: Float[Tensor, "b k"]) -> Streams:
        """Contributions of this variable to the ports that it uses.

        ``observed`` marks cells given clean; ``belief`` is what the joint normal law expects of the features.
        """

    def embed_without_grids(self, x: Code, time: Time, observed: Mask, belief: Float[Tensor, "b k"]) -> Streams:
        """``embed`` without its maps. To be overridden where those cost much."""
        return self.embed(x, time, observed, belief)._replace(grids={})

    def begun(self, streams: Streams, skip: Float[Tensor, "b p *s"]) -> Streams:
        """What ``embed`` gave, with what features and a stationary field make of the prediction."""
        return streams._replace(skip=skip)

    @abstractmethod
    def head(self, features: Features) -> Float[Tensor, "b p *s"]:
        """What the kernel asked for, from the backbone's features: the skip, if any, and ``network_weight`` times the
        rest. Features may be empty where that weight is 0: then it is the skip alone."""


class AbstractAdapterSpec(BaseModel, ABC):
    """Settings of an adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str

    @classmethod
    def examples(cls) -> Sequence["AbstractAdapterSpec"]:
        """Settings that ``metavoxel plugins --check`` tries: by default the default ones."""
        return [cls.model_validate({})]

    def common(self, context: AdapterContext) -> nn.Module | None:
        """What all variables of these settings, this kernel and this code shape share: built once, and given to each
        in its ``context``. Nothing by default."""

    @abstractmethod
    def build(self, context: AdapterContext) -> AbstractAdapter:
        """A fresh adapter for these shapes."""

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        """Why this adapter cannot serve, in words; nothing when it can.

        ``spatial`` says whether the variable has a grid, ``grids`` whether any variable of the schema has one.
        """
        return []
