"""Modified joint models, with the split and codecs of the run."""

import json

import pandas
import pytest
import torch
from compared_runs import PICTURES, QUICK, compared
from safetensors.torch import load_file
from tiny_cohorts import write_schema
from tiny_runs import train

from metavoxel.evaluation.comparisons.scalar_label import ScalarLabelSpec
from metavoxel.runs.run import RunFolder
from metavoxel.schema import load_schema
from metavoxel.testing import parametrize_checks, variable_checks


@parametrize_checks(variable_checks(ScalarLabelSpec(categories={"female": "1", "male": "2"}), ["1", "2", "male"]))
def test_scalar_label(check):
    check.run()


def test_ldm_models_the_images_alone(pictures):
    records = compared(pictures / "run", ["ldm"])
    assert not records["ldm"].failures and not records["ldm"].targets
    folder = pictures / "run" / "comparisons" / "ldm"
    samples = pandas.read_csv(folder / "samples" / "samples.tsv", sep="\t")
    assert list(samples.columns) == ["sample", "picture"] and len(samples) == 2
    assert all((folder / "samples" / name).exists() for name in samples["picture"])
    schema = load_schema(folder / "run" / "schema.yaml")
    assert list(schema.variables) == ["picture"]
    assert not schema.training.questions, "questions that name removed variables are dropped"
    own, run = RunFolder(folder / "run"), RunFolder(pictures / "run")
    assert own.read_record()["split"] == run.read_record()["split"]
    codec, same = load_file(own.codec("picture")), load_file(run.codec("picture"))
    assert all(torch.equal(codec[name], same[name]) for name in same)
    assert not own.cache.exists() and not list(folder.glob("*.tsv"))


def test_further_samples_and_targets_do_not_repeat_training(pictures):
    compared(pictures / "run", ["continuous_sex"], ["age"], QUICK._replace(samples=0))
    folder = pictures / "run" / "comparisons" / "continuous_sex"
    before = (folder / "run" / "model.safetensors").stat().st_mtime_ns
    assert not (folder / "samples").exists()
    compared(pictures / "run", ["continuous_sex"])
    assert (folder / "run" / "model.safetensors").stat().st_mtime_ns == before
    assert (folder / "predictions-sex.tsv").exists() and (folder / "samples" / "samples.tsv").exists()


@pytest.mark.slow
def test_continuous_sex_predicts_in_the_format_of_the_run(pictures):
    records = compared(pictures / "run", ["continuous_sex"])
    assert not records["continuous_sex"].failures
    folder = pictures / "run" / "comparisons" / "continuous_sex"
    sex = pandas.read_csv(folder / "predictions-sex.tsv", sep="\t")
    assert list(sex.columns) == ["participant_id", "sex", "sex_p[F]", "sex_p[M]"]
    assert ((sex["sex"] == "M") == (sex["sex_p[M]"] > 0.5)).all()
    assert sex["sex_p[M]"].between(0, 1).all()
    age = pandas.read_csv(folder / "predictions-age.tsv", sep="\t")
    assert list(age.columns) == ["participant_id", "age", "age_sd", "age_p05", "age_p95"]
    assert set(pandas.read_csv(folder / "samples" / "samples.tsv", sep="\t")["sex"]) <= {"F", "M"}
    record = json.loads((folder / "record.json").read_text())
    assert record["evaluations"] == 4 and record["seconds_a_row"] > 0 and record["training_seconds"] > 0
    assert (
        "type: scalar_label" in (folder / "run" / "schema.yaml").read_text()
        and "type: gaussian" in (folder / "run" / "schema.yaml").read_text()
    )


@pytest.mark.slow
def test_continuous_sex_with_shared_times(pictures):
    raw = {**PICTURES, "diffusion": {"times": "shared"}}
    train(write_schema(pictures, raw, name="shared.yaml"), pictures / "shared")
    records = compared(pictures / "shared", ["continuous_sex"])
    assert set(records["continuous_sex"].targets) == {"age", "sex"}
    folder = pictures / "shared" / "comparisons" / "continuous_sex"
    sex = pandas.read_csv(folder / "predictions-sex.tsv", sep="\t")
    assert (sex["sex_p[M]"] * 3 % 1).round(3).isin([0, 1]).all()  # a share of three draws
    assert json.loads((folder / "record.json").read_text())["evaluations"] == 150
