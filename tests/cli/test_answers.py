"""Answers by commands: exit codes, tables and files."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest
import yaml

from metavoxel.cli import main

ROWS = 20


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one command in this process, as a fixture may; its output and exit code."""
    command, out, err = ["metavoxel", *map(str, arguments)], StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as caught,
    ):
        patch.setattr(sys, "argv", command)
        main()
    return subprocess.CompletedProcess(command, caught.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    done = run("train", folder / "schema.yaml", "--output", folder / "run", "--precision", "32-true")
    assert done.returncode == 0, done.stderr
    return folder


def test_validate_counts_before_any_training(cohort: Path) -> None:
    done = run("validate", cohort / "schema.yaml")
    assert done.returncode == 0, done.stderr
    assert "20" in done.stdout
    assert "sex" in done.stdout


def test_predict_writes_one_row_per_input_row(cohort: Path) -> None:
    table = cohort / "predictions.tsv"
    done = run(
        "predict", cohort / "run", cohort / "table.tsv", "--target", "age,sex", "--given", "T1w", "--output", table
    )
    assert done.returncode == 0, done.stderr
    frame = pandas.read_csv(table, sep="\t")
    assert frame.columns.tolist() == ["id", "age", "age_sd", "age_p05", "age_p95", "sex", "sex_p[F]", "sex_p[M]"]
    assert frame["id"].tolist() == [f"s{row}" for row in range(ROWS)]
    assert frame["age_sd"].isna().all()
    assert np.allclose(frame["sex_p[F]"] + frame["sex_p[M]"], 1, atol=1e-5)


def test_quantiles_need_twenty_draws(cohort: Path) -> None:
    table = cohort / "draws.tsv"
    for draws, empty in ((2, True), (20, False)):
        options = ["--part", "test", "--target", "age", "--draws", draws, "--steps", 1, "--output", table]
        done = run("predict", cohort / "run", *options)
        assert done.returncode == 0, done.stderr
        frame = pandas.read_csv(table, sep="\t")
        assert len(frame) == 4
        assert frame["age_sd"].notna().all()
        assert frame["age_p05"].isna().all() == empty


def test_known_voxels_are_reproduced_exactly(cohort: Path) -> None:
    scan = nibabel.load(cohort / "s0.nii.gz")
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[:4] = 1
    nibabel.Nifti1Image(mask, scan.affine).to_filename(cohort / "mask.nii.gz")
    given = ["--given", f"T1w={cohort / 's0.nii.gz'}", "--mask", f"T1w={cohort / 'mask.nii.gz'}"]
    done = run("sample", cohort / "run", "-n", 2, *given, "--steps", 2, "--output", cohort / "filled")
    assert done.returncode == 0, done.stderr
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
    cohort: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(cohort / "run") if argument == "RUN" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["metavoxel", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr().err
    assert stopped.value.code == 2, printed
    assert message in printed
    assert "Traceback" not in printed


def test_the_schema_of_the_installed_types_is_printed() -> None:
    done = run("schema")
    assert done.returncode == 0
    assert '"kl_vae"' in done.stdout
