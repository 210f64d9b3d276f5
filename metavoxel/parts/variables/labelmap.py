"""Label map variables: segmentations, tissue classes and lesion masks, with one label per voxel."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import nibabel
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from torch import Tensor

from metavoxel.images.files import as_nifti, write_labels, write_png
from metavoxel.images.image import Image
from metavoxel.images.resampling import covered
from metavoxel.parts.adapters.grid import GridSummaryAdapterSpec
from metavoxel.parts.codecs.kl_vae import KLVAESpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.augmentation import augmented
from metavoxel.parts.variables.base import Parts, Point, Recorded
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.entities import Entities
from metavoxel.parts.variables.placement import AbstractPlacement
from metavoxel.parts.variables.spatial import AbstractSpatialSpec
from metavoxel.parts.variables.summaries import AbstractSummary, summary_of_grids, summary_of_label_maps
from metavoxel.parts.variables.text import composed
from metavoxel.rng import Rng

_NUMBERS = {
    "anyOf": [
        {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 2},
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    ]
}
"""JSON Schema of labels."""

_LARGEST = 2**24
"""Largest integer up to which all integers are exact in single precision."""
_ROUNDING = 1e-3
"""Tolerance of label numbers, for rounding by a file's scaling factor in single precision."""
_TIE = 5
"""Decimals to which label fractions of a voxel are compared."""
_SHOWN = 8
"""Maximum number of unknown values in an error message."""


def _as_numbers(labels: object) -> object:
    """Normalise labels to a mapping from label to number in files; labels of a list are numbered from 0."""
    if isinstance(labels, list | tuple):
        labels = {label: number for number, label in enumerate(labels)} if len(set(labels)) == len(labels) else labels
    if not isinstance(labels, dict):
        raise ValueError(f"labels must differ, as a mapping {{background: 0, lesion: 1}} or a list, got {labels!r}")
    named: dict[str, int] = {}
    for label, number in labels.items():
        if isinstance(label, bool) or not isinstance(label, str | int | float):
            raise ValueError(f"{label!r} is no text or number; write it in quotation marks")
        if isinstance(number, bool) or not isinstance(number, int | float) or not float(number).is_integer():
            raise ValueError(f"label {label!r} has {number!r}, where the whole number in the files is expected")
        named[composed(str(label))] = int(number)
    return named


def _numbers_differ(labels: dict[str, int]) -> dict[str, int]:
    for number, count in Counter(labels.values()).items():
        if count > 1:
            raise ValueError(f"{count} labels have the number {number}")
        if abs(number) > _LARGEST:
            raise ValueError(f"number {number} is beyond ±{_LARGEST}")
    return labels


VoxelLabels = Annotated[
    dict[str, int],
    Field(min_length=2),
    BeforeValidator(_as_numbers),
    AfterValidator(_numbers_differ),
    WithJsonSchema(_NUMBERS),
]
"""At least two labels, each with its integer in files; the first is the background."""


