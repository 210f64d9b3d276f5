"""Abstract codec: encoding of a variable's data to the code that is diffused, and decoding."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask


class Encoded(NamedTuple):
    """Mean of a code and, for a stochastic codec, its standard deviation.

    Caches store both, and each use draws anew: the model would otherwise fit the noise of one stored draw.
    """

    mean: Code
    sd: Code | None = None

    def draw(self, rng: Rng) -> Code:
        """Draw one code per row."""
        if self.sd is None:
            return self.mean
        return self.mean + self.sd * rng.normal(tuple(self.mean.shape), like=self.mean, dtype=self.mean.dtype)


class AbstractCodec(nn.Module, ABC):
    """Encoder and decoder of one variable. All fitted values are buffers or parameters, saved in checkpoints.

    Attributes:
        code_shape: (channels, *grid) of one code; grid is empty for scalars.
        support: type of code, equal to the kernel's: "real", "one_hot" or one defined by a plugin.
        indexed: whether one-hot codes are held as class indices, (1, *grid) in int64; ``code_shape`` remains that of
            their class probabilities, which ``decode`` accepts too. For codes on a grid whose kernel
            ``takes_indices``.
        tolerance: largest allowed absolute difference of ``decode(encode(x))`` from x; infinite for a lossy codec.
        bands: of a code with a grid, a number for each channel; channels with different numbers are modelled as
            uncorrelated in the residual of the Gaussian baseline, whose cost rises with the square of a band's width.
            None (the default): all channels are correlated.
    """

    code_shape: tuple[int, ...]
    support: str
    indexed: bool = False
    tolerance: float
    bands: tuple[int, ...] | None = None

    @property
    def is_categorical(self) -> bool:
        """Whether codes are one-hot over their channels, one class per cell; the data are integers."""
        return self.support == "one_hot"

    @property
    def held_shape(self) -> tuple[int, ...]:
        """Shape of one code as it is held: ``code_shape``, with one channel if codes are class indices."""
        return (1, *self.code_shape[1:]) if self.indexed else self.code_shape

    def blank(self, rows: int, device: torch.device | str | None = None) -> Code:
        """Return codes of zeros, to be filled."""
        dtype = torch.int64 if self.indexed else torch.float32
        return torch.zeros(rows, *self.held_shape, dtype=dtype, device=device)

    @property
    def is_label(self) -> bool:
        """Whether a code is one label of K: K class channels and no grid. Its mean has the class probabilities."""
        return self.is_categorical and len(self.code_shape) == 1

    @property
    def is_numeric(self) -> bool:
        """Whether a code is a vector of real numbers, without a grid."""
        return self.support == "real" and len(self.code_shape) == 1

    def fit(self, batches: Callable[[], Iterable[Shaped[Tensor, "b *d"]]]) -> None:
        """Fit to the training rows in closed form; ``batches()`` iterates over them once. No-op by default."""

    @abstractmethod
    def encode(self, x: Shaped[Tensor, "b *d"]) -> Encoded:
        """Encode complete data."""

    @abstractmethod
    def decode(self, z: Code) -> Shaped[Tensor, "b *d"]:
        """Decode any code, including codes outside the range of ``encode``."""

    def memory_problem(self, available: int) -> str | None:
        """Describe why encoding or decoding one datum takes more than these bytes, and the remedy; None if it fits.

        None by default, for codecs whose codes and data are all that they hold.
        """
        return None

    def encode_partial(self, x: Shaped[Tensor, "b *d"], known: Bool[Tensor, "b *d"]) -> tuple[Encoded, Mask]:
        """Encode partially known data, and mark the cells whose code is reliable.

        By default a scalar code is reliable if all of its data are known; codecs with a grid must override this.

        Raises:
            NotImplementedError: a codec with a grid does not override this.
        """
        if len(self.code_shape) > 1:
            raise NotImplementedError(f"{type(self).__name__} does not encode partially known data")
        return self.encode(x), known.reshape(len(known), -1).all(1, keepdim=True)

    def known_cells(self, x: Shaped[Tensor, "b *d"]) -> Mask:
        """Return the cells that given data determine: all by default.

        Override for data that can leave a part open by themselves, such as a text with a gap. Only evidence is asked;
        the data of a cohort are complete.
        """
        return torch.ones(len(x), 1, *self.code_shape[1:], dtype=torch.bool, device=x.device)

    def evidence_warnings(self, x: Shaped[Tensor, "b *d"]) -> Iterator[str]:
        """Yield warnings about readable data that are given as evidence in a table; none by default."""
        yield from ()

    def code_interval(self, x: Float[Tensor, "b"]) -> tuple[Code, Code]:
        """Return the lowest and highest code that decode to each number.

        By default both are ``encode(x).mean``. If an interval of codes decodes to one number, its bounds may be
        infinite. Like the next two methods, only called for codecs of one number (``code_shape`` (1,)).
        """
        code = self.encode(x).mean
        return code, code

    def code_slopes(self, x: Float[Tensor, "b"]) -> Float64[Tensor, "b"]:
        """Return the absolute derivative of ``encode`` at each number.

        0 where a number is a point mass of the distribution, and therefore has no density.
        """
        with torch.inference_mode(False), torch.enable_grad():
            number = x.clone().double().requires_grad_()
            (slope,) = torch.autograd.grad(self.encode(number).mean.sum(), number)
        return slope.abs().cpu()

    def code_sd(self, x: Float[Tensor, "b"], sd: float) -> Float64[Tensor, "b"]:
        """Return the standard deviation of codes, by the delta method, if ``sd`` is that of the number's error."""
        return sd * self.code_slopes(x)


