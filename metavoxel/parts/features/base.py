"""Abstract features: a variable's part in the Gaussian baseline, and the baseline's outputs for it.

Every variable has k features f, of mean 0 and variance 1 over held-out rows. The baseline
(:mod:`metavoxel.network.baseline`) is a distribution p(f) over the features of all variables. With the Gaussian
likelihood of each variable's features given its noisy code x_t,

    log p(x_t | f) = -f'Pf / 2 + f'w + const,                                                                  (1)

the posterior mean E[f | all noisy codes] has a closed form. ``baseline`` converts it to outputs, the joint network adds
its own, and ``link`` maps the sum to the kernel's prediction.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor, nn

from metavoxel.parts.features.rows import Rows
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


class GaussianLikelihood(NamedTuple):
    """Likelihood of a variable's features given a noisy code: log p(x_t | f) = -f'Pf / 2 + f'w + const, eq. (1).

    Attributes:
        precision: P of every row.
        weighted: w of every row, the precision times the maximum likelihood features.
    """

    precision: Float[Tensor, "b k k"]
    weighted: Float[Tensor, "b k"]


class FeaturesContext(NamedTuple):
    """Context to build features in: the variable's kernel, its code shape, and the channels of a prediction."""

    kernel: AbstractKernel
    code_shape: tuple[int, ...]
    prediction_channels: int


class AbstractFeatures(nn.Module, ABC):
    """Features of one variable's code. The result of ``fit`` is in buffers."""

    size: int
    """Number of features, k."""

    outputs: int
    """Channels of the outputs of ``baseline`` and of the network's head, q."""

    stackable: bool = False
    """Whether several such modules with the same settings may be evaluated together (``torch.vmap`` over their
    buffers). They must not branch on a tensor's content, and buffers must exist from the start."""

    @abstractmethod
    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        """Fit to the training rows' clean codes, once, before training.

        Batches are cross-validation folds: all rows of a subject are in one batch, and subjects are spread evenly.
        """

    def fit_rows(self, rows: Rows, fold: Int64[Tensor, "n"]) -> None:
        """Fit to codes that may be larger than memory, given the fold of each: by default by ``fit``, read at once."""
        numbers = fold.unique().tolist() or [0]
        self.fit(lambda: [rows.select(fold == number).read() for number in numbers])

    @abstractmethod
    def features_of(self, x0: Code) -> Float[Tensor, "b k"]:
        """Return the features of clean codes, of mean 0 and variance 1 over held-out rows.

        Over the training rows, the variance of an overfitted feature is larger.
        """

    @abstractmethod
    def likelihood(self, x: Code, time: Time, observed: Mask) -> GaussianLikelihood:
        """Return the likelihood of the features given a noisy code, eq. (1); ``observed`` marks cells given clean."""

    def points(self) -> Float[Tensor, "c k"] | None:
        """Return the features of each class, if the code is categorical and its features identify the class."""

    def reconstruct(self, features: Float[Tensor, "b k"]) -> Code | None:
        """Return the code with these features, for an image whose residual is modelled as a Gaussian random field
        (:class:`metavoxel.network.residual_field.ResidualField`); ``baseline`` is then not called. None otherwise."""

    def baseline(self, x: Code, time: Time, expected: Float[Tensor, "b k"]) -> Float[Tensor, "b q"] | None:
        """Return the baseline's outputs from the expected features; not called with ``reconstruct``.

        None (the default) if there are none: the features are then used only to predict other variables.
        """
        return None

    def link(self, outputs: Float[Tensor, "b q *s"]) -> Float[Tensor, "b p *s"]:
        """Return the kernel's prediction from the sum of the baseline's and the network's outputs: by default it."""
        return outputs
