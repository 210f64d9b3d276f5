"""What features are: a variable's part in the Gaussian baseline, and the prediction that the baseline makes of it.

Every variable has k features f, numbers of mean 0 and variance 1 over rows that were not seen. The baseline
(:mod:`metavoxel.network.baseline`) is a distribution p(f) of the features of all variables. With the Gaussian
likelihood of each variable's features given its noisy code x_t,

    log p(x_t | f) = -f'Pf / 2 + f'w + const,                                                                  (1)

the posterior mean E[f | all noisy codes] is a closed form, and ``baseline`` turns it into what the network's head would
have to give: the joint network adds its own output to it, and ``link`` makes the kernel's prediction of the sum.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


class GaussianLikelihood(NamedTuple):
    """Likelihood of a variable's features given a noisy code: log p(x_t | f) = -f'Pf / 2 + f'w + const, eq. (1).

    Attributes:
        precision: P, of every row.
        weighted: w, the precision times the features' likeliest value.
    """

    precision: Float[Tensor, "b k k"]
    weighted: Float[Tensor, "b k"]


class FeaturesContext(NamedTuple):
    """What features are built from: the variable's kernel, the shape of its code, and the kernel's output channels."""

    kernel: AbstractKernel
    code_shape: tuple[int, ...]
    prediction_channels: int


class AbstractFeatures(nn.Module, ABC):
    """Features of one variable's code. All that ``fit`` finds is in buffers."""

    size: int
    """Number of features, k."""

    outputs: int
    """Numbers that ``baseline`` and the network's head give for a cell, from which ``link`` makes the prediction."""

    stackable: bool = False
    """Whether several such modules of one setting may be computed as one (``torch.vmap`` over their buffers): one that
    does not branch on a tensor's content, and whose buffers are there from the start."""

    @abstractmethod
    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        """Take statistics of the training rows' clean codes into buffers, once, before training.

        All rows of a subject are in one batch, and subjects are spread evenly over batches: what is fitted on all
        batches but one can be validated on that one.
        """

    @abstractmethod
    def features_of(self, x0: Code) -> Float[Tensor, "b k"]:
        """Features of clean codes, of mean 0 and of variance 1 over rows that were not seen.

        Over the training rows the variance is larger where those rows chose the features.
        """

    @abstractmethod
    def likelihood(self, x: Code, time: Time, observed: Mask) -> GaussianLikelihood:
        """Likelihood of the features given a noisy code, eq. (1); ``observed`` marks cells given clean."""

    def points(self) -> Float[Tensor, "c k"] | None:
        """The features of each class, where the code is one of several and its features identify it. None otherwise."""

    def reconstruct(self, features: Float[Tensor, "b k"]) -> Code | None:
        """The code that these features make, for an image whose residual is modelled as a Gaussian random field
        (:class:`metavoxel.network.residual_field.ResidualField`); ``baseline`` is then not called. None otherwise."""

    def baseline(self, x: Code, time: Time, expected: Float[Tensor, "b k"]) -> Float[Tensor, "b q"] | None:
        """The network's output that expresses these expected features; not called of an image with ``reconstruct``.

        None (the default) where there is no such output: the features then serve the other variables alone.
        """
        return None

    def link(self, outputs: Float[Tensor, "b q *s"]) -> Float[Tensor, "b p *s"]:
        """The kernel's prediction from the sum of the baseline's and the network's outputs: by default that sum."""
        return outputs
