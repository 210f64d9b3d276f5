"""Randomness that belongs to a row, not to a batch.

Every draw is a hash of (stream key of the row, index of the draw), as in counter-based generators (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"), with SplitMix64's finaliser (Steele et al. 2014) as the hash. A row's
numbers therefore depend on its key alone: never on the batch's size, its order, or what else was drawn for others; and
nothing needs saving to resume, for a key is made again from (seed, step, row).
"""

import hashlib
import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MULTIPLY_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MULTIPLY_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch shifts signed integers arithmetically."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift_right(x, 27)) * _MULTIPLY_2
    return x ^ _shift_right(x, 31)


def stream_key(*parts: str | int) -> int:
    """A 64-bit key of a tuple of words and numbers, the same on every machine and in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class Rng:
    """Independent streams of random numbers, one a row. Final.

    Successive draws of one ``Rng`` differ, as a generator's do; two of the same keys draw the same.
    """

    def __init__(self, keys: Int64[Tensor, "b"]) -> None:
        self.keys = keys
        self._draws = 0

    @classmethod
    def of(cls, keys: Iterable[int]) -> "Rng":
        """Streams for these keys (see :func:`stream_key`)."""
        return cls(torch.tensor(list(keys), dtype=torch.int64))

    @classmethod
    def for_rows(cls, rows: int, *parts: str | int) -> "Rng":
        """Streams for ``rows`` rows that have no keys of their own, under a name made of ``parts``."""
        return cls(_mix(torch.arange(rows) * _GOLDEN + stream_key(*parts)))

    def fork(self, *parts: str | int) -> "Rng":
        """Streams of the same rows for another purpose, independent of these."""
        return Rng(_mix(self.keys ^ stream_key(*parts)))

    def forks(self, names: Sequence[str]) -> "Rng":
        """The streams that ``fork`` gives of each name: row by row, and within a row in the order of the names."""
        words = torch.tensor([stream_key(name) for name in names], dtype=torch.int64)
        return Rng(_mix(self.keys[:, None] ^ words).flatten())

    def __getitem__(self, rows: Tensor | slice) -> "Rng":
        """The streams of some rows, starting anew."""
        return Rng(self.keys[rows])

    def __len__(self) -> int:
        return len(self.keys)

    def skip(self) -> None:
        """Count one draw as made, without its cost."""
        self._draws += 1

    def _bits(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        if shape[0] != len(self.keys):
            raise ValueError(f"{len(self.keys)} random streams cannot fill a batch of {shape[0]} rows")
        self.skip()
        per_row = math.prod(shape[1:])
        stream = _mix(self.keys.to(device) + _mix(torch.tensor(self._draws * _GOLDEN % 2**63, device=device)))
        counter = torch.arange(1, per_row + 1, device=device) * _GOLDEN
        return _mix(stream[:, None] + counter).reshape(shape)

    def uniform(
        self, shape: tuple[int, ...], *, like: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b *s"]:
        """Numbers in the open interval (0, 1), on the device of ``like``; never 0 or 1, so that logarithms are safe."""
        device = torch.device("cpu") if like is None else like.device
        bits = _shift_right(self._bits(tuple(shape), device), 41 if dtype == torch.float32 else 12)
        scale = 2.0**-23 if dtype == torch.float32 else 2.0**-52
        return (bits.to(dtype) + 0.5) * scale

    def normal(
        self, shape: tuple[int, ...], *, like: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b *s"]:
        """Standard normal numbers, by the inverse distribution function."""
        return torch.special.ndtri(self.uniform(shape, like=like, dtype=torch.float64)).to(dtype)

    def gumbel(self, shape: tuple[int, ...], *, like: Tensor | None = None) -> Float[Tensor, "b *s"]:
        """Standard Gumbel numbers: the largest of (logits + these) is a draw of the category."""
        return -torch.log(-torch.log(self.uniform(shape, like=like)))
