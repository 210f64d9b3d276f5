"""Demonstration: train a model on a phantom cohort, and compare its predictions with the ground truth."""

from pathlib import Path

import numpy as np
import pandas
import torch
from rich.console import Console
from rich.table import Table

from metavoxel.cli.output import claim_folder
from metavoxel.cohort.phantoms import PhantomSettings, Truth, read_truth, write_phantom
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.inference.model import Model
from metavoxel.inference.plot import Picture, Row, draw_sheet
from metavoxel.learning.training import training
from metavoxel.runs.bars import show
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder, load
from metavoxel.schema import load_schema

SCHEMA = """# A phantom cohort: a BIDS folder, as a real one would be.
cohort:
  bids: cohort
  split: {train: 0.7, validation: 0.1, test: 0.2, seed: 0, stratify: [sex]}
variables:
  T1w:
    type: image
    entities: {suffix: T1w}
    spacing: 5.0                      # mm, isotropic
  age: {type: continuous, range: [20, 90], unit: years}
  sex: {type: categorical, categories: [F, M]}
training: {steps: 300}
"""
SHOWN = 6


def demonstrate(output: Path, subjects: int) -> None:
    """Write a phantom cohort, train on it, and compare predictions with the ground truth."""
    console = Console()
    settings = PhantomSettings(subjects=subjects, spacing=5.0)
    run = output / "run"
    claim_folder(output)
    if not RunFolder(run).record.exists():  # a resumed run needs the files it started with
        console.print(f"Writing {subjects} phantom brains to {output / 'cohort'}")
        for _ in write_phantom(output / "cohort", settings):
            pass
        (output / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    if not RunFolder(run).weights.exists():
        show(training(load_schema(output / "schema.yaml"), run, resume=RunFolder(run).record.exists()))
    model = load(run)
    truth = read_truth(output / "cohort")
    rows = part_table(model, RunFolder(run), "test")
    predicted = model.predict(rows, ["age", "sex"], ["T1w"])
    predicted.to_csv(output / "predictions.tsv", sep="\t", index=False)
    known = truth.table.set_index("participant_id").loc[predicted["participant_id"]].reset_index()
    training_ages = _training_ages(truth, RunFolder(run))
    console.print(_table(predicted, known, truth, training_ages))
    draw_sheet(_rows(model, rows, predicted, known), output / "contact_sheet.png")
    console.print(f"Pictures: {output / 'contact_sheet.png'}   Predictions: {output / 'predictions.tsv'}")
    console.print(f"Draw samples: metavoxel sample {run} -n 4 --given age=80 --given sex=F", soft_wrap=True)


def _training_ages(truth: Truth, run: RunFolder) -> np.ndarray:
    split = run.read_record()["split"]["train"]
    ages: np.ndarray = truth.table.set_index("participant_id").loc[split]["age"].to_numpy(float)
    return ages


def _table(predicted: pandas.DataFrame, known: pandas.DataFrame, truth: Truth, training_ages: np.ndarray) -> Table:
    """Table of held-out errors, Bayes errors given the generating factors, and errors of a constant prediction."""
    age, male = known["age"].to_numpy(float), known["sex"].to_numpy() == "M"
    errors = {
        "metavoxel, from the image": np.abs(predicted["age"].to_numpy(float) - age),
        "exact, from the generating factors": np.abs(known["age_median"].to_numpy(float) - age),
        "median of the training subjects": np.abs(np.median(training_ages) - age),
    }
    right = {
        "metavoxel, from the image": (predicted["sex"].to_numpy() == "M") == male,
        "exact, from the generating factors": (known["sex_p[M]"].to_numpy(float) > 0.5) == male,
        "median of the training subjects": np.full(len(age), max(male.mean(), 1 - male.mean())),
    }
    table = Table(
        "", "age: mean absolute error (years)", "sex: accuracy", title=f"{len(age)} held-out phantom subjects"
    )
    for name, error in errors.items():
        table.add_row(name, str(bootstrap_mean(error)), str(bootstrap_mean(right[name].astype(float))))
    table.add_row(
        "exact, expected over the population", f"{truth.bounds.age_mae:.2f}", f"{truth.bounds.sex_accuracy:.2f}"
    )
    ratio = errors["metavoxel, from the image"].mean() / truth.bounds.age_mae
    table.caption = (
        f"Age error is {ratio:.2f} times the Bayes error given the factors; brackets are bootstrap 95 % intervals."
    )
    return table


def _rows(model: Model, rows: object, predicted: pandas.DataFrame, known: pandas.DataFrame) -> list[Row]:
    cohort = model.read(rows, ["T1w"])  # type: ignore[arg-type]
    shown = list(range(min(SHOWN, len(cohort))))
    images = [cohort.columns["T1w"].read([row])[0] for row in shown]
    codec = model.codecs["T1w"]
    captions = [
        f"{known['age'][row]:.0f} {known['sex'][row]} (pred. {predicted['age'][row]:.0f} {predicted['sex'][row]})"
        for row in shown
    ]
    with torch.inference_mode():
        rebuilt = [codec.decode(codec.encode(image[None]).mean)[0] for image in images]
    half = torch.zeros_like(images[0], dtype=torch.bool)
    half[:, : half.shape[1] // 2] = True
    inpainted = [
        model.sample(1, {"T1w": image}, {"T1w": half}, seed=row)["T1w"][0]
        for row, image in zip(shown, images, strict=True)
    ]
    drawn = model.sample(SHOWN, seed=0)
    spec = model.schema.variables["sex"].spec
    samples = [
        Picture(drawn["T1w"][k], f"{float(drawn['age'][k]):.0f} {spec.format(drawn['sex'][k])}") for k in range(SHOWN)
    ]
    ages = np.linspace(25, 85, SHOWN).round()
    sweep = [Picture(model.sample(1, {"age": age, "sex": "F"}, seed=1)["T1w"][0], f"given {age:.0f} F") for age in ages]
    return [
        Row("held out:\ntrue (pred.)", [Picture(image, text) for image, text in zip(images, captions, strict=True)]),
        Row("reconstructed", [Picture(image, "") for image in rebuilt]),
        Row("half given", [Picture(torch.where(half, image, 0.0), "") for image in images]),
        Row("inpainted", [Picture(image, "") for image in inpainted]),
        Row("sampled:\nage, sex", samples),
        Row("same noise,\nage given", sweep),
    ]
