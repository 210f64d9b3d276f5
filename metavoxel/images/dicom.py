"""DICOM series, in a folder or in one file, through SimpleITK; positions from each slice's own header, in RAS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Float64

from metavoxel.images.contents import ImageFileError
from metavoxel.images.grid import Grid
from metavoxel.images.itk import LPS_TO_RAS, failure, simpleitk
from metavoxel.images.stored import AbstractStored, place, spatial_shape

_IMAGE_TYPE, _SERIES_NAME, _POSITION, _ORIENTATION = "0008|0008", "0008|103e", "0020|0032", "0020|0037"
_SAME_DIRECTION = 1e-3
_SAME_STEP = 0.01
"""Relative difference below which distances between slices are equal, since headers round them."""


class _Slice(NamedTuple):
    """Header of one file; its position and directions are None where missing, as in projections."""

    file: Path
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    directions: Float64[np.ndarray, "2 3"] | None
    position: Float64[np.ndarray, "3"] | None


@final
@dataclass(frozen=True)
class DicomSeries(AbstractStored):
    """Files of one slice each in spatial order, or one file of all slices."""

    files: tuple[Path, ...]
    placed: Grid
    known: bool

    @property
    def grid(self) -> Grid:
        return self.placed

    @property
    def oriented(self) -> bool:
        return self.known

    def voxels(self) -> Float32[np.ndarray, "x y z"]:
        itk = simpleitk()
        width, height, depth = self.placed.shape
        data = np.empty((width, height, depth), np.float32)
        each = depth // len(self.files)
        for number, file in enumerate(self.files):
            try:
                image = itk.ReadImage(str(file))
            except RuntimeError as error:
                raise failure(error) from error
            values = np.asarray(itk.GetArrayViewFromImage(image), np.float32)
            data[:, :, number * each : (number + 1) * each] = values.reshape(each, height, width).T
        return data


def open_dicom(path: Path) -> AbstractStored:
    """Open the series of a folder, or the image of one file. Intensities are rescaled as the headers state.

    Slices must be equidistant. A file without a position, such as a projection, is a picture: x to the right, y up.

    Raises:
        ImageFileError: SimpleITK is missing, there is no series or more than one, slices are missing or coincide, or
            the pixels are colours.
    """
    slices = [_slice(file) for file in (_files(path) if path.is_dir() else [path])]
    if len(slices) == 1:
        return _single(slices[0])
    return _stack(slices)


def _files(folder: Path) -> list[Path]:
    reader = simpleitk().ImageSeriesReader
    series = reader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise ImageFileError("a folder without DICOM images, but an image file or a DICOM series is expected")
    files = {name: reader.GetGDCMSeriesFileNames(str(folder), name) for name in series}
    if len(series) > 1:
        listed = "; ".join(f"{_title(names[0])} ({len(names)} files)" for names in files.values())
        raise ImageFileError(f"a folder of {len(series)} DICOM series, but one is expected: {listed}. Separate them")
    return [Path(file) for file in files[series[0]]]


def _title(file: str) -> str:
    reader = _header(Path(file))
    return reader.GetMetaData(_SERIES_NAME).strip() if reader.HasMetaDataKey(_SERIES_NAME) else "unnamed"


def _header(file: Path):  # type: ignore[no-untyped-def]  # SimpleITK has no types
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise failure(error) from error
    return reader


def _slice(file: Path) -> _Slice:
    reader = _header(file)
    if reader.GetNumberOfComponents() != 1:
        raise ImageFileError(f"voxels must be real numbers, these are colours ({file.name})")
    if reader.HasMetaDataKey(_IMAGE_TYPE) and "MOSAIC" in reader.GetMetaData(_IMAGE_TYPE).upper():
        raise ImageFileError("slices lie side by side in one picture (a mosaic): convert it to NIfTI, e.g. by dcm2niix")
    directions = _numbers(reader, _ORIENTATION, 6)
    return _Slice(
        file,
        tuple(int(size) for size in reader.GetSize()),
        tuple(float(step) for step in reader.GetSpacing()),
        None if directions is None else directions.reshape(2, 3),
        _numbers(reader, _POSITION, 3),
    )


def _numbers(reader, tag: str, count: int) -> Float64[np.ndarray, "n"] | None:  # type: ignore[no-untyped-def]
    """Parse the numbers of a tag; None if it is missing."""
    if not reader.HasMetaDataKey(tag):
        return None
    values = np.array([float(number) for number in reader.GetMetaData(tag).split("\\")])
    if len(values) != count or not np.isfinite(values).all():
        raise ImageFileError(f"its tag ({tag.replace('|', ',')}) does not hold {count} numbers")
    return values


def _single(one: _Slice) -> AbstractStored:
    """Open one file: a slice, a projection, or all frames of a volume, whose positions are ITK's."""
    shape = spatial_shape(one.size)
    if shape[2] > 1:
        reader = _header(one.file)
        affine = np.eye(4)
        affine[:3, :3] = np.array(reader.GetDirection()).reshape(len(one.size), -1)[:3, :3] * one.spacing[:3]
        affine[:3, 3] = reader.GetOrigin()[:3]
        return DicomSeries((one.file,), place(shape, LPS_TO_RAS @ affine), True)
    if one.directions is None or one.position is None:
        upright = np.diag([one.spacing[0], -one.spacing[1], 1.0, 1.0])
        return DicomSeries((one.file,), place(shape, upright), False)
    thickness = one.spacing[2] if len(one.spacing) > 2 else 1.0
    step = np.cross(one.directions[0], one.directions[1]) * thickness
    return DicomSeries((one.file,), place(shape, _affine(one, one.position, step)), True)


