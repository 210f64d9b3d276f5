"""Rigid transforms in mm, and their ITK text files."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from metavoxel.images.grid import Grid
from metavoxel.images.itk import LPS_TO_RAS

_HEAD = "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"


@final
@dataclass(frozen=True, eq=False)
class Rigid:
    """A rigid map of points in mm (RAS+), ``matrix @ (x, y, z, 1)``.

    For resampling it maps points of the target to points of the moving image, as in ITK.
    """

    matrix: Float64[np.ndarray, "4 4"]

    @property
    def angle(self) -> float:
        """Angle of the rotation in degrees."""
        return float(np.rad2deg(Rotation.from_matrix(self.matrix[:3, :3]).magnitude()))

    def inverse(self) -> "Rigid":
        """Return the inverse map."""
        return Rigid(np.linalg.inv(self.matrix))

    def after(self, first: "Rigid") -> "Rigid":
        """Compose: apply ``first``, then this map."""
        return Rigid(self.matrix @ first.matrix)

    def moved(self, grid: Grid) -> Grid:
        """Move a grid's voxels by this map."""
        return Grid(grid.shape, self.matrix @ grid.affine)

    def displacement(self, other: "Rigid", points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n"]:
        """Compute the distance in mm between the images of points under both maps."""
        difference = self.matrix - other.matrix
        return np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)

    def text(self) -> str:
        """Format as an ITK transform file (LPS); :func:`read_rigid` restores the map bit for bit."""
        matrix = LPS_TO_RAS @ self.matrix @ LPS_TO_RAS
        numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
        parameters = " ".join(repr(float(number)) for number in numbers)
        return f"{_HEAD}Parameters: {parameters}\nFixedParameters: 0 0 0\n"


def read_rigid(path: Path) -> Rigid:
    """Read a transform that :meth:`Rigid.text` wrote.

    Raises:
        ValueError: the file is not such a transform.
    """
    found = re.search(r"^Parameters: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    numbers = [float(number) for number in found[1].split()] if found else []
    if len(numbers) != 12:
        raise ValueError(f"{path}: not an affine transform in ITK's text format")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.reshape(numbers[:9], (3, 3)), numbers[9:]
    return Rigid(LPS_TO_RAS @ matrix @ LPS_TO_RAS)
