"""Discriminative networks: inputs, training, and resuming."""

import json

import numpy as np
import pandas
import pytest
import torch
from compared_runs import QUICK, compared
from monai.networks.nets import DenseNet121
from safetensors.torch import load_file

from metavoxel.evaluation.comparisons import compare
from metavoxel.evaluation.comparisons.architectures import (
    BraidArchitecture,
    DenseNetArchitecture,
    Ports,
    ViTArchitecture,
)
from metavoxel.evaluation.comparisons.inputs import numbers as numeric_predictors
from metavoxel.evaluation.comparisons.predictor import Task, parameters
from metavoxel.evaluation.comparisons.study import open_run, read_study
from metavoxel.runs.run import RunFolder

ARCHITECTURES = {"densenet": DenseNetArchitecture(), "vit": ViTArchitecture(), "braid": BraidArchitecture()}
CPU = torch.device("cpu")


def study_of(folder, settings=QUICK):
    model, split = open_run(folder / "run")
    return read_study(folder / "run", model, split, ["age", "sex"], settings)


def weights_of(folder, method, target):
    return load_file(folder / "run" / "comparisons" / method / "networks" / target / "model.safetensors")


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("grid", [(3, 4), (16, 9), (40, 41), (7, 8, 9), (16, 17, 18)], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_depend_on_all_inputs(name, grid, size):
    """Outputs depend on the images and on the numbers, also on small grids."""
    network = ARCHITECTURES[name].build(Ports(grid, 2, 3, 4), size).eval()
    images, values = torch.randn(2, 2, *grid), torch.randn(2, 3)
    with torch.no_grad():
        outputs = network(images, values)
        assert outputs.shape == (2, 4)
        assert (network(images + torch.randn_like(images), values) - outputs).abs().max() > 1e-6
        assert (network(images, values + 1) - outputs).abs().max() > 1e-7


def test_the_full_densenet_is_densenet_121():
    full = DenseNetArchitecture().build(Ports((64, 64), 1, 1, 3), "full")
    assert parameters(full) == parameters(DenseNet121(2, 2, 3))


def test_numbers_are_standardised_and_missing_values_indicated(pictures):
    frame = pandas.read_csv(pictures / "people.csv", dtype=str)
    frame.loc[::4, "age"] = ""
    frame.to_csv(pictures / "people.csv", index=False)
    study = study_of(pictures)
    columns = numeric_predictors(study, ["picture", "age", "sex"])
    assert columns.shape == (48, 3)  # no image is missing, so images have no indicator
    age, missing, sex = columns.T
    assert (age[::4] == 0).all() and (missing == torch.arange(48).remainder(4).eq(0)).all()
    rows = study.known("train", "age")
    assert abs(age[rows].mean()) < 1e-5 and abs(age[rows].std(correction=0) - 1) < 1e-5
    assert len(sex.unique()) == 2


@pytest.mark.slow
def test_a_network_learns(pictures):
    """Age is the height of a bar in the picture, and sex its side."""
    compared(pictures / "run", ["densenet"], settings=QUICK._replace(steps=100))
    truth = pandas.read_csv(pictures / "people.csv").set_index("participant_id")
    folder = pictures / "run" / "comparisons" / "densenet"
    age = pandas.read_csv(folder / "predictions-age.tsv", sep="\t").set_index("participant_id")
    assert list(age.columns) == ["age", "age_sd", "age_p05", "age_p95"] and age["age_sd"].isna().all()
    truth = truth.loc[age.index]
    assert list(age.index) == RunFolder(pictures / "run").read_record()["split"]["test"]
    assert np.corrcoef(age["age"], truth["age"])[0, 1] > 0.7
    sex = pandas.read_csv(folder / "predictions-sex.tsv", sep="\t").set_index("participant_id")
    assert list(sex.columns) == ["sex", "sex_p[F]", "sex_p[M]"]
    assert (sex["sex"] == truth["sex"]).mean() >= 0.8
    record = json.loads((folder / "record.json").read_text())
    assert record["method"] == "densenet" and record["evaluations"] == 1 and record["failed"] is None
    assert record["training_seconds"] > 0 and record["seconds_a_row"] > 0
    assert record["targets"] == {"age": ["picture", "sex"], "sex": ["picture", "age"]}
    assert not (folder / "networks" / "age" / "checkpoints").exists()


def test_braid_predicts_numbers_only(pictures):
    records = compared(pictures / "run", ["braid"])
    assert set(records["braid"].targets) == {"age"} and not records["braid"].failures
    assert not (pictures / "run" / "comparisons" / "braid" / "predictions-sex.tsv").exists()


def test_an_interrupted_training_resumes_to_the_same_weights(pictures, tmp_path):
    settings = QUICK._replace(steps=6)
    compared(pictures / "run", ["densenet"], ["age"], settings)
    uninterrupted = weights_of(pictures, "densenet", "age")
    folder = pictures / "run" / "comparisons" / "densenet"
    folder.rename(tmp_path / "uninterrupted")
    steps = compare(pictures / "run", ["densenet"], ["age"], settings)
    for progress in steps:
        if progress.stage == "densenet age" and progress.done == 3:
            break
    steps.close()
    record = json.loads((folder / "record.json").read_text())
    assert record["targets"] == {} and record["training_seconds"] == 0
    before = json.loads((folder / "seconds.json").read_text())["age"]
    compared(pictures / "run", ["densenet"], ["age"], settings)
    resumed = weights_of(pictures, "densenet", "age")
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    record = json.loads((folder / "record.json").read_text())
    assert record["training_seconds"] > before
    table = "predictions-age.tsv"
    assert (folder / table).read_bytes() == (tmp_path / "uninterrupted" / table).read_bytes()


def test_the_best_step_is_saved(pictures):
    compared(pictures / "run", ["vit"], ["age"], QUICK._replace(steps=8))
    folder = pictures / "run" / "comparisons" / "vit" / "networks" / "age"
    errors = [json.loads(line)["validation"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    study = study_of(pictures)
    task = Task(study, "age")
    network = task.network(ViTArchitecture())
    network.load_state_dict(load_file(folder / "model.safetensors"))
    rows = study.known("validation", "age")
    with torch.no_grad():
        error = task.losses(network.eval()(task.inputs(rows, CPU)), rows).mean()
    assert abs(float(error) - min(errors)) < 1e-5
