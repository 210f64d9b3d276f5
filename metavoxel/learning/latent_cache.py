"""Codes of a cohort, computed once: complete, varied and partly known."""

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


@final
@dataclass(frozen=True, eq=False)
class LatentCache:
    """Codes of one variable. Axis ``k`` holds versions of a row that are as good as it (small shifts of an image).

    Attributes:
        present: rows that have a datum; the others' codes are zeros.
        mean, sd: of the complete datum; ``sd`` is empty for a codec that is certain.
        partial: code of the same datum with a random part hidden; empty for scalars.
        trusted: cells of ``partial`` that stand for known data.
    """

    present: Bool[Tensor, "n"]
    mean: Float[Tensor, "n k c *s"]
    sd: Float[Tensor, "n k c *s"] | None
    partial: Float[Tensor, "n k c *s"] | None
    trusted: Bool[Tensor, "n k 1 *s"] | None

    def uncertainty(self, rows: Int64[Tensor, "b"]) -> Float[Tensor, "c"]:
        """Each channel's variance of draws about the codes of these rows' data."""
        there = rows[self.present[rows]]
        if self.sd is None or not len(there):
            return torch.zeros(self.mean.shape[2])
        return self.sd[there, 0].square().transpose(0, 1).flatten(1).mean(1)

    def draw(
        self, rows: Int64[Tensor, "b"], rng: Rng, *, version: Float[Tensor, "b"]
    ) -> tuple[Code, Code | None, Mask | None]:
        """Codes of these rows, a fresh draw of an uncertain codec; with the partly known code and its trusted cells.

        ``version`` in [0, 1) chooses the version of each row: the same for all of a row's images, whose versions were
        moved alike. At 0 it is the datum itself.
        """
        version = (version * self.mean.shape[1]).long()
        sd = None if self.sd is None else self.sd[rows, version]
        code = Encoded(self.mean[rows, version], sd).draw(rng)
        if self.partial is None or self.trusted is None:
            return code, None, None
        return code, self.partial[rows, version], self.trusted[rows, version]


def encode_column(
    name: str, cohort: Cohort, codec: AbstractCodec, *, versions: int, varied: Sequence[int], seed: int, device: str
) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
    """Encode one variable of the whole cohort: progress (rows done, rows), and at the end the bank's tensors.

    The first version is the datum itself; the further ones are made for the rows in ``varied`` (training rows) alone.
    All images of a row are varied alike, so that what lies at one place of two of them still does.
    """
    column, spec = cohort.columns[name], cohort.variables[name]
    rows = column.present.nonzero()[:, 0]
    shape = (len(cohort), versions if spec.spatial else 1, *codec.code_shape)
    tensors = {"present": column.present.clone(), "mean": torch.zeros(shape)}
    chosen = set(varied)
    for start in range(0, len(rows), ENCODE_BATCH):
        batch = rows[start : start + ENCODE_BATCH]
        data = column.read(batch)
        for version in range(shape[1]):
            if version == 1:
                kept = [index for index, row in enumerate(batch.tolist()) if row in chosen]
                batch, data = batch[kept], data[kept]
            if not len(batch):
                break
            values = data if version == 0 else spec.augment(data, _streams(cohort, batch, "vary", version, seed))
            encoded = codec.encode(values.to(device))
            tensors["mean"][batch, version] = encoded.mean.cpu()
            if encoded.sd is not None:
                tensors.setdefault("sd", torch.zeros(shape))[batch, version] = encoded.sd.cpu()
            if spec.spatial:
                known = random_known(tuple(values.shape), _streams(cohort, batch, name, version, seed).fork("mask"))
                partial, trusted = codec.encode_partial(values.to(device), known.to(device))
                tensors.setdefault("partial", torch.zeros(shape))[batch, version] = partial.mean.cpu()
                cells = torch.zeros(*shape[:2], 1, *shape[3:], dtype=torch.bool)
                tensors.setdefault("trusted", cells)[batch, version] = trusted.cpu()
        yield min(start + ENCODE_BATCH, len(rows)), len(rows), tensors


def _streams(cohort: Cohort, rows: Int64[Tensor, "b"], purpose: str, version: int, seed: int) -> Rng:
    return Rng.of([stream_key(seed, purpose, cohort.row_keys[row], version) for row in rows.tolist()])


def random_known(shape: tuple[int, ...], rng: Rng) -> Bool[Tensor, "b c *s"]:
    """Random known parts of images: what lies on one side of a plane, or outside a box. One for each row."""
    rows, axes = shape[0], len(shape) - 2
    chance = rng.uniform((rows, 2))
    place = rng.uniform((rows, axes, 2))
    hole = torch.ones(rows, *shape[2:], dtype=torch.bool)
    plane_axis = (chance[:, 1] * axes).long()
    for axis in range(axes):
        position = ((torch.arange(shape[2 + axis]) + 0.5) / shape[2 + axis]).reshape(
            1, *[-1 if other == axis else 1 for other in range(axes)]
        )
        first, second = (place[:, axis, end].reshape(-1, *[1] * axes) for end in range(2))
        box = (position - first).abs() < 0.2 + 0.2 * second
        cut = 0.25 + 0.5 * first
        side = torch.where(second < 0.5, position < cut, position > cut)
        everywhere = torch.ones_like(side)
        plane = torch.where((plane_axis == axis).reshape(-1, *[1] * axes), side, everywhere)
        hole &= torch.where((chance[:, 0] < 0.5).reshape(-1, *[1] * axes), box, plane)
    return (~hole)[:, None].expand(shape)


def save_bank(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a bank whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    temporary.replace(path)


def load_bank(path: Path) -> LatentCache:
    """Read a bank that ``save_bank`` wrote."""
    return bank(load_file(path))


def bank(tensors: Mapping[str, Tensor]) -> LatentCache:
    """A bank of its tensors."""
    return LatentCache(
        tensors["present"], tensors["mean"], tensors.get("sd"), tensors.get("partial"), tensors.get("trusted")
    )
