import nibabel
import numpy as np
import pytest

from metavoxel.cohort.read import read_cohort
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.schema.settings import CohortSettings


def _save(path, shape, origin, step=4.0):
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = origin
    places = np.indices(shape).reshape(3, -1).T * step + origin
    ball = 1 / (1 + np.exp((np.linalg.norm(places - [6, -8, 10], axis=1) - 20) / 2))
    nibabel.save(nibabel.Nifti1Image(ball.reshape(shape).astype(np.float32), affine), path)


@pytest.fixture
def contrasts(tmp_path):
    """For four subjects: a head, a slab of its upper half, and an image of another space."""
    rows = ["participant_id\tT1w\tFLAIR\tfoot"]
    for index in range(4):
        _save(tmp_path / f"{index}_T1w.nii.gz", (16, 16, 16), (-30, -30, -30))
        _save(tmp_path / f"{index}_FLAIR.nii.gz", (16, 16, 9), (-30, -30, -2))
        _save(tmp_path / f"{index}_foot.nii.gz", (16, 16, 16), (0, 0, -15))
        rows.append("\t".join([f"s{index}", *(f"{index}_{name}.nii.gz" for name in ("T1w", "FLAIR", "foot"))]))
    (tmp_path / "subjects.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def _read(folder, **specs):
    settings = CohortSettings(table="subjects.tsv")
    return read_cohort(specs, settings, folder=folder, multiples=dict.fromkeys(specs, 4), split=False)


def test_images_of_one_space_share_a_grid(contrasts):
    cohort = _read(contrasts, T1w=ImageSpec(), FLAIR=ImageSpec())
    head, slab = (cohort.variables[name] for name in ("T1w", "FLAIR"))
    assert head.affine == slab.affine and head.shape == slab.shape == (16, 16, 16)
    whole, part = (cohort.columns[name].read([0])[0] for name in ("T1w", "FLAIR"))
    both = slab.inside(cohort.columns["FLAIR"].cells[0]) & head.inside(cohort.columns["T1w"].cells[0])
    assert int(both.sum()) == 16 * 16 * 9
    assert np.corrcoef(whole[both], part[both])[0, 1] > 0.999


def test_given_distant_and_box_grids_are_unchanged(contrasts):
    boxes = _read(contrasts, T1w=ImageSpec(place="box"), FLAIR=ImageSpec(place="box"))
    assert boxes.variables["FLAIR"].shape == (16, 16, 12)
    given = _read(contrasts, T1w=ImageSpec(shape=(24, 24, 24)), FLAIR=ImageSpec())
    assert (given.variables["T1w"].shape, given.variables["FLAIR"].shape) == ((24, 24, 24), (16, 16, 12))
    coarser = _read(contrasts, T1w=ImageSpec(), FLAIR=ImageSpec(spacing=8.0))
    assert coarser.variables["FLAIR"].spacing == 8.0 and coarser.variables["T1w"].shape == (16, 16, 16)
    for path in contrasts.glob("*_foot.nii.gz"):
        image = nibabel.load(path)
        image.affine[0, 3] += 300
        nibabel.save(nibabel.Nifti1Image(image.get_fdata(), image.affine), path)
    apart = _read(contrasts, T1w=ImageSpec(), foot=ImageSpec())
    assert apart.variables["T1w"].affine != apart.variables["foot"].affine


def test_a_label_map_shares_the_grid_of_its_scan(contrasts):
    """A mask of the brightest part of a slab, written in the slab's own field of view."""
    for path in contrasts.glob("*_FLAIR.nii.gz"):
        image = nibabel.load(path)
        mask = (image.get_fdata() > 0.5).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)
    labels = LabelMapSpec(labels={"background": 0, "ball": 1})
    cohort = _read(contrasts, T1w=ImageSpec(), FLAIR=labels)
    scan, ball = (cohort.variables[name] for name in ("T1w", "FLAIR"))
    assert scan.affine == ball.affine and scan.shape == ball.shape == (16, 16, 16)
    head = nibabel.load(contrasts / "0_T1w.nii.gz").get_fdata()  # whose grid is the model's
    upper = np.arange(16) >= 7  # where the slab begins: 28 mm above the head's first voxel
    found = cohort.columns["FLAIR"].read([0])[0, 0].numpy()
    assert np.array_equal(found > 0, (head > 0.5) & upper)
