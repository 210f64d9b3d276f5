"""FreeSurfer's MGH and MGZ: what their headers claim."""

from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from metavoxel.images.contents import ImageFileError, read_start
from metavoxel.images.stored import AbstractStored, RawVoxels, place, spatial_shape

_FIRST_VOXEL = 284
_GOOD_RAS = slice(28, 30)
_LARGEST_FOOTER = 1 << 24
"""After the voxels come scan parameters, and tags: command lines, colour tables, transforms."""


def open_mgh(path: Path) -> AbstractStored:
    """The image of a ``.mgh`` or ``.mgz`` file. Where its flag for good coordinates is unset: 1 mm, no orientation.

    Raises:
        ImageFileError: a broken header, or one that does not fit its file.
    """
    start = read_start(path, _FIRST_VOXEL)
    if len(start) < _FIRST_VOXEL or start[:4] != (1).to_bytes(4, "big"):
        raise ImageFileError("truncated, or not an MGH file: its first bytes are not those of its header")
    known = any(start[_GOOD_RAS])
    header = MGHHeader(start, check=False)
    shape = spatial_shape(header["dims"].tolist())
    try:
        kind = header.get_data_dtype()
    except KeyError as error:
        raise ImageFileError(f"its header claims voxels of the unknown type {error}") from error
    affine = np.asarray(header.get_affine(), np.float64)
    return RawVoxels(path, place(shape, affine), known, kind, _FIRST_VOXEL, further=_LARGEST_FOOTER)
