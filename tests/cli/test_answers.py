"""Answers by commands: exit codes, tables and files."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas
import pytest
import yaml

ROWS = 20
Command = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def cohort(metavoxel: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of tiny volumes, age and sex."""
    folder = tmp_path_factory.mktemp("cohort")
    generator = np.random.default_rng(0)
    lines = ["id\tage\tsex\tfile"]
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [-16, -20, -8]
    for row in range(ROWS):
        age = generator.uniform(20, 80)
        volume = generator.normal(age / 40, 0.3, (8, 8, 8)).astype(np.float32)
        volume[:4] += 1
        nibabel.Nifti1Image(volume, affine).to_filename(folder / f"s{row}.nii.gz")
        lines.append(f"s{row}\t{age:.1f}\t{'FM'[row % 2]}\ts{row}.nii.gz")
    (folder / "table.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    schema = {
        "cohort": {"table": "table.tsv", "subject": "id", "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "variables": {
            "T1w": {"type": "image", "column": "file", "codec": {"type": "kl_vae", "downsampling": 2, "steps": 2}},
            "age": {"type": "continuous", "range": [20, 80]},
            "sex": {"type": "categorical", "categories": ["F", "M"]},
        },
        "backbone": {"type": "unet", "channels": [8, 8], "token_width": 16, "head_channels": 8, "token_layers": 1},
        "training": {"steps": 3, "batch_size": 4, "validate_every": 3},
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema, sort_keys=False), encoding="utf-8")
    done = metavoxel("train", folder / "schema.yaml", "--output", folder / "run", "--precision", "32-true")
    assert done.code == 0, done.err
    return folder


def test_validate_counts_before_any_training(metavoxel: Command, cohort: Path) -> None:
    done = metavoxel("validate", cohort / "schema.yaml")
    assert done.code == 0, done.err
    assert "20" in done.out
    assert "sex" in done.out


def test_predict_writes_one_row_per_input_row(metavoxel: Command, cohort: Path) -> None:
    table = cohort / "predictions.tsv"
    done = metavoxel(
        "predict", cohort / "run", cohort / "table.tsv", "--target", "age,sex", "--given", "T1w", "--output", table
    )
    assert done.code == 0, done.err
    frame = pandas.read_csv(table, sep="\t")
    assert frame.columns.tolist() == ["id", "age", "age_sd", "age_p05", "age_p95", "sex", "sex_p[F]", "sex_p[M]"]
    assert frame["id"].tolist() == [f"s{row}" for row in range(ROWS)]
    assert frame["age_sd"].isna().all()
    assert np.allclose(frame["sex_p[F]"] + frame["sex_p[M]"], 1, atol=1e-5)


def test_quantiles_need_twenty_draws(metavoxel: Command, cohort: Path) -> None:
    table = cohort / "draws.tsv"
    for draws, empty in ((2, True), (20, False)):
        options = ["--part", "test", "--target", "age", "--draws", draws, "--steps", 1, "--output", table]
        done = metavoxel("predict", cohort / "run", *options)
        assert done.code == 0, done.err
        frame = pandas.read_csv(table, sep="\t")
        assert len(frame) == 4
        assert frame["age_sd"].notna().all()
        assert frame["age_p05"].isna().all() == empty


def test_known_voxels_are_reproduced_exactly(metavoxel: Command, cohort: Path) -> None:
    scan = nibabel.load(cohort / "s0.nii.gz")
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[:4] = 1
    nibabel.Nifti1Image(mask, scan.affine).to_filename(cohort / "mask.nii.gz")
    given = ["--given", f"T1w={cohort / 's0.nii.gz'}", "--mask", f"T1w={cohort / 'mask.nii.gz'}"]
    done = metavoxel("sample", cohort / "run", "-n", 2, *given, "--steps", 2, "--output", cohort / "filled")
    assert done.code == 0, done.err
    table = pandas.read_csv(cohort / "filled" / "samples.tsv", sep="\t")
    volumes = [nibabel.load(cohort / "filled" / name) for name in table["T1w"]]
    low, high = np.percentile(scan.get_fdata(dtype=np.float32), [0.5, 99.5])
    expected = np.clip((scan.get_fdata(dtype=np.float32) - low) / (high - low), 0, 1)
    for volume in volumes:
        assert np.allclose(volume.affine, scan.affine)
        assert np.abs(volume.get_fdata()[:4] - expected[:4]).max() < 1e-6
    assert np.abs(volumes[0].get_fdata()[4:] - volumes[1].get_fdata()[4:]).max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "RUN", "--target", "agee"], "no variable 'agee'. Did you mean 'age'?"),
        (["predict", "RUN", "--target", "age", "--given", "age,sex"], "'age' is also a target"),
        (["predict", "RUN", "--target", ""], "name a variable to predict"),
        (["predict", "nowhere", "--target", "age"], "nowhere"),
        (["sample", "RUN", "--given", "age=abc"], "'abc' is not a number"),
        (["sample", "RUN", "--given", "age=500"], "outside valid"),
        (["sample", "RUN", "--given", "colour=red"], "no variable 'colour'"),
        (["sample", "RUN", "--given", "sex"], "NAME=VALUE"),
        (["sample", "RUN", "--solver", "euler"], "'euler' is not one of"),
        (["validate", "nowhere.yaml"], "no such file"),
        (["train", "nowhere.yaml"], "no such file"),
    ],
)
def test_user_errors_are_located_and_exit_with_two(
    metavoxel: Command,
    cohort: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = metavoxel(*(cohort / "run" if argument == "RUN" else argument for argument in arguments))
    assert done.code == 2, done.err
    assert message in done.err


def test_the_schema_of_the_installed_types_is_printed(metavoxel: Command) -> None:
    done = metavoxel("schema")
    assert done.code == 0
    assert '"kl_vae"' in done.out
