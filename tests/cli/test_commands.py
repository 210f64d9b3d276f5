"""The commands: their output files and exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas
import PIL.Image
import pytest
import yaml
from tiny_cohorts import TABLE, write_schema, write_table

import metavoxel as mv
from metavoxel.runs.bars import show
from metavoxel.runs.progress import Progress


def table_of(path):
    return pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def test_help(metavoxel):
    for arguments in (
        ["--help"],
        ["train", "--help"],
        ["sample", "--help"],
        ["predict", "--help"],
        ["validate", "--help"],
    ):
        done = metavoxel(*arguments)
        assert done.code == 0 and "Usage: metavoxel" in done.out


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["train"], ["predict"], ["sample", "run", "-n", "0"], ["sample", "run", "-n", "many"],
     ["train", "s.yaml", "--devices", "0"], ["predict", "run", "--draws", "-1"], ["train", "s.yaml", "--colour", "red"]],
    ids=" ".join,
)  # fmt: skip
def test_misuse_exits_with_2(metavoxel, arguments):
    done = metavoxel(*arguments)
    assert done.code == 2 and "Usage: metavoxel" in done.err + done.out


def test_plugins(metavoxel):
    done = metavoxel("plugins")
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert ["codecs", "kl_vae", "metavoxel", mv.__version__] in rows
    assert {row[0] for row in rows if row} == {"variables", "codecs", "kernels", "adapters", "backbones"}
    assert done.code == 0


def test_failing_plugins_are_reported(metavoxel, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "mv_odd-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mv-odd\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[metavoxel]\nodd = mv_odd_module\n")
    (tmp_path / "mv_odd_module.py").write_text("import a_library_that_is_not_there\n")
    done = metavoxel("plugins")
    assert done.code == 0
    assert (
        "Not usable: mv-odd 0.3: importing it failed: ModuleNotFoundError: No module named 'a_library_that_is_not_there'"
        in done.out
    )


def test_json_schema(metavoxel):
    done = metavoxel("schema")
    assert done.code == 0 and json.loads(done.out)["title"] == "metavoxel schema"


def test_validate(metavoxel, table_study):
    done = metavoxel("validate", table_study / "schema.yaml")
    assert done.code == 0
    assert (
        "40 rows of 40 subjects: train 32 subjects (32 rows), validation 4 subjects (4 rows), test 4 subjects (4 rows)"
        in done.out
    )
    (age,) = [line for line in done.out.splitlines() if "│ age" in line]
    assert [cell.strip() for cell in age.split("│")][1:5] == ["age", "continuous", "34", "6"]
    assert "years" in age


def test_train_and_its_default_folder(metavoxel, tmp_path, monkeypatch):
    write_table(tmp_path)
    write_schema(tmp_path, TABLE, name="first.yaml", training={"steps": 2})
    monkeypatch.chdir(tmp_path)
    done = metavoxel("train", "first.yaml", "--accelerator", "cpu")
    assert done.code == 0
    share = r"held-out denoising loss at most 0\.\d{3} of that of a prediction of zero"
    assert re.search(rf"Trained: runs/first \(best step [0-2]; {share}\)", done.out)
    assert re.search(r"age: held-out denoising loss .*; network weight \S+, judged on \d+ rows", done.out)
    assert "joint 2/2" in done.err and "cohort 1/1 rows 40  dropped 0" in done.err
    assert (tmp_path / "runs" / "first" / "model.safetensors").exists()
    again = metavoxel("train", "first.yaml", "--accelerator", "cpu")
    assert again.code == 2 and "runs/first: holds a run already. Continue it with --resume" in again.err
    assert metavoxel("train", "first.yaml", "--accelerator", "cpu", "--resume").code == 0


def test_dropped_rows_are_reported(metavoxel, tmp_path):
    write_table(tmp_path)
    schema = write_schema(tmp_path, TABLE, diffusion={"times": "shared"}, training={"steps": 1})
    done = metavoxel("train", schema, "--output", tmp_path / "run", "--accelerator", "cpu")
    assert done.code == 0 and "dropped 6" in done.err


def test_predict_a_table(metavoxel, table_study, tmp_path):
    rows = "participant_id,Sex,score,remark\nzoe,1,50,\nadam,2,,the score is missing\nmia,n/a,90,so is the code\n"
    (tmp_path / "new subjects.csv").write_text(rows)
    output = tmp_path / "answers" / "ages.tsv"
    done = metavoxel(
        "predict", table_study / "run", tmp_path / "new subjects.csv", "--target", "age", "--output", output
    )
    assert done.code == 0 and f"3 rows: {output}" in done.out
    found = table_of(output)
    assert list(found.columns) == ["participant_id", "age", "age_sd", "age_p05", "age_p95"]
    assert list(found["participant_id"]) == ["zoe", "adam", "mia"]
    assert found["age"].astype(float).between(0, 100).all() and set(found["age_sd"]) == {""}


def test_predict_several_with_draws(metavoxel, table_study, tmp_path):
    output = tmp_path / "o.tsv"
    arguments = ["--target", "sex, age", "--given", "score", "--draws", "3", "--steps", "2", "--vote", "--seed", "4"]
    done = metavoxel("predict", table_study / "run", table_study / "people.csv", *arguments, "--output", output)
    assert done.code == 0
    found = table_of(output)
    assert list(found.columns) == [
        "participant_id", "sex", "sex_p[female]", "sex_p[male]", "age", "age_sd", "age_p05", "age_p95",
    ]  # fmt: skip
    assert list(found["participant_id"]) == [f"s{row:02}" for row in range(40)]
    assert (found["age_sd"].astype(float) > 0).all() and set(found["age_p05"]) == {""}
    again = metavoxel(
        "predict", table_study / "run", table_study / "people.csv", *arguments, "--output", tmp_path / "p.tsv"
    )
    assert again.code == 0 and output.read_bytes() == (tmp_path / "p.tsv").read_bytes()


def test_predict_a_part_of_the_runs_own_cohort(metavoxel, table_study, tmp_path):
    split = json.loads((table_study / "run" / "run.json").read_text())["split"]
    for part in ("train", "validation", "test"):
        done = metavoxel(
            "predict", table_study / "run", "--target", "age", "--part", part, "--output", tmp_path / "o.tsv"
        )
        assert done.code == 0
        assert list(table_of(tmp_path / "o.tsv")["participant_id"]) == sorted(split[part])
    done = metavoxel("predict", table_study / "run", "--target", "age", "--output", tmp_path / "o.tsv")
    assert done.code == 0 and len(table_of(tmp_path / "o.tsv")) == 40


def test_sample_a_table(metavoxel, table_study, tmp_path):
    done = metavoxel(
        "sample", table_study / "run", "-n", "3", "--given", "age=30", "--given", "sex = female", "--steps", "2",
        "--output", tmp_path,
    )  # fmt: skip
    assert done.code == 0 and "3 samples" in done.out
    found = table_of(tmp_path / "samples.tsv")
    assert list(found.columns) == ["sample", "age", "sex", "score"]
    assert (
        list(found["sample"]) == ["1", "2", "3"] and set(found["age"]) == {"30.0"} and set(found["sex"]) == {"female"}
    )
    done = metavoxel("sample", table_study / "run", "-n", "1", "--steps", "1")
    assert done.code == 0 and (table_study / "run" / "samples" / "samples.tsv").exists()


def test_sampled_images_have_the_geometry_of_the_cohort(metavoxel, scan_study, tmp_path):
    done = metavoxel("sample", scan_study / "run", "-n", "2", "--steps", "2", "--output", tmp_path)
    assert done.code == 0
    found = table_of(tmp_path / "samples.tsv")
    assert list(found["volume"]) == ["sample-001_volume.nii.gz", "sample-002_volume.nii.gz"]
    assert list(found["picture"]) == ["sample-001_picture.png", "sample-002_picture.png"]
    volume = nibabel.load(tmp_path / "sample-001_volume.nii.gz")
    assert volume.shape == (12, 8, 8) and nibabel.aff2axcodes(volume.affine) == ("R", "A", "S")
    assert volume.header.get_zooms() == (2, 2, 2)
    assert PIL.Image.open(tmp_path / "sample-002_picture.png").size == (14, 10)


def half_known(study, folder, known=5):
    """A volume of the cohort, and a mask of its first planes on the same grid."""
    image = nibabel.load(study / "scans" / "s01.nii.gz")
    mask = np.zeros(image.shape, np.uint8)
    mask[:known] = 1
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), folder / "mask.nii.gz")
    return study / "scans" / "s01.nii.gz", folder / "mask.nii.gz", mask.astype(bool)


def test_inpainting_keeps_known_voxels_exactly(metavoxel, scan_study, tmp_path):
    """Exactly in the written file, at the same position in mm."""
    scan, mask, known = half_known(scan_study, tmp_path)
    done = metavoxel(
        "sample", scan_study / "run", "-n", "2", "--steps", "2", "--given", f"volume={scan}", "--mask", f"volume={mask}",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0
    spec = mv.load(scan_study / "run").schema.variables["volume"].spec
    expected = spec.parse(str(scan))[0].numpy()
    known = spec.parse_mask(str(mask))[0].numpy()
    assert known.sum() == 5 * 8 * 7
    drawn = [nibabel.load(tmp_path / "out" / f"sample-00{number}_volume.nii.gz") for number in (1, 2)]
    for volume in drawn:
        voxels = volume.get_fdata(dtype=np.float32)
        assert np.array_equal(voxels[known], expected[known])
        assert not np.isclose(voxels[~known], expected[~known]).all()
        # World coordinates: the same voxel of the original lies where this one does.
        place = np.linalg.inv(nibabel.load(scan).affine) @ volume.affine @ [*np.argwhere(known)[0], 1]
        assert np.allclose(place, place.round()) and (place[:3].round() < 5).any()
    assert not np.array_equal(drawn[0].get_fdata(), drawn[1].get_fdata())


def test_inpainting_a_picture(metavoxel, scan_study, tmp_path):
    mask = np.zeros((10, 14), np.uint8)
    mask[:, :7] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    done = metavoxel(
        "sample", scan_study / "run", "-n", "1", "--steps", "2", "--given", f"picture={scan_study / 'scans' / 's02.png'}",
        "--mask", f"picture={tmp_path / 'mask.png'}", "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0
    spec = mv.load(scan_study / "run").schema.variables["picture"].spec
    expected = spec.parse(str(scan_study / "scans" / "s02.png"))[0].numpy()
    written = np.asarray(PIL.Image.open(tmp_path / "out" / "sample-001_picture.png"))
    grey = np.rint(expected.T[::-1] * 255)
    assert np.array_equal(written[:, :7], grey[:, :7]) and not np.array_equal(written[:, 7:], grey[:, 7:])


def test_debug_shows_a_traceback(metavoxel, monkeypatch, tmp_path):
    from metavoxel.cli import main
    from metavoxel.errors import SchemaError

    monkeypatch.setattr(sys, "argv", ["metavoxel", "--debug", "validate", str(tmp_path / "none.yaml")])
    with pytest.raises(SchemaError):
        main()


def test_an_interrupt_exits_with_130(metavoxel, monkeypatch, table_study):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("metavoxel.learning.training.training", interrupted)
    done = metavoxel("train", table_study / "schema.yaml", "--output", table_study / "other")
    assert done.code == 130 and "--resume" in done.err


def test_a_training_interrupted_while_printing_is_closed(monkeypatch):
    """Closing saves the training before the process exits."""
    closed = []

    def training():
        try:
            for step in range(100):
                yield Progress("joint", step, 100, {})
        finally:
            closed.append(True)

    def interrupted(self, *arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rich.progress.Progress.update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        show(training())
    assert closed


def test_the_command_in_a_process(tmp_path):
    """Exit code and streams as in a shell."""
    root = str(Path(mv.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    write_table(tmp_path)
    raw = yaml.safe_load(write_schema(tmp_path, TABLE).read_text())
    raw["variables"]["sex"]["wieght"] = 2
    raw["variables"]["age"]["type"] = "continous"
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(raw))
    start = [sys.executable, "-c", "from metavoxel.cli import main; main()", "validate", "schema.yaml"]
    done = subprocess.run(start, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "variables.age.type: unknown type 'continous'. Did you mean 'continuous'? Installed: categorical, continuous, image, labelmap",
        "variables.sex.wieght: not a setting of type 'categorical'. Did you mean 'weight'? Settings: column, weight, categories, valid",
        "2 problems.",
    ]  # fmt: skip
