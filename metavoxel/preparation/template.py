"""The template of registration: ICBM 152 nonlinear symmetric 2009a, brain only, as packaged by nilearn."""

from functools import cache

import numpy as np
from nilearn import datasets

from metavoxel.images.grid import Grid
from metavoxel.images.image import Image

SPACE = "MNI152NLin2009aSym"
"""BIDS identifier of the space."""


@cache
def load_template() -> tuple[Image, Image]:
    """Load the T1w template and its brain mask (0 or 1), at 1 mm; downloads nothing."""
    template, mask = datasets.load_mni152_template(resolution=1), datasets.load_mni152_brain_mask(resolution=1)
    grid = Grid(template.shape, np.asarray(template.affine, np.float64))
    brain = (np.asarray(mask.dataobj) > 0.5).astype(np.float32)
    return Image(np.asarray(template.dataobj, np.float32), grid), Image(brain, grid)


def space_grid(spacing: float) -> Grid:
    """Return the template's field of view at ``spacing`` mm; at 1 mm it is the template's own grid."""
    template = Grid((197, 233, 189), np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]]))
    return template.resampled(spacing)