class LabelMapSpec(AbstractSpatialSpec):
    """Settings of a map with one label per voxel: latent grid code, Gaussian kernel.

    Values are label indicators, 0 or 1: one channel per label (K, *s), or with two labels only that of the second
    (1, *s). Voxels outside a file's field of view have the first label, the background.

    To resample a map, the indicator of each label is resampled like an image, including the low-pass filter, which
    gives its fraction s_k of each new voxel. The voxel gets the label of the largest fraction, the first listed on a
    tie. With nearest-neighbour interpolation, small structures would be kept or lost depending on the sampling grid.
    Structures smaller than about half a new voxel have the largest fraction nowhere. A label that would vanish is
    therefore assigned the one voxel where its fraction is largest, so that lesions within the grid are never lost.
    """

    voxel_labels: ClassVar[bool] = True

    type: Literal["labelmap"] = "labelmap"
    entities: Entities = Field(
        {},
        description="BIDS entities of the file, including its suffix: {suffix: mask, label: lesion}, or "
        "{suffix: dseg}; otherwise as for an image",
    )
    labels: VoxelLabels = Field(
        description="labels with their whole numbers in the files, {background: 0, lesion: 1}, or as a list, numbered "
        "from 0. The first is the background, the label of voxels that a file does not cover"
    )

    @property
    def data_shape(self) -> tuple[int, ...]:
        return (len(self.labels) if len(self.labels) > 2 else 1, *self._resolved_shape())

    def parts(self) -> Parts:
        """Return parts with a squared-error autoencoder, as the median of rarely labelled voxels is the background."""
        return Parts(KLVAESpec(error="squared"), GaussianKernel(), GridSummaryAdapterSpec())

    def parse(self, cell: str) -> Float[Tensor, "c *s"]:
        """Read a file as a label map on the model's grid; maps of a single label are valid.

        Raises:
            ValueError: the image cannot be read, voxels have unknown values, or more than a tenth of a label lies
                outside the model's grid.
        """
        image = self._read(cell, constant=True)
        indices = self._indices(cell, image)
        try:
            placed = _placed(self._placement(), Image(indices.astype(np.float32), image.grid), list(self.labels))
        except ValueError as error:
            raise ValueError(f"{cell}: {error}") from error
        return self.indicators(torch.from_numpy(placed))

    def indicators(self, indices: Int64[Tensor, "*s"]) -> Float[Tensor, "c *s"]:
        """Convert label indices (positions in ``labels``) to a value."""
        if len(self.labels) == 2:
            return indices[None].float()
        return torch.nn.functional.one_hot(indices, len(self.labels)).movedim(-1, 0).float()

    def indices(self, value: Float[Tensor, "c *s"]) -> Int64[Tensor, "*s"]:
        """Return the label index of each voxel: argmax over channels, or with two labels a threshold of 0.5."""
        return (value[0] > 0.5).long() if len(self.labels) == 2 else value.argmax(0)

    def counts(self, value: Float[Tensor, "c *s"]) -> dict[str, int]:
        """Return the number of voxels of each label."""
        found = torch.bincount(self.indices(value).flatten(), minlength=len(self.labels))
        return dict(zip(self.labels, found.tolist(), strict=True))

    def center(self, values: Float[Tensor, "k c *s"], point: Point) -> Float64[Tensor, "c *s"]:
        """Return the fraction of draws with each label at each voxel; ``write`` saves the majority label."""
        return torch.stack([self.indicators(self.indices(value)) for value in values]).double().mean(0)

    def file_warnings(self, column: Column, others: Mapping[str, Recorded]) -> Iterator[str]:
        """Yield warnings about positions, identical label maps, and labels of no map on the model's grid."""
        yield from super().file_warnings(column, others)
        rows = column.rows
        first, alike, absent = column.read(rows[:1]), True, dict.fromkeys(self.labels)
        for row in rows:
            value = column.read([row])
            alike = alike and torch.equal(value, first)
            for label, count in self.counts(value[0]).items():
                if count:
                    absent.pop(label, None)
            if not absent and not alike:
                return
        if alike and len(rows) > 1:
            yield f"all {len(rows)} label maps are the same: a constant carries no information; leave it out"
        if absent:
            yield (
                f"none of {len(rows)} label maps has {', '.join(map(repr, absent))}: the model learns that it never "
                "occurs. Check the values of 'labels', or leave the label out"
            )

    def summary(self, column: Column) -> AbstractSummary:
        cells = column.known_cells
        spacing = self.grid(cells[0]).spacing
        grids = summary_of_grids(cells, self.data_shape[1:], spacing, resampled=self.spacing)
        return summary_of_label_maps(grids, column, list(self.labels), self.counts)

    def bids_problems(self) -> list[str]:
        if self.entities.get("suffix"):
            return []
        return [
            "a label map has no default suffix (T1w would select the scan): set one, such as {suffix: mask, label: "
            "lesion} or {suffix: dseg}, and 'derivative' if the files are in a folder of derivatives"
        ]

    def augment(self, values: Float[Tensor, "b c *s"], rng: Rng) -> Float[Tensor, "b c *s"]:
        """Shift and mirror maps like the images of the row, without intensity changes."""
        return augmented(values, rng, shifts=self.shifts, jitter=0.0, flip=self.flip)

    def format(self, value: Tensor) -> str:
        return "label map of " + "x".join(map(str, value.shape[1:])) + " voxels"

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save the labels' integers as ``{stem}_{name}.nii.gz``, or as .png if grey levels can represent them."""
        numbers = self._numbers(value)
        greys = bool(min(self.labels.values()) >= 0 and max(self.labels.values()) <= 255)
        file, grid, as_picture = self._target(folder, f"{stem}_{name}", like, pictures=greys)
        if as_picture:
            write_png(file, Image((numbers / 255).astype(np.float32), grid))
        else:
            write_labels(file, Image(numbers.astype(np.float32), grid), list(self.labels.values()))
        return {name: file.name}

    def to_nifti(self, value: Float[Tensor, "c *s"]) -> nibabel.Nifti1Image:
        return as_nifti(Image(self._numbers(value).astype(np.float32), self._model_grid()), np.dtype(np.int32))

    def _numbers(self, value: Float[Tensor, "c *s"]) -> Int64[np.ndarray, "*s"]:
        """The files' integer of each voxel."""
        numbers: Int64[np.ndarray, "*s"] = np.array(list(self.labels.values()))[
            self.indices(value.detach().cpu()).numpy()
        ]
        return numbers

    def _indices(self, cell: str, image: Image) -> Int64[np.ndarray, "*s"]:
        """Return the label index of each voxel's number.

        Raises:
            ValueError: voxels with unknown numbers.
        """
        numbers = np.array(list(self.labels.values()), np.float64)
        order = np.argsort(numbers)
        between = (numbers[order][:-1] + numbers[order][1:]) / 2
        indices = order[np.searchsorted(between, image.data)]
        wrong = np.abs(image.data - numbers[indices]) > _ROUNDING
        if wrong.any():
            values, counts = np.unique(image.data[wrong], return_counts=True)
            most = np.argsort(-counts, kind="stable")[:_SHOWN]
            listed = ", ".join(f"{values[place]:g} ({counts[place]} voxels)" for place in most)
            listed += f" and {len(values) - _SHOWN} more values" if len(values) > _SHOWN else ""
            known = ", ".join(f"{label} ({number})" for label, number in self.labels.items())
            raise ValueError(
                f"{cell}: {int(wrong.sum())} of {wrong.size} voxels are none of the labels: {listed}. Labels: {known}. "
                "Add missing labels to 'labels', or use 'type: image' for intensities or probabilities"
            )
        return indices


