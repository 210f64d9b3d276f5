"""Several images in one schema: contrasts of one slice, a volume beside a picture, volumes on different grids."""

import json

import nibabel
import numpy as np
import pandas
import PIL.Image
import pytest
from tiny_cohorts import CONTRASTS, IMAGES, UNET, write_contrasts, write_schema
from tiny_runs import train

from metavoxel.runs.run import load

GRIDS = {"T1w": ((8, 8, 8), 2.0), "PET": ((4, 4, 6), 4.0)}


@pytest.fixture(scope="module")
def contrasts(tmp_path_factory):
    """A run on slices, with FLAIR missing in every other row."""
    folder = tmp_path_factory.mktemp("contrasts")
    write_contrasts(folder, rows=60)
    return trained(folder, CONTRASTS)


@pytest.fixture(scope="module")
def grids(tmp_path_factory):
    """A run on volumes of two grids, the second missing in some rows."""
    folder = tmp_path_factory.mktemp("grids")
    draw = np.random.default_rng(0)
    patterns = {name: draw.normal(0, 1, shape) for name, (shape, _) in GRIDS.items()}
    lines = ["participant_id\tT1w\tPET\tage"]
    for row in range(24):
        age, cells = draw.uniform(20, 80), {}
        for name, (shape, spacing) in GRIDS.items():
            cells[name] = f"s{row:02}_{name}.nii.gz"
            voxels = (draw.normal(0, 0.2, shape) + (age - 50) / 15 * patterns[name]).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([spacing] * 3 + [1])), folder / cells[name])
        lines.append(f"s{row:02}\t{cells['T1w']}\t{cells['PET'] if row % 4 else ''}\t{age:.1f}")
    nibabel.save(nibabel.Nifti1Image(patterns["PET"], np.eye(4)), folder / "pattern.nii.gz")
    (folder / "subjects.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    image = {"type": "image", "codec": "identity", "adapter": {"type": "grid_summary", "components": 3}}
    return trained(
        folder,
        {
            "cohort": {"table": "subjects.tsv"},
            "variables": {"T1w": image, "PET": image, "age": {"type": "continuous", "range": [10, 90]}},
            "backbone": UNET,
            "training": IMAGES["training"],
        },
    )


def trained(folder, raw):
    """The folder, with a finished run in ``run``."""
    train(write_schema(folder, raw), folder / "run")
    return folder


def pixels(path):
    return np.asarray(PIL.Image.open(path), np.float64) / 255


def test_contrasts_of_one_slice_share_a_grid(contrasts):
    assert list(load(contrasts / "run").joint.backbone.ports.grids) == ["grid_12x8"]


def test_rows_without_a_contrast_are_trained_on(contrasts):
    record = json.loads((contrasts / "run" / "run.json").read_text())
    assert record["dropped_incomplete_rows"] == 0
    table = pandas.read_csv(contrasts / "people.csv").set_index("participant_id")
    assert 0.3 < table.loc[record["split"]["train"], "FLAIR"].isna().mean() < 0.7


@pytest.mark.parametrize(("how", "share"), [([], 0.55), (["--draws", "12", "--steps", "8"], 0.6)])
def test_a_contrast_is_predicted_from_the_other(metavoxel, contrasts, tmp_path, how, share):
    """The error is at most a share of the mean image's, for subjects with and without FLAIR.

    FLAIR is the negative of T1w. The mean of a dozen draws has a residual variance. Errors are summed before they are
    compared, because no prediction is better than the mean image for a subject close to it.
    """
    output = tmp_path / "FLAIR.tsv"
    done = metavoxel(
        "predict", contrasts / "run", contrasts / "people.csv", "--target", "FLAIR", "--given", "T1w",
        "--output", output, *how,
    )  # fmt: skip
    assert done.code == 0, done.err
    table = pandas.read_csv(output, sep="\t")
    cohort = pandas.read_csv(contrasts / "people.csv")
    known = np.mean([pixels(contrasts / cell) for cell in cohort["FLAIR"].dropna()], 0)
    errors = {True: [], False: []}
    for cell, T1w, FLAIR in zip(table["FLAIR"], cohort["T1w"], cohort["FLAIR"], strict=True):
        truth = scaled(1 - pixels(contrasts / T1w))
        ours, floor = (np.abs(image - truth).mean() for image in (pixels(tmp_path / cell), scaled(known)))
        errors[FLAIR == FLAIR].append((ours, floor))
    for found in errors.values():
        ours, floor = np.sum(found, 0)
        assert ours / floor < share


def scaled(image):
    low, high = np.percentile(image, [0.5, 99.5])
    return np.clip((image - low) / (high - low), 0, 1)


def test_subjects_without_a_contrast_can_be_sampled(metavoxel, contrasts, tmp_path):
    scan = contrasts / "slices" / "s00_T1w.png"
    done = metavoxel(
        "sample", contrasts / "run", "-n", "2", "--given", f"T1w={scan}", "--steps", "4", "--output", tmp_path / "out"
    )
    assert done.code == 0, done.err
    table = pandas.read_csv(tmp_path / "out" / "samples.tsv", sep="\t")
    slices = [pixels(tmp_path / "out" / cell) for cell in table["FLAIR"]]
    assert slices[0].shape == (8, 12) and np.abs(slices[0] - slices[1]).max() > 0
    assert np.abs(pixels(tmp_path / "out" / table["T1w"][0]) - scaled(pixels(scan))).max() < 0.01


def test_a_picture_is_predicted_from_a_volume_and_back(metavoxel, scan_study, tmp_path):
    cohort = pandas.read_csv(scan_study / "people.csv")
    for target, given, shape in (("picture", "volume", (14, 10)), ("volume", "picture", (12, 8, 8))):
        output = tmp_path / f"{target}.tsv"
        done = metavoxel(
            "predict", scan_study / "run", scan_study / "people.csv", "--target", target, "--given", given,
            "--output", output,
        )  # fmt: skip
        assert done.code == 0, done.err
        cells = pandas.read_csv(output, sep="\t")[target]
        assert len(cells) == len(cohort)
        assert shape_of(tmp_path / cells[0]) == shape
        assert np.std([read(tmp_path / cell).mean() for cell in cells]) > 0, (
            "predictions must depend on the given image"
        )


def test_volumes_of_different_grids_keep_theirs(metavoxel, grids, tmp_path):
    assert set(load(grids / "run").joint.backbone.ports.grids) == {"grid_8x8x8", "grid_4x4x6"}
    output = tmp_path / "PET.tsv"
    done = metavoxel(
        "predict", grids / "run", grids / "subjects.tsv", "--target", "PET,age", "--given", "T1w", "--output", output
    )
    assert done.code == 0, done.err
    table = pandas.read_csv(output, sep="\t")
    image = nibabel.load(tmp_path / table["PET"][0])
    assert image.shape == (4, 4, 6) and np.allclose(image.affine, np.diag([4.0, 4.0, 4.0, 1.0]))
    age = pandas.read_csv(grids / "subjects.tsv", sep="\t")["age"]
    assert np.corrcoef(table["age"], age)[0, 1] > 0.8
    young, old = (read(tmp_path / table["PET"][place]) for place in (age.argmin(), age.argmax()))
    assert np.corrcoef((old - young).flatten(), read(grids / "pattern.nii.gz").flatten())[0, 1] > 0.8


def test_volumes_of_different_grids_are_sampled_together(metavoxel, grids, tmp_path):
    for name, (shape, _) in GRIDS.items():
        given = f"{name}={grids / f's01_{name}.nii.gz'}"
        done = metavoxel(
            "sample", grids / "run", "-n", "1", "--given", given, "--steps", "2", "--output", tmp_path / name
        )
        assert done.code == 0, done.err
        table = pandas.read_csv(tmp_path / name / "samples.tsv", sep="\t")
        assert read(tmp_path / name / table[name][0]).shape == shape
        other = next(known for known in GRIDS if known != name)
        assert read(tmp_path / name / table[other][0]).shape == GRIDS[other][0]


def read(path):
    return pixels(path).T if str(path).endswith(".png") else nibabel.load(path).get_fdata()


def shape_of(path):
    return read(path).shape
