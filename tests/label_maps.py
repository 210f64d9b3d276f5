"""Files and settings of label maps for tests."""

import nibabel
import numpy as np

from metavoxel.parts.variables.labelmap import LabelMapSpec

LESION = {"background": 0, "lesion": 1}


def affine_of(step=2.0, origin=(-8, -9, -10)):
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = origin
    return affine


def save(path, data, affine=None):
    nibabel.save(nibabel.Nifti1Image(data, affine_of() if affine is None else affine), path)
    return str(path)


def shells(shape=(16, 16, 16)):
    radius = np.linalg.norm(np.indices(shape).transpose(1, 2, 3, 0) - 7.5, axis=-1)
    return (3 - np.clip(radius // 3, 0, 3)).astype(np.uint8)


def round_trip(spec):
    return LabelMapSpec.model_validate(spec.model_dump(mode="json"))