class CodecTraining(NamedTuple):
    """Optimiser steps, batch size and learning rate of a codec's training."""

    steps: int
    batch_size: int
    learning_rate: float


class AbstractLearnedCodec(AbstractCodec, ABC):
    """Codec with weights trained by gradient descent before the joint model; ``fit`` is called afterwards.

    ``fit`` is also called for pretrained weights, and must then leave values that were loaded with them as they are.

    Attributes:
        training_plan: training hyperparameters; None for pretrained weights.
    """

    training_plan: CodecTraining | None

    @abstractmethod
    def losses(self, x: Float[Tensor, "b *d"], *, rng: Rng) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted loss terms, by name; training minimises their sum."""

    @abstractmethod
    def prepare(self, batches: Callable[[], Iterable[Float[Tensor, "b *d"]]]) -> None:
        """Compute statistics required before training, such as a mean image."""


class AbstractCodecSpec(BaseModel, ABC):
    """Settings of a codec, as represented in YAML and JSON Schema; ``build`` returns the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    support: ClassVar[str]
    """Type of code, equal to the kernel's and the built codec's: "real", "one_hot" or one defined by a plugin."""
    indexed: ClassVar[bool] = False
    """Whether codes are held as class indices, as the built codec's."""

    type: str

    @classmethod
    def examples(cls) -> Sequence[tuple["AbstractCodecSpec", Shaped[Tensor, "b *d"]]]:
        """Return settings, each with at least 4 different data, that ``metavoxel plugins --check`` checks.

        Empty by default, which suffices if a variable type of the same plugin uses the codec.
        """
        return ()

    @property
    def classes(self) -> int | None:
        """Number of classes if the code is one label of K; None (the default) for other codes."""
        return None

    @property
    def is_standardised(self) -> bool:
        """Whether codes have mean 0 and variance 1 over the training rows, or are normal quantiles of their ranks.

        Then a code of 6 lies beyond all training rows. False by default.
        """
        return False

    def problems(self) -> list[str]:
        """Return messages about inconsistent settings; empty if there are none."""
        return []

    def grid_multiple(self) -> int:
        """Return the number of which the lengths of data axes must be multiples."""
        return 1

    def misfit(self, data_shape: tuple[int, ...]) -> str | None:
        """Return why these settings do not suit data of this shape, and the remedy; None (the default) if they do."""
        return None

    @abstractmethod
    def build(self, data_shape: tuple[int, ...]) -> AbstractCodec:
        """Return a new codec for data of this shape, without the batch dimension."""
