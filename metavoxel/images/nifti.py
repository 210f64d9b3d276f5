"""Headers of NIfTI-1 and NIfTI-2, in one file or as a pair, and of Analyze 7.5."""

import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spm2analyze import Spm2AnalyzeHeader

from metavoxel.images.contents import ImageFileError, read_start
from metavoxel.images.stored import AbstractStored, RawVoxels, check_real, place, spatial_shape

_NIFTI1, _NIFTI2 = 348, 540
"""Header sizes in bytes, stored in the first four bytes."""
_FIRST_VOXEL = {_NIFTI1: 352, _NIFTI2: 544}
"""Smallest offset of the voxels in a single file: four bytes after the header announce extensions."""
_MM_OF_UNIT = {1: 1000.0, 3: 0.001}
"""Metres and microns by NIfTI code; 2 is mm, and 0 (unknown) counts as mm."""
_HEADER, _VOXELS = ".hdr", ".img"
_PAIR = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)

_Header = Nifti1Header | Nifti2Header


def open_nifti(path: Path) -> AbstractStored:
    """Open a ``.nii`` file, or either file of a pair (``.hdr`` and ``.img``), compressed or not.

    Compression is detected from the content. Positions are in mm whatever the header's unit. Analyze files, and NIfTI
    files without sform and qform, have no orientation.

    Raises:
        ImageFileError: the header is broken, or does not match its file.
    """
    pair = _PAIR.search(path.name)
    head_file = _partner(path, _HEADER) if pair else path
    start = read_start(head_file, _NIFTI2)
    length, order = _length(start)
    magic = start[4:8] if length == _NIFTI2 else start[344:348]
    single = magic in (b"n+1\0", b"n+2\0")
    if single == bool(pair) or (not single and magic not in (b"ni1\0", b"ni2\0") and not pair):
        raise ImageFileError(
            "not the header of a single NIfTI file" if not pair else "not the header of a pair of files"
        )
    file = _partner(path, _VOXELS) if pair else path
    if pair and magic not in (b"ni1\0", b"ni2\0"):
        return _analyze(start[:_NIFTI1], order, file)
    kind = Nifti2Header if length == _NIFTI2 else Nifti1Header
    header = kind(start[:length], order, check=False)
    slope, inter = header.get_slope_inter()
    shape = spatial_shape(_sizes(header))
    affine, known = _affine(header, shape)
    voxel = header.get_data_dtype()
    check_real(voxel)
    return RawVoxels(
        file,
        place(shape, affine),
        known,
        voxel,
        _first_voxel(header, _FIRST_VOXEL[length] if single else 0),
        1.0 if slope is None else slope,
        0.0 if slope is None else inter,
    )


def _partner(path: Path, suffix: str) -> Path:
    """Find the header or voxel file of a pair, in the letter case of the given name."""
    match = _PAIR.search(path.name)
    if match is None or "." + match[1].lower() == suffix:
        return path
    wanted = suffix.upper() if match[1].isupper() else suffix
    stem, ends = path.name[: match.start()], [match[2] or "", "" if match[2] else ".gz"]
    candidates = [path.with_name(f"{stem}{wanted}{end}") for end in ends]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise ImageFileError(f"is one file of a pair, but the other, {candidates[0].name}, is missing beside it")
    return found


def _length(start: bytes) -> tuple[int, str]:
    """Parse the header's size in bytes, and its byte order."""
    for order in "<>":
        length = int(np.frombuffer(start[:4], order + "i4")[0]) if len(start) >= 4 else 0
        if length in (_NIFTI1, _NIFTI2) and len(start) >= length:
            return length, order
    raise ImageFileError(
        "not a NIfTI file: its first bytes are not a header" if start else "truncated: the file is empty"
    )


def _sizes(header: _Header | Spm2AnalyzeHeader) -> tuple[int, ...]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise ImageFileError(f"its header claims {count} axes")
    return tuple(int(size) for size in header["dim"][1 : count + 1])


def _first_voxel(header: _Header | Spm2AnalyzeHeader, earliest: int) -> int:
    """Parse the offset of the voxels, at least ``earliest``: some programs write 0 or the header's length.

    The file's length is checked on reading.
    """
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < 0 or offset != int(offset):
        raise ImageFileError(f"its header claims that voxels begin at byte {offset:g}")
    return max(int(offset), earliest)


def _affine(header: _Header, shape: tuple[int, int, int]) -> tuple[Float64[np.ndarray, "4 4"], bool]:
    """Compute the affine to mm, and whether it is the header's sform or qform, not voxel sizes alone."""
    steps = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    header["pixdim"][1:4] = steps
    unit = _MM_OF_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    known = True
    if int(header["sform_code"]) > 0:
        affine = header.get_sform()
    else:
        _check_steps(steps, shape)
        known = int(header["qform_code"]) > 0
        affine = header.get_qform() if known else _centred(steps, shape)
    affine[:3] *= unit
    return affine, known


def _centred(steps: Float64[np.ndarray, "3"], shape: tuple[int, int, int]) -> Float64[np.ndarray, "4 4"]:
    """Build an affine for unknown orientation: first axis to the left, as in SPM and nibabel, origin in the centre."""
    affine = np.diag([-steps[0], steps[1], steps[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def _analyze(start: bytes, order: str, file: Path) -> AbstractStored:
    """Open an Analyze file, scaled as in nibabel and SPM: by ``funused1``, or recorded and calibrated extremes."""
    header = Spm2AnalyzeHeader(start, order, check=False)
    shape = spatial_shape(_sizes(header))
    steps = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    _check_steps(steps, shape)
    voxel = header.get_data_dtype()
    check_real(voxel)
    slope, inter = (None if number is None else float(number) for number in header.get_slope_inter())
    return RawVoxels(
        file,
        place(shape, _centred(steps, shape)),
        False,
        voxel,
        _first_voxel(header, 0),
        1.0 if slope is None else slope,
        inter or 0.0,
    )


def _check_steps(steps: Float64[np.ndarray, "3"], shape: tuple[int, int, int]) -> None:
    if not ((steps > 0) & np.isfinite(steps))[np.array(shape) > 1].all():
        sizes = ", ".join(f"{step:g}" for step in steps)
        raise ImageFileError(f"its header has no valid voxel size (pixdim is {sizes}): save the file with one")
