"""Prediction on the command line: joint draws, base rates, measurement errors, likelihoods, images."""

import nibabel
import numpy as np
import pandas
import pytest


def table_of(path):
    return pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture
def predict(metavoxel, table_study, tmp_path):
    """Run ``metavoxel predict`` on the study's own table, and read its output."""

    def run(*arguments, output="o.tsv"):
        table = [table_study / "people.csv"]
        done = metavoxel("predict", table_study / "run", *table, *arguments, "--output", tmp_path / output)
        return done, (table_of(tmp_path / output) if (tmp_path / output).exists() else None)

    return run


def test_the_dependence_of_several_targets_is_reported(predict):
    done, _ = predict("--target", "age,sex", "--no-check")
    assert done.code == 0 and done.err == ""
    assert done.out.endswith("(each target by itself; draws give their joint distribution)\n")
    done, _ = predict("--target", "sex,age", "--draws", "1", "--steps", "2")
    assert done.out.endswith("(joint draws, one after another: age, sex)\n")
    done, _ = predict("--target", "age,sex", "--draws", "1", "--steps", "2", "--order", "together")
    assert done.out.endswith("(joint draws, all in one trajectory)\n")
    done, _ = predict("--target", "age")
    assert done.out.endswith("o.tsv\n")


def test_draws_are_written(predict, tmp_path):
    arguments = ["--target", "age,sex", "--draws", "3", "--steps", "2", "--order", "sex,age"]
    done, table = predict(*arguments, "--write-draws", tmp_path / "more" / "draws.tsv")
    assert done.code == 0
    draws = table_of(tmp_path / "more" / "draws.tsv")
    assert list(draws.columns) == ["participant_id", "draw", "age", "sex"] and len(draws) == 120
    assert set(draws["draw"]) == {"1", "2", "3"} and set(draws["sex"]) <= {"female", "male"}
    means = draws["age"].astype(float).groupby(draws["participant_id"]).mean()
    assert table["age"].astype(float).to_numpy() == pytest.approx(means[table["participant_id"]].to_numpy(), rel=1e-4)


def test_base_rates(predict):
    _, own = predict("--target", "sex")
    done, shifted = predict("--target", "sex", "--prior", "sex=female:0.01,male:0.99")
    assert done.code == 0
    assert (shifted["sex_p[male]"].astype(float) > own["sex_p[male]"].astype(float)).all()
    done, _ = predict("--target", "age", "--prior", "sex=female:0.5,male:0.4,other:x")
    assert done.code == 2
    assert done.lines == ["--prior sex: 'other:x' must be LABEL:PROBABILITY, as in F:0.5"]
    done, _ = predict("--target", "sex", "--prior", "sex=female:0.9,female:0.2,male:0.8")
    assert done.code == 2 and done.lines == ["--prior sex: 'female' is given twice"]
    done, _ = predict("--target", "sex", "--prior", "sex=female:0.7,male:0.4")
    assert done.lines == ["prior sex: the probabilities sum to 1.1, and must sum to 1 (within 0.001)"]


def test_log_likelihoods(predict):
    done, table = predict("--log-likelihood", "--evaluations", "4")
    assert done.code == 0
    assert list(table.columns) == ["participant_id", "logp[age]", "logp[sex]", "logp[score]"]
    assert (table["logp[age]"] == "").sum() == 6, "every seventh age is missing"
    assert (table["logp[sex]"].astype(float) < 0).all()
    done, table = predict("--log-likelihood", "--target", "sex", "--given", "score")
    assert list(table.columns) == ["participant_id", "logp[sex]"]
    done, _ = predict("--log-likelihood", "--draws", "2", "--vote", "--steps", "3")
    assert done.lines == [
        "--log-likelihood: scores observed values and predicts none: leave out --steps, --vote, --draws"
    ]
    done, _ = predict("--log-likelihood", "--target", "agee")
    assert done.lines[0].startswith("target: no variable 'agee'. Did you mean 'age'?")


def test_unusual_evidence_is_reported_and_does_not_change_predictions(metavoxel, table_study, tmp_path):
    rows = "participant_id,Age,Sex,score\nzoe,52,1,104\nadam,129,2,-9000\nmia,500,3,90\n"
    (tmp_path / "subjects.csv").write_text(rows)
    printed = {}
    for option in ("--check", "--no-check"):
        done = metavoxel(
            "predict", table_study / "run", tmp_path / "subjects.csv", "--target", "sex", "--given", "age,score",
            "--output", tmp_path / f"{option}.tsv", option,
        )  # fmt: skip
        assert done.code == 0
        printed[option] = done.lines
    blanked, unusual = printed["--check"]
    assert printed["--no-check"] == [blanked]
    assert blanked == "age: 1 taken as missing (outside valid [-30, 130]): 500"
    assert unusual.startswith("Unlike the training rows: ") and "adam: score = -9000 (p = " in unusual
    assert (tmp_path / "--check.tsv").read_bytes() == (tmp_path / "--no-check.tsv").read_bytes()
    done = metavoxel(
        "predict", table_study / "run", tmp_path / "subjects.csv", "--log-likelihood", "--target", "sex", "--given", "age",
        "--evaluations", "1", "--output", tmp_path / "fit.tsv",
    )  # fmt: skip
    assert done.code == 0
    assert done.lines == [blanked, "sex: 1 taken as missing (unknown category (known: female (1), male (2))): 3"]


