"""Headers of FreeSurfer's MGH and MGZ formats."""

from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from metavoxel.images.contents import ImageFileError, read_start
from metavoxel.images.stored import AbstractStored, RawVoxels, place, spatial_shape

_FIRST_VOXEL = 284
_GOOD_RAS = slice(28, 30)
_MAX_FOOTER = 1 << 24
"""Maximum bytes after the voxels: scan parameters, and tags (command lines, colour tables, transforms)."""


def open_mgh(path: Path) -> AbstractStored:
    """Open a ``.mgh`` or ``.mgz`` file. If ``goodRASFlag`` is unset, spacing is 1 mm and orientation unknown.

    Raises:
        ImageFileError: the header is broken, or does not match its file.
    """
    start = read_start(path, _FIRST_VOXEL)
    if len(start) < _FIRST_VOXEL or start[:4] != (1).to_bytes(4, "big"):
        raise ImageFileError("truncated, or not an MGH file: its first bytes are not an MGH header")
    known = any(start[_GOOD_RAS])
    header = MGHHeader(start, check=False)
    shape = spatial_shape(header["dims"].tolist())
    try:
        kind = header.get_data_dtype()
    except KeyError as error:
        raise ImageFileError(f"its header claims voxels of the unknown type {error}") from error
    affine = np.asarray(header.get_affine(), np.float64)
    return RawVoxels(path, place(shape, affine), known, kind, _FIRST_VOXEL, further=_MAX_FOOTER)