def _stack(slices: Sequence[_Slice]) -> AbstractStored:
    first = slices[0]
    positions = []
    for one in slices:
        if one.directions is None or one.position is None or first.directions is None:
            raise ImageFileError(f"a series of {len(slices)} files without positions in space ({one.file.name})")
        if np.abs(one.directions - first.directions).max() > _SAME_DIRECTION:
            raise ImageFileError(f"slices of its series are not parallel ({first.file.name}, {one.file.name})")
        if one.size[:2] != first.size[:2] or not np.allclose(one.spacing[:2], first.spacing[:2], rtol=_SAME_STEP):
            raise ImageFileError(f"slices of its series are of different sizes ({first.file.name}, {one.file.name})")
        if math.prod(one.size[2:]) != 1:
            raise ImageFileError(f"a series of {len(slices)} files of several slices each: convert it to NIfTI")
        positions.append(one.position)
    assert first.directions is not None  # checked above
    heights = np.array(positions) @ np.cross(first.directions[0], first.directions[1])
    order = np.argsort(heights)
    steps = np.diff(heights[order])
    typical = float(np.median(steps))
    outlier = int(np.argmax(np.abs(steps - typical)))
    if steps.min() < _SAME_STEP or abs(steps[outlier] - typical) > _SAME_STEP * typical:
        names = " and ".join(slices[order[at]].file.name for at in (outlier, outlier + 1))
        if steps.min() < _SAME_STEP:
            reason = "some lie at one position, e.g. several time points or echoes"
        else:
            reason = f"they are {typical:.4g} mm apart, but {names} {steps[outlier]:.4g} mm: some are missing"
        raise ImageFileError(f"slices of its series do not form a volume: {reason}")
    start, end = positions[order[0]], positions[order[-1]]
    shape = spatial_shape((*first.size[:2], len(slices)))
    affine = _affine(first, start, (end - start) / (len(slices) - 1))
    return DicomSeries(tuple(slices[at].file for at in order), place(shape, affine), True)


def _affine(
    one: _Slice, position: Float64[np.ndarray, "3"], step: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """Map column, row and slice indices to mm (RAS). A tilted gantry shifts slices, so the step may be oblique."""
    assert one.directions is not None
    affine = np.eye(4)
    affine[:3, 0] = one.directions[0] * one.spacing[0]
    affine[:3, 1] = one.directions[1] * one.spacing[1]
    affine[:3, 2], affine[:3, 3] = step, position
    return LPS_TO_RAS @ affine
