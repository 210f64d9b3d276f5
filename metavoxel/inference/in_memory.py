"""Images in memory as given values and masks: nibabel images and arrays."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nibabel
import numpy as np
import torch
from nibabel.spatialimages import SpatialImage
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing


def given_value(name: str, spec: AbstractVariableSpec, cell: object) -> object:
    """Convert an image in memory to a value; other input is returned unchanged.

    A nibabel image is read as a file of the same content is: placed by its affine, and scaled. An array is a value as
    it is, on the model's grid and scale, with or without the axis of a single channel.

    Raises:
        EvidenceError: the image cannot be read, does not fit, or belongs to a variable without voxels.
    """
    if isinstance(cell, SpatialImage):
        with as_file(cell) as path:
            return _parsed(name, spec, path)
    if isinstance(cell, np.ndarray):
        return cell.item() if cell.ndim == 0 else as_value(cell, spec)
    return cell


def _parsed(name: str, spec: AbstractVariableSpec, path: str) -> Tensor:
    if not spec.spatial:
        raise EvidenceError(Problem(f"given {name}", f"is of type {spec.type!r}, and an image is no value of it"))
    try:
        value = spec.parse(path)
    except ValueError as error:
        raise EvidenceError(Problem(f"given {name}", str(error).removeprefix(f"{path}: "))) from None
    if isinstance(value, Missing):
        raise EvidenceError(Problem(f"given {name}", value.rule))
    return value


def as_value(array: np.ndarray, spec: AbstractVariableSpec) -> Tensor:
    """Convert an array to a value; its shape is checked later."""
    value = torch.from_numpy(np.array(array, order="C"))
    if spec.spatial and value.is_floating_point():
        value = value.float()
    without_channel = spec.spatial and tuple(value.shape) == spec.data_shape[1:] and spec.data_shape[0] == 1
    return value[None] if without_channel else value


def given_masks(
    specs: Mapping[str, AbstractVariableSpec], given: Mapping[str, object], masks: Mapping[str, object]
) -> dict[str, Tensor]:
    """Convert masks to tensors on the model's grid; names and shapes are checked later.

    Raises:
        EvidenceError: a nibabel image that does not fit, or lies on other voxels than its given image.
    """
    found: dict[str, Tensor] = {}
    for name, mask in masks.items():
        if name in specs and isinstance(mask, SpatialImage):
            found[name] = _mask(name, specs[name], mask, given.get(name))
        elif name in specs and isinstance(mask, np.ndarray):
            found[name] = as_value(mask, specs[name])
        else:
            found[name] = torch.as_tensor(mask)
    return found


def _mask(name: str, spec: AbstractVariableSpec, mask: SpatialImage, given: object) -> Tensor:
    with ExitStack() as files:
        path = files.enter_context(as_file(mask))
        if isinstance(given, SpatialImage):
            given = files.enter_context(as_file(given))
        image = str(given) if isinstance(given, str | Path) else None
        try:
            return spec.parse_mask(path, image=image)
        except ValueError as error:
            raise EvidenceError(Problem(f"mask {name}", str(error).removeprefix(f"{path}: "))) from None


@contextmanager
def as_file(image: SpatialImage) -> Iterator[str]:
    """Write a nibabel image to a temporary file, and yield its path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii"
        nibabel.save(image, path)
        yield str(path)
