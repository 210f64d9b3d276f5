"""Lesion masks and tissue classes on the command line: validate, train, sample, predict, evaluate."""

import nibabel
import numpy as np
import pandas
import pytest
from tiny_cohorts import UNET, write_schema

AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
VAE = {"type": "kl_vae", "downsampling": 2, "channels": [8, 8], "latent_channels": 2, "steps": 20}
LESION = {"type": "labelmap", "labels": {"background": 0, "lesion": 7}, "codec": VAE}
TISSUE = {"type": "labelmap", "labels": ["outside", "grey", "white"], "codec": VAE}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 12 subjects: a scan, a lesion mask that is empty in every third, and classes of two tissues."""
    folder, draw = tmp_path_factory.mktemp("lesions"), np.random.default_rng(0)
    lines = ["participant_id\tT1w\tlesion\ttissue\tage"]
    radius = np.linalg.norm(np.indices((8, 8, 8)) - np.reshape([3.5] * 3, (3, 1, 1, 1)), axis=0)
    for row in range(12):
        mask = np.zeros((8, 8, 8), np.uint8)
        if row % 3:
            at = draw.integers(1, 6, 3)
            mask[at[0] : at[0] + 2, at[1] : at[1] + 2, at[2] : at[2] + 2] = 7
        tissue = (radius < 3.5 + 0.1 * row).astype(np.uint8) + (radius < 2 + 0.1 * row)
        scan = (tissue * 100 + mask * 20 + draw.normal(0, 5, mask.shape)).astype(np.float32)
        cells = []
        for name, voxels in (("T1w", scan), ("lesion", mask), ("tissue", tissue)):
            cells.append(f"s{row:02}_{name}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), folder / cells[-1])
        lines.append("\t".join([f"s{row:02}", *cells, str(20 + 4 * row)]))
    (folder / "subjects.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    age = {"type": "continuous", "range": [10, 90]}
    raw = {
        "cohort": {"table": "subjects.tsv", "split": {"train": 0.5, "validation": 0.2, "test": 0.3}},
        "variables": {"T1w": {"type": "image", "codec": VAE}, "lesion": LESION, "tissue": TISSUE, "age": age},
        "backbone": UNET,
        "training": {"steps": 20, "batch_size": 4, "validate_every": 10},
    }
    write_schema(folder, raw)
    return folder


def _labels(file):
    image = nibabel.load(file)
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(
        image.affine, nibabel.as_closest_canonical(nibabel.Nifti1Image(np.zeros((8,) * 3), AFFINE)).affine
    )
    return set(np.unique(np.asanyarray(image.dataobj)).tolist())


@pytest.mark.slow
def test_from_masks_to_samples_and_a_report(study, metavoxel):
    done = metavoxel("validate", study / "schema.yaml")
    assert done.code == 0 and "lesion in 8 (mean 64 mm³); 4 of background only" in done.out
    assert metavoxel("train", study / "schema.yaml", "--output", study / "run").code == 0
    given = ("--given", "age=40", "--given", f"T1w={study / 's01_T1w.nii.gz'}", "--steps", "4", "-n", "2")
    assert metavoxel("sample", study / "run", *given, "--output", study / "out").code == 0
    table = pandas.read_csv(study / "out/samples.tsv", sep="\t")
    for name, known in (("lesion", {0, 7}), ("tissue", {0, 1, 2})):
        assert all(_labels(study / "out" / file) <= known for file in table[name])
    for more in ((), ("--draws", "2", "--steps", "3")):
        output = study / f"predicted{len(more)}.tsv"
        done = metavoxel("predict", study / "run", "--target", "lesion,tissue", *more, "--output", output)
        assert done.code == 0, done.err
        predicted = pandas.read_csv(output, sep="\t")
        assert len(predicted) == 12
        assert all(_labels(study / file) <= {0, 7} for file in predicted["lesion"])
        assert all(_labels(study / file) <= {0, 1, 2} for file in predicted["tissue"])
    done = metavoxel("predict", study / "run", "--target", "age", "--given", "lesion", "--output", study / "age.tsv")
    assert done.code == 0 and pandas.read_csv(study / "age.tsv", sep="\t")["age"].notna().all()
    half = np.zeros((8, 8, 8), np.uint8)
    half[:4] = 1
    nibabel.save(nibabel.Nifti1Image(half, AFFINE), study / "half.nii.gz")
    part = ("--given", f"tissue={study / 's03_tissue.nii.gz'}", "--mask", f"tissue={study / 'half.nii.gz'}")
    done = metavoxel("sample", study / "run", *part, "-n", "1", "--steps", "4", "--output", study / "part")
    assert done.code == 0, done.err
    drawn = nibabel.load(study / "part/sample-001_tissue.nii.gz")
    truth = nibabel.as_closest_canonical(nibabel.load(study / "s03_tissue.nii.gz"))
    known = nibabel.as_closest_canonical(nibabel.load(study / "half.nii.gz")).get_fdata() > 0
    assert np.array_equal(np.asanyarray(drawn.dataobj)[known], np.asanyarray(truth.dataobj)[known])
    done = metavoxel(
        "evaluate", study / "run", "--output", study / "report", "--samples", "5", "--steps", "3", "--no-copies"
    )
    assert done.code == 0, done.err
    text = (study / "report/report.html").read_text(encoding="utf-8")
    assert "label map lesion: in no table of images" in text
    assert not (study / "report/quality-lesion.csv").exists() and (study / "report/quality-T1w.csv").exists()


def test_unknown_labels_are_refused_with_their_place(study, metavoxel):
    wrong = study / "s05_lesion.nii.gz"
    before = wrong.read_bytes()
    try:
        data = np.asanyarray(nibabel.load(wrong).dataobj).copy()
        data[0, 0, 0] = 3
        nibabel.save(nibabel.Nifti1Image(data, AFFINE), wrong)
        done = metavoxel("validate", study / "schema.yaml")
    finally:
        wrong.write_bytes(before)
    assert done.code == 2 and "s05_lesion.nii.gz" in done.err
    assert "1 of 512 voxels are none of the labels: 3 (1 voxels). Labels: background (0), lesion (7)" in done.err
