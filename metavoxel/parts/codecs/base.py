"""What a codec is: how a variable's data become the code that is diffused, and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask


class Encoded(NamedTuple):
    """A code as its mean and, where the codec is uncertain, its standard deviation.

    Caches keep both, and each use draws afresh: one stored noisy draw would teach the model the noise of that draw.
    """

    mean: Code
    sd: Code | None = None

    def draw(self, rng: Rng) -> Code:
        """One code a row."""
        if self.sd is None:
            return self.mean
        return self.mean + self.sd * rng.normal(tuple(self.mean.shape), like=self.mean, dtype=self.mean.dtype)


class AbstractCodec(nn.Module, ABC):
    """Data to code and back. What it learns are buffers or weights, so that a checkpoint holds it.

    Attributes:
        code_shape: (channels, *grid) of one code; grid is empty for scalars.
        support: the word that a kernel must share: "real", "one_hot", or a plugin's own.
        tolerance: largest absolute difference of ``decode(encode(x))`` from x that counts as faithful; infinite for a
            codec that loses detail by design.
    """

    code_shape: tuple[int, ...]
    support: str
    tolerance: float

    def fit(self, batches: Callable[[], Iterable[Shaped[Tensor, "b *d"]]]) -> None:
        """Learn from the training rows in closed form; ``batches()`` walks them once. Nothing to learn by default."""

    @abstractmethod
    def encode(self, x: Shaped[Tensor, "b *d"]) -> Encoded:
        """Code of complete data."""

    @abstractmethod
    def decode(self, z: Code) -> Shaped[Tensor, "b *d"]:
        """Data of a code, also of one that no data have."""

    def encode_partial(self, x: Shaped[Tensor, "b *d"], known: Bool[Tensor, "b *d"]) -> tuple[Encoded, Mask]:
        """Code of partly known data, and which of its cells may be trusted.

        By default a scalar code is trusted when all of its data are known; a codec with a grid has to say for itself.
        """
        if len(self.code_shape) > 1:
            raise NotImplementedError(f"{type(self).__name__} does not encode partly known data")
        return self.encode(x), known.reshape(len(known), -1).all(1, keepdim=True)

    def code_interval(self, x: Float[Tensor, "b"]) -> tuple[Code, Code]:
        """Lowest and highest code that stand for each of these numbers.

        One code by default, that of ``encode``; a codec under which many codes decode to one number gives their ends,
        which may be infinite. Asked of codecs of one number (``code_shape`` (1,)) alone, as the next two are.
        """
        code = self.encode(x).mean
        return code, code

    def code_slopes(self, x: Float[Tensor, "b"]) -> Float64[Tensor, "b"]:
        """Code units that one unit of a number is, at each of these: the derivative of ``encode``, without its sign.

        0 where a number has a probability of its own and therefore no density.
        """
        with torch.inference_mode(False), torch.enable_grad():
            number = x.clone().double().requires_grad_()
            (slope,) = torch.autograd.grad(self.encode(number).mean.sum(), number)
        return slope.abs().cpu()

    def code_sd(self, x: Float[Tensor, "b"], sd: float) -> Float64[Tensor, "b"]:
        """Standard deviation of a code whose number has an error of ``sd``, in its unit; by the delta method."""
        return sd * self.code_slopes(x)


class CodecTraining(NamedTuple):
    """How long and how fast a codec learns."""

    steps: int
    batch_size: int
    learning_rate: float


class AbstractLearnedCodec(AbstractCodec, ABC):
    """A codec with weights that a gradient fits before the joint model is trained; ``fit`` comes after that.

    Attributes:
        training_plan: how it is trained; None where its weights came ready.
    """

    training_plan: CodecTraining | None

    @abstractmethod
    def losses(self, x: Float[Tensor, "b *d"], *, rng: Rng) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms whose sum is minimised."""

    @abstractmethod
    def prepare(self, batches: Callable[[], Iterable[Float[Tensor, "b *d"]]]) -> None:
        """Statistics that training starts from (a mean image, say)."""


class AbstractCodecSpec(BaseModel, ABC):
    """Settings of a codec, as YAML and JSON Schema show them; ``build`` makes the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    support: ClassVar[str]
    """The word that a kernel must share: "real", "one_hot", or a plugin's own; the codec's too."""

    type: str

    @classmethod
    def examples(cls) -> Sequence[tuple["AbstractCodecSpec", Shaped[Tensor, "b *d"]]]:
        """Settings, and at least 4 unlike data, that ``metavoxel plugins --check`` tries the codec with.

        None by default: enough where a variable type of the same plugin has the codec among its parts.
        """
        return ()

    def problems(self) -> list[str]:
        """What is wrong with the settings together, in words; nothing when they fit."""
        return []

    def grid_multiple(self) -> int:
        """Data axes must be multiples of this for the code grid to be whole."""
        return 1

    @abstractmethod
    def build(self, data_shape: tuple[int, ...]) -> AbstractCodec:
        """A fresh codec for data of this shape, without the batch dimension."""