def _placed(placement: AbstractPlacement, image: Image, labels: Sequence[str]) -> Int64[np.ndarray, "*t"]:
    """Return label indices on the model's grid: the largest fraction, and at least one voxel of each label present.

    Raises:
        ValueError: the image does not fit the grid.
    """

    def fraction(index: int) -> Float32[np.ndarray, "*t"]:
        indicator = Image((image.data == index).astype(np.float32), image.grid)
        try:
            return placement.placed(indicator, float(index == 0))[0].data.round(_TIE)
        except ValueError as error:
            raise ValueError(f"label {labels[index]!r}: {error}") from error

    largest = fraction(0)
    best = np.zeros(largest.shape, np.int64)
    for index in range(1, len(labels)):
        other = fraction(index)
        best[other > largest] = index
        largest = np.maximum(largest, other)
    counts = np.bincount(best.reshape(-1), minlength=len(labels))
    within = covered(placement.grid(image.grid), image.grid)
    present = np.bincount(image.data[within].astype(np.int64), minlength=len(labels))
    for index in np.flatnonzero((present > 0) & (counts == 0)).tolist():
        free = np.where(counts[best] > 1, fraction(index), 0.0)  # never the only voxel of another label
        place = np.unravel_index(int(free.argmax()), best.shape)
        if free[place] > 0:
            counts[best[place]] -= 1
            counts[index] += 1
            best[place] = index
    return best
