"""Cached codes of a cohort: of complete, augmented and partly observed data."""

import math
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import RunError, RunWarning
from metavoxel.parts.codecs.base import AbstractCodec, Encoded
from metavoxel.parts.features.rows import Rows
from metavoxel.rng import Rng, stream_key
from metavoxel.storage.atomic import locked
from metavoxel.storage.row_store import RowStore, damage, read_rows
from metavoxel.typing import Code, Mask

ENCODE_BATCH, SCALAR_BATCH = 4, 1024
CACHED_IMAGES = 1000
CODES_PER_IMAGE = (2, 6)
"""Minimum and maximum number of cached codes per training image, its own included. They are chosen to cache about
``CACHED_IMAGES`` codes of a cohort, as small cohorts need more augmentation."""


def codes_per_image(training_rows: int) -> int:
    """Return the number of cached codes per training image: its own and those of its augmentations."""
    least, most = CODES_PER_IMAGE
    return max(least, min(most, CACHED_IMAGES // max(training_rows, 1)))


@final
@dataclass(frozen=True, eq=False)
class LatentCache:
    """Codes of one variable, in single or half precision, or class indices in small integers.

    Axis ``k`` holds the datum itself and its augmentations.

    Attributes:
        present: rows that have a datum; codes of the others are zeros.
        mean, sd: code of the complete datum; ``sd`` is None for a deterministic codec.
        partial: mean code of the same datum with a random part hidden; None for scalars.
        trusted: cells of ``partial`` that depend on observed data alone.
    """

    present: Bool[Tensor, "n"]
    mean: Shaped[Tensor, "n k c *s"]
    sd: Float[Tensor, "n k c *s"] | None = None
    partial: Shaped[Tensor, "n k c *s"] | None = None
    trusted: Bool[Tensor, "n k 1 *s"] | None = None

    def uncertainty(self, rows: Int64[Tensor, "b"]) -> Float[Tensor, "c"]:
        """Return the codec's variance of each channel, averaged over these rows and their cells."""
        present = rows[self.present[rows]]
        if self.sd is None or not len(present):
            return torch.zeros(self.mean.shape[2])
        variances = Rows(self.sd[:, 0], present)
        sums = torch.zeros(self.mean.shape[2], dtype=torch.float64)
        for positions in variances.positions():
            sums += variances.read(positions).square().transpose(0, 1).flatten(1).sum(1, dtype=torch.float64)
        return (sums / (len(present) * math.prod(self.sd.shape[3:]))).float()

    def draw(
        self, rows: Int64[Tensor, "b"], rng: Rng, *, augmentation: Float[Tensor, "b"]
    ) -> tuple[Code, Code | None, Mask | None]:
        """Sample a code of each row; also return its partly observed code and the trusted cells of that.

        ``augmentation`` in [0, 1) selects one per row, 0 the datum itself. It is shared by all images of a row, which
        are augmented jointly.
        """
        index = (augmentation * self.mean.shape[1]).long()
        sd = None if self.sd is None else self.sd[rows, index].float()
        code = Encoded(_working(self.mean[rows, index]), sd).draw(rng)
        if self.partial is None or self.trusted is None:
            return code, None, None
        return code, _working(self.partial[rows, index]), self.trusted[rows, index]

    def first(self, rows: Int64[Tensor, "b"]) -> Code:
        """Return the mean codes of these rows' data themselves."""
        return _working(self.mean[rows, 0])


def _working(stored: Tensor) -> Code:
    """Return stored codes in single precision, or indices in int64."""
    return stored.float() if stored.is_floating_point() else stored.long()


def index_dtype(classes: int) -> torch.dtype:
    """Return the smallest type of integers that holds the index of a class."""
    fits = (dtype for dtype in (torch.uint8, torch.int16) if classes - 1 <= torch.iinfo(dtype).max)
    return next(fits, torch.int32)


def encode_column(
    name: str,
    cohort: Cohort,
    codec: AbstractCodec,
    folder: Path,
    *,
    augmentations: int,
    augmented: Sequence[int],
    seed: int,
    device: str,
    precision: torch.dtype = torch.float32,
) -> Iterator[tuple[int, int]]:
    """Encode one variable of the whole cohort into a folder, yielding (rows done, rows).

    Codes are written as they are computed, and an interrupted call continues where it stopped; one that finds all of
    them yields nothing. Of several processes, one encodes and the others wait.

    The first of ``augmentations`` codes is that of the datum itself; the others exist for the rows in ``augmented``
    only. All images of a row get the same spatial transform, which keeps them aligned. Codes of images are stored in
    ``precision``.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    if read_rows(folder) is not None:
        return
    rows = cohort.columns[name].present.nonzero()[:, 0]
    spec = cohort.variables[name]
    size = ENCODE_BATCH if spec.spatial else SCALAR_BATCH
    versions = augmentations if spec.spatial else 1
    chosen = set(augmented)
    with locked(folder), RowStore(folder, len(cohort) * versions, len(rows)) as store:
        for start in range(store.done, len(rows), size):
            batch = rows[start : start + size]
            for index in range(versions):
                kept = batch if index == 0 else batch[[row in chosen for row in batch.tolist()]]
                for field, codes in _codes(name, cohort, codec, kept, index, seed, device).items():
                    stored = codes.to(precision) if spec.spatial and codes.is_floating_point() else codes
                    if codes.dtype == torch.int64:
                        stored = codes.to(index_dtype(codec.code_shape[0]))
                    store.write(field, [row * versions + index for row in kept.tolist()], stored)
            done = min(start + size, len(rows))
            store.commit(done)
            yield done, len(rows)
        if not len(rows):
            store.commit(0, now=True)


def _codes(
    name: str, cohort: Cohort, codec: AbstractCodec, rows: Int64[Tensor, "b"], index: int, seed: int, device: str
) -> dict[str, Tensor]:
    """Encode one augmentation of some rows; 0 is the datum itself."""
    spec = cohort.variables[name]
    if not len(rows):
        return {}
    data = cohort.columns[name].read(rows)
    values = data if index == 0 else spec.augment(data, _streams(cohort, rows, "vary", index, seed))
    encoded = codec.encode(values.to(device))
    found = {"mean": encoded.mean}
    if encoded.sd is not None:
        found["sd"] = encoded.sd
    if spec.spatial:
        known = random_known(tuple(values.shape), _streams(cohort, rows, name, index, seed).fork("mask"))
        partial, found["trusted"] = codec.encode_partial(values.to(device), known.to(device))
        found["partial"] = partial.mean
    return found


def _streams(cohort: Cohort, rows: Int64[Tensor, "b"], purpose: str, augmentation: int, seed: int) -> Rng:
    return Rng.of([stream_key(seed, purpose, cohort.row_keys[row], augmentation) for row in rows.tolist()])


def random_known(shape: tuple[int, ...], rng: Rng) -> Bool[Tensor, "b c *s"]:
    """Sample a mask of observed voxels for each row: a half-space, or the complement of a box."""
    rows, axes = shape[0], len(shape) - 2
    choice = rng.uniform((rows, 2))
    corners = rng.uniform((rows, axes, 2))
    hidden = torch.ones(rows, *shape[2:], dtype=torch.bool)
    plane_axis = (choice[:, 1] * axes).long()
    for axis in range(axes):
        position = ((torch.arange(shape[2 + axis]) + 0.5) / shape[2 + axis]).reshape(
            1, *[-1 if other == axis else 1 for other in range(axes)]
        )
        first, second = (corners[:, axis, index].reshape(-1, *[1] * axes) for index in range(2))
        box = (position - first).abs() < 0.2 + 0.2 * second
        cut = 0.25 + 0.5 * first
        side = torch.where(second < 0.5, position < cut, position > cut)
        everywhere = torch.ones_like(side)
        plane = torch.where((plane_axis == axis).reshape(-1, *[1] * axes), side, everywhere)
        hidden &= torch.where((choice[:, 0] < 0.5).reshape(-1, *[1] * axes), box, plane)
    return (~hidden)[:, None].expand(shape)


def load_cache(folder: Path, present: Bool[Tensor, "n"]) -> LatentCache:
    """Map the codes written by ``encode_column`` into memory.

    Args:
        folder: folder of the codes.
        present: rows that have a datum.

    Raises:
        RunError: the codes are absent, incomplete or damaged.
    """
    tensors = read_rows(folder)
    if tensors is None or "mean" not in tensors:
        raise RunError(f"{folder}: no complete codes; remove the folder, and continue with `resume=True`")
    n = len(present)
    found = {name: tensor.reshape(n, len(tensor) // n, *tensor.shape[1:]) for name, tensor in tensors.items()}
    return LatentCache(present.clone(), found["mean"], found.get("sd"), found.get("partial"), found.get("trusted"))


def remove_damaged(folder: Path) -> None:
    """Remove complete codes that differ from their checksums, with a warning; all of them are read."""
    if found := damage(folder):
        warnings.warn(f"{folder}: {found}; the codes are computed again", RunWarning, stacklevel=2)
        shutil.rmtree(folder)
