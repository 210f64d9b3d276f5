"""A disease with a focal effect, in phantom brains with a known exact posterior: areas under the ROC curve.

python -m benchmarks.phantom_disease [--subjects 800] [--output runs/benchmark-phantom-disease]

Writes the cohort, trains the joint model of T1w, age, sex and diagnosis, and predicts the diagnosis from several sets
of variables. Comparisons: logistic regression on principal components and a 3-D DenseNet of the same evidence
(``metavoxel compare``), and logistic regression on age and sex. *exact* is the posterior given the image's generating
factors. An interrupted run continues.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
import yaml
from sklearn.linear_model import LogisticRegression

import metavoxel as mv
from benchmarks.both_modes import timed
from benchmarks.disease import area, difference, shown
from benchmarks.phantoms import MINUTES, write_cohort
from benchmarks.tables import markdown
from metavoxel.cohort.phantoms import PhantomSettings, read_truth
from metavoxel.evaluation.comparisons import FOLDER, ComparisonSettings, compare
from metavoxel.runs.bars import show
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder

QUESTIONS: Sequence[Sequence[str]] = (("T1w", "age", "sex"), ("T1w",), ("age", "sex"))
OWN = "joint model"
METHODS = ("linear", "densenet")


def schema(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the schema of T1w, age, sex and diagnosis, with a quarter of the subjects for testing."""
    split = {"train": 0.7, "validation": 0.05, "test": 0.25, "seed": 0, "stratify": ["diagnosis"]}
    codec = {"type": "kl_vae", "downsampling": 4, "steps": arguments.codec_steps}
    variables: dict[str, object] = {
        "T1w": {"type": "image", "entities": {"suffix": "T1w"}, "spacing": arguments.spacing, "codec": codec},
        "age": {"type": "continuous", "range": [20, 90], "unit": "years"},
        "sex": {"type": "categorical", "categories": ["F", "M"]},
        "diagnosis": {"type": "categorical", "categories": ["control", "patient"]},
    }
    training = {"steps": arguments.steps}
    return {"cohort": {"bids": "cohort", "split": split}, "variables": variables, "training": training}


def clinical(model: mv.Model, folder: RunFolder) -> np.ndarray:
    """Return the probability of disease in the test rows, by logistic regression on age and sex."""
    inputs, ill = {}, {}
    for part in ("train", "test"):
        frame = part_table(model, folder, part).frame
        age = frame["age"].astype(float).to_numpy() / 20
        inputs[part] = np.column_stack([age, age**2, frame["sex"] == "M"])
        ill[part] = (frame["diagnosis"] == "patient").to_numpy()
    found: np.ndarray = LogisticRegression(max_iter=2000).fit(inputs["train"], ill["train"]).predict_proba(
        inputs["test"]
    )[:, 1]  # fmt: skip
    return found


def main() -> None:
    """Train unless trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=800)
    parser.add_argument("--spacing", type=float, default=8.0, help="mm")
    parser.add_argument("--codec-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, default=500, help="training steps of the joint network")
    parser.add_argument("--network-steps", type=int, default=2000, help="training steps of the DenseNet")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-phantom-disease"))
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    minutes, folder = output / MINUTES, RunFolder(output / "run")
    settings = PhantomSettings(subjects=arguments.subjects, spacing=arguments.spacing, disease=True)
    write_cohort(output, settings)
    (output / "run.yaml").write_text(yaml.safe_dump(schema(arguments), sort_keys=False))
    if not folder.weights.exists():
        with timed(minutes, "joint model"):
            show(mv.training(mv.load_schema(output / "run.yaml"), folder.path, resume=folder.record.exists()))
    for method in METHODS:
        with timed(minutes, method):
            networks = ComparisonSettings("small", arguments.network_steps, samples=0)
            show(compare(folder.path, [method], ["diagnosis"], networks))
    model = mv.load(folder.path)
    table = part_table(model, folder, "test")
    truth = read_truth(output / "cohort")
    known = truth.table.set_index("participant_id").loc[table.frame["participant_id"]]
    predicted = {
        (OWN, given): model.predict(table, "diagnosis", list(given))["diagnosis_p[patient]"].to_numpy(float)
        for given in QUESTIONS
    }
    for method in METHODS:
        found = pandas.read_csv(folder.path / FOLDER / method / "predictions-diagnosis.tsv", sep="\t")
        predicted[f"compare: {method}", QUESTIONS[0]] = found["diagnosis_p[patient]"].to_numpy(float)
    predicted["logistic regression", QUESTIONS[2]] = clinical(model, folder)
    predicted["exact", QUESTIONS[0]] = known["diagnosis_p[patient]_given_others"].to_numpy(float)
    predicted["exact", QUESTIONS[1]] = known["diagnosis_p[patient]"].to_numpy(float)
    ill = (table.frame["diagnosis"] == "patient").to_numpy()
    parts = {
        key: pandas.DataFrame({"p": probabilities, "ill": ill, "subject": table.frame["participant_id"], "repeat": 0})
        for key, probabilities in predicted.items()
    }
    cells = [
        [", ".join(given), method, shown(area(parts[method, given])),
         "" if method == OWN else shown(difference(parts[OWN, given], parts[method, given]))]
        for given in QUESTIONS for method in dict.fromkeys(name for name, _ in parts) if (method, given) in parts
    ]  # fmt: skip
    print(f"{len(ill)} test subjects, {ill.sum()} of them patients")
    print(markdown(["given", "method", "AUC", "joint model less this"], cells))
    print("Exact, of the population: " + "  ".join(f"{k} {v:.3f}" for k, v in truth.bounds._asdict().items() if v))


if __name__ == "__main__":
    main()