def test_options_of_repaint(predict, tmp_path):
    """Grid, passes and segments each have an effect, and are refused where they have none."""
    options = ["--target", "age", "--draws", "1", "--steps", "4", "--no-check"]
    settings = {"--grid": "uniform", "--resamplings": "2", "--jump": "2"}
    ages = [predict(*options, "--conditioning", "repaint")[1]["age"]]
    for option, value in settings.items():
        done, table = predict(*options, "--conditioning", "repaint", option, value)
        assert done.code == 0 and not any(table["age"].equals(other) for other in ages)
        ages.append(table["age"])
    done, _ = predict(*options, "--grid", "karras")
    assert done.code == 2 and done.lines == ["--grid: 'karras' is not one of log_snr, uniform"]
    done, _ = predict(*options, "--particles", "4", "--jump", "2")
    assert done.code == 2 and done.lines == [
        "particles: has no effect with conditioning 'clean': use 'smc', or omit it",
        "jump: has no effect with conditioning 'clean': use 'repaint', or omit it",
        "2 problems.",
    ]  # fmt: skip


def test_a_number_with_a_measurement_error(metavoxel, table_study, tmp_path):
    def sample(cell, *more):
        return metavoxel(
            "sample", table_study / "run", "-n", "6", "--steps", "4", "--given", cell, *more, "--output", tmp_path
        )

    assert sample("age=30±2").code == 0
    ages = table_of(tmp_path / "samples.tsv")["age"].astype(float)
    assert ages.nunique() == 6 and ages.between(15, 45).all()
    assert sample("age=30+-2", "--conditioning", "smc", "--particles", "4").code == 0
    for conditioning in ("replace", "repaint"):
        assert sample("age=30±2", "--conditioning", conditioning).lines == [
            f"given age: an error (±) needs conditioning 'clean' or 'smc', not '{conditioning}'"
        ]
    assert "Only numbers may have an error (±): age, score" in sample("sex=1±1").err
    assert sample("age=30±-2").lines == [
        "given age=30±-2: the error '-2' must be a number in the variable's unit, at least 0: age=30±2"
    ]


def test_a_folder_of_samples_holds_one_run_of_the_command(metavoxel, scan_study, tmp_path):
    def sample(n):
        return metavoxel("sample", scan_study / "run", "-n", n, "--steps", "1", "--output", tmp_path / "out")

    assert sample(2).code == 0 and sample(1).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "sample-001_picture.png", "sample-001_volume.nii.gz", "samples.tsv",
    ]  # fmt: skip
    (tmp_path / "out" / "notes.txt").write_text("mine")
    done = sample(1)
    assert done.code == 2 and "holds other files (notes.txt); choose another --output" in done.err


def test_predicted_images_are_written_to_files(metavoxel, scan_study, tmp_path):
    (tmp_path / "two.csv").write_text(
        "participant_id,age,sex\nsub 1/x,30,F\nsub-2,60,M\n",
    )
    means = {}
    for draws in (0, 2):
        output = tmp_path / f"draws{draws}.tsv"
        arguments = ["--target", "volume,age", "--given", "sex", "--draws", draws, "--output", output]
        done = metavoxel(
            "predict", scan_study / "run", tmp_path / "two.csv", *arguments, *(["--steps", "2"] * (draws > 0))
        )
        assert done.code == 0, done.err
        table = table_of(output)
        assert list(table["volume"]) == [
            f"draws{draws}_images/row-0001_sub-1-x_volume.nii.gz", f"draws{draws}_images/row-0002_sub-2_volume.nii.gz",
        ]  # fmt: skip
        images = [nibabel.load(tmp_path / name) for name in table["volume"]]
        assert all(image.shape == (12, 8, 8) for image in images)
        means[draws] = images[0].get_fdata()
    assert np.abs(means[0] - means[2]).max() > 0
    (tmp_path / "draws0_images" / "mine.txt").write_text("")
    done = metavoxel(
        "predict", scan_study / "run", tmp_path / "two.csv", "--target", "volume", "--output", tmp_path / "draws0.tsv"
    )
    assert done.code == 2 and "holds other files (mine.txt)" in done.err


def test_a_bids_folder_needs_files_of_given_variables_only(metavoxel, scan_study, tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "new", "BIDSVersion": "1.8.0"}')
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-1\t30\tF\nsub-2\t60\tM\n")
    for options in (["--target", "age", "--given", "sex"], ["--log-likelihood", "--target", "age", "--given", "sex"]):
        output = tmp_path / "o.tsv"
        done = metavoxel("predict", scan_study / "run", tmp_path, *options, "--no-check", "--output", output)
        assert done.code == 0, done.err
        assert list(table_of(output)["participant_id"]) == ["sub-1", "sub-2"]
    done = metavoxel("predict", scan_study / "run", tmp_path, "--target", "age", "--given", "volume")
    assert done.code == 2 and "variable volume: no image with {suffix: T1w}" in done.lines[0]


def test_devices(metavoxel, table_study, tmp_path):
    for device in ("cpu", "auto"):
        done = metavoxel(
            "sample", table_study / "run", "-n", "1", "--steps", "1", "--output", tmp_path, "--device", device
        )
        assert done.code == 0
    for device in ("abacus", "cuda:77"):
        done = metavoxel("predict", table_study / "run", "--target", "age", "--device", device)
        assert done.code == 2 and done.lines[0].startswith(f"--device {device}: not a device of this machine")
