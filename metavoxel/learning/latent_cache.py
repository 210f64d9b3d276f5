"""Cached codes of a cohort: of complete, augmented and partly observed data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.parts.codecs.base import AbstractCodec, Encoded
from metavoxel.rng import Rng, stream_key
from metavoxel.typing import Code, Mask

ENCODE_BATCH = 4
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
    """Codes of one variable. Axis ``k`` holds the datum itself and its augmentations.

    Attributes:
        present: rows that have a datum; codes of the others are zeros.
        mean, sd: code of the complete datum; ``sd`` is None for a deterministic codec.
        partial: mean code of the same datum with a random part hidden; None for scalars.
        trusted: cells of ``partial`` that depend on observed data alone.
    """

    present: Bool[Tensor, "n"]
    mean: Float[Tensor, "n k c *s"]
    sd: Float[Tensor, "n k c *s"] | None
    partial: Float[Tensor, "n k c *s"] | None
    trusted: Bool[Tensor, "n k 1 *s"] | None

    def uncertainty(self, rows: Int64[Tensor, "b"]) -> Float[Tensor, "c"]:
        """Return the codec's variance of each channel, averaged over these rows and their cells."""
        present = rows[self.present[rows]]
        if self.sd is None or not len(present):
            return torch.zeros(self.mean.shape[2])
        return self.sd[present, 0].square().transpose(0, 1).flatten(1).mean(1)

    def draw(
        self, rows: Int64[Tensor, "b"], rng: Rng, *, augmentation: Float[Tensor, "b"]
    ) -> tuple[Code, Code | None, Mask | None]:
        """Sample a code of each row; also return its partly observed code and the trusted cells of that.

        ``augmentation`` in [0, 1) selects one per row, 0 the datum itself. It is shared by all images of a row, which
        are augmented jointly.
        """
        index = (augmentation * self.mean.shape[1]).long()
        sd = None if self.sd is None else self.sd[rows, index]
        code = Encoded(self.mean[rows, index], sd).draw(rng)
        if self.partial is None or self.trusted is None:
            return code, None, None
        return code, self.partial[rows, index], self.trusted[rows, index]


def encode_column(
    name: str,
    cohort: Cohort,
    codec: AbstractCodec,
    *,
    augmentations: int,
    augmented: Sequence[int],
    seed: int,
    device: str,
) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
    """Encode one variable of the whole cohort, yielding (rows done, rows, tensors of the latent cache so far).

    The first of ``augmentations`` codes is that of the datum itself; the others exist for the rows in ``augmented``
    only. All images of a row get the same spatial transform, which keeps them aligned.
    """
    column, spec = cohort.columns[name], cohort.variables[name]
    rows = column.present.nonzero()[:, 0]
    shape = (len(cohort), augmentations if spec.spatial else 1, *codec.code_shape)
    tensors = {"present": column.present.clone(), "mean": torch.zeros(shape)}
    chosen = set(augmented)
    for start in range(0, len(rows), ENCODE_BATCH):
        batch = rows[start : start + ENCODE_BATCH]
        data = column.read(batch)
        for index in range(shape[1]):
            if index == 1:
                kept = [place for place, row in enumerate(batch.tolist()) if row in chosen]
                batch, data = batch[kept], data[kept]
            if not len(batch):
                break
            values = data if index == 0 else spec.augment(data, _streams(cohort, batch, "vary", index, seed))
            encoded = codec.encode(values.to(device))
            tensors["mean"][batch, index] = encoded.mean.cpu()
            if encoded.sd is not None:
                tensors.setdefault("sd", torch.zeros(shape))[batch, index] = encoded.sd.cpu()
            if spec.spatial:
                known = random_known(tuple(values.shape), _streams(cohort, batch, name, index, seed).fork("mask"))
                partial, trusted = codec.encode_partial(values.to(device), known.to(device))
                tensors.setdefault("partial", torch.zeros(shape))[batch, index] = partial.mean.cpu()
                cells = torch.zeros(*shape[:2], 1, *shape[3:], dtype=torch.bool)
                tensors.setdefault("trusted", cells)[batch, index] = trusted.cpu()
        yield min(start + ENCODE_BATCH, len(rows)), len(rows), tensors


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


def save_cache(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors of a latent cache atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    temporary.replace(path)


def load_cache(path: Path) -> LatentCache:
    """Read a latent cache written by ``save_cache``."""
    return bank(load_file(path))


def bank(tensors: Mapping[str, Tensor]) -> LatentCache:
    """Build a latent cache from its tensors; those of ``sd``, ``partial`` and ``trusted`` are optional."""
    return LatentCache(
        tensors["present"], tensors["mean"], tensors.get("sd"), tensors.get("partial"), tensors.get("trusted")
    )
