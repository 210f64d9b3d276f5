"""Counter-based random numbers, with one stream per row.

Every draw is a hash of (stream key of the row, index of the draw), as in counter-based generators (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"), with SplitMix64's finaliser (Steele et al. 2014) as the hash. A row's
numbers depend on its key alone, independent of batch size, row order and the other rows. Resuming needs no saved
state: keys are recomputed from (seed, step, row).
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
    """Shift logically, since torch shifts signed integers arithmetically."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift_right(x, 27)) * _MULTIPLY_2
    return x ^ _shift_right(x, 31)


def stream_key(*parts: str | int) -> int:
    """Hash strings and integers to a 64-bit key, identical on every machine and in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class Rng:
    """Independent streams of random numbers, one per row. Final.

    Successive draws of one ``Rng`` differ; two instances with the same keys draw the same numbers.
    """

    def __init__(self, keys: Int64[Tensor, "b"]) -> None:
        self.keys = keys
        self._draws = 0

    @classmethod
    def of(cls, keys: Iterable[int]) -> "Rng":
        """Create streams with these keys (see :func:`stream_key`)."""
        return cls(torch.tensor(list(keys), dtype=torch.int64))

    @classmethod
    def for_rows(cls, rows: int, *parts: str | int) -> "Rng":
        """Create streams for ``rows`` rows without keys of their own, derived from ``parts`` and the row number."""
        return cls(_mix(torch.arange(rows) * _GOLDEN + stream_key(*parts)))

    def fork(self, *parts: str | int) -> "Rng":
        """Derive independent streams of the same rows for another purpose."""
        return Rng(_mix(self.keys ^ stream_key(*parts)))

    def forks(self, names: Sequence[str]) -> "Rng":
        """Fork once per name, with streams ordered by row and then by name."""
        name_keys = torch.tensor([stream_key(name) for name in names], dtype=torch.int64)
        return Rng(_mix(self.keys[:, None] ^ name_keys).flatten())

    def __getitem__(self, rows: Tensor | slice) -> "Rng":
        """Select the streams of some rows, with the draw index reset."""
        return Rng(self.keys[rows])

    def __len__(self) -> int:
        return len(self.keys)

    def skip(self) -> None:
        """Advance the draw index without computing a draw."""
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
        """Draw from the open interval (0, 1), so that logarithms are finite, on the device of ``like``."""
        device = torch.device("cpu") if like is None else like.device
        bits = _shift_right(self._bits(tuple(shape), device), 41 if dtype == torch.float32 else 12)
        scale = 2.0**-23 if dtype == torch.float32 else 2.0**-52
        return (bits.to(dtype) + 0.5) * scale

    def normal(
        self, shape: tuple[int, ...], *, like: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b *s"]:
        """Draw from the standard normal distribution, by its inverse distribution function."""
        return torch.special.ndtri(self.uniform(shape, like=like, dtype=torch.float64)).to(dtype)

    def gumbel(self, shape: tuple[int, ...], *, like: Tensor | None = None) -> Float[Tensor, "b *s"]:
        """Draw from the standard Gumbel distribution: the argmax of logits + draws is a sample of the category."""
        return -torch.log(-torch.log(self.uniform(shape, like=like)))
