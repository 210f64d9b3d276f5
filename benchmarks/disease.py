"""Disease from a slice and clinical columns: CDR above 0 in OASIS-1, by cross-validation.

python -m benchmarks.disease [--output runs/benchmark-disease] [--repeats 1] [--folds 5] [--networks]
    [--table ../shared/data/oasis1_slices/participants.csv]

Needs the plugin: pip install plugins/metavoxel-ordinal. Each fold trains the model of examples/oasis2d, including its
autoencoder, and predicts the rating from several sets of variables; a subject's score is the probability of a rating
above 0. Comparisons: logistic regression on the same clinical columns and training rows, and by `metavoxel compare`
logistic regression on principal components of the slice and the columns, and with `--networks` a DenseNet of both.
Areas under the ROC curve pool the test subjects of all folds; intervals are bootstrapped over subjects.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas
import torch
import yaml
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.oasis import TABLE, Fold, columns_of, folds, schema_of, subjects, trained
from benchmarks.tables import markdown
from metavoxel.evaluation.comparisons import FOLDER, ComparisonSettings, compare
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder

EXAMPLE = Path("examples/oasis2d/schema.yaml")
DEMOGRAPHICS = ("age", "sex", "education", "social")
QUESTIONS: Mapping[str, Sequence[str]] = {
    "slice, clinical": ("axial", *DEMOGRAPHICS, "MMSE"),
    "slice, clinical but MMSE": ("axial", *DEMOGRAPHICS),
    "slice": ("axial",),
    "clinical": (*DEMOGRAPHICS, "MMSE"),
    "clinical but MMSE": DEMOGRAPHICS,
}
COLUMNS = {"age": "Age", "sex": "M/F", "education": "Educ", "social": "SES", "MMSE": "MMSE"}
OWN = "joint model"


def logistic(frame: pandas.DataFrame, fold: Fold, names: Sequence[str]) -> np.ndarray:
    """Return the probability of disease in the test rows, from clinical columns; gaps are imputed and indicated."""
    train = np.setdiff1d(np.arange(len(frame)), np.concatenate([fold.test, fold.validation]))
    inputs, ill = columns_of(frame, [COLUMNS[name] for name in names]), (frame["CDR"] != "0").to_numpy()
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegressionCV(
            Cs=np.logspace(-3, 2, 11), max_iter=2000, scoring="neg_log_loss", l1_ratios=(0.0,),
            use_legacy_attributes=False,
        ),
    ).fit(inputs[train], ill[train])  # fmt: skip
    found: np.ndarray = model.predict_proba(inputs[fold.test])[:, 1]
    return found


def judged(output: Path, table: Path, chosen: Sequence[Fold], methods: Sequence[str]) -> Iterator[pandas.DataFrame]:
    """Yield one row per test subject, method and evidence set: probability of disease, and whether it is present."""
    frame, example = subjects(table), yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    variables = example["variables"]
    variables["axial"]["path"] = str(table.resolve().parent / variables["axial"]["path"])
    for fold in chosen:
        path, start = output / f"fold-{fold.name}.yaml", time.process_time()
        run = path.with_suffix("")
        model = trained(schema_of(frame, fold, variables, path), run)
        predicted: dict[tuple[str, str], np.ndarray] = {}
        tested = part_table(model, RunFolder(run), "test")
        for question, given in QUESTIONS.items():
            answer = model.predict(tested, "CDR", list(given)).set_index("ID")
            predicted[OWN, question] = 1 - answer["CDR_p[0]"].astype(float).loc[frame["ID"].iloc[fold.test]].to_numpy()
            if "axial" not in given:
                predicted["logistic regression", question] = logistic(frame, fold, given)
        for _ in compare(run, methods, ["CDR"], ComparisonSettings(samples=0)):
            pass
        for method in methods:
            place = run / FOLDER / method / "predictions-CDR.tsv"
            if place.exists():
                answer = pandas.read_csv(place, sep="\t", dtype={"ID": str}).set_index("ID")
                predicted[f"compare: {method}", "slice, clinical"] = (
                    1 - answer["CDR_p[0]"].astype(float).loc[frame["ID"].iloc[fold.test]].to_numpy()
                )
        print(f"  fold {fold.name}: {(time.process_time() - start) / 60:.1f} processor minutes", flush=True)
        for (method, question), probabilities in predicted.items():
            yield pandas.DataFrame(
                {
                    "method": method, "question": question, "repeat": fold.repeat, "p": probabilities,
                    "subject": frame["ID"].iloc[fold.test].to_numpy(),
                    "ill": (frame["CDR"].iloc[fold.test] != "0").to_numpy(),
                }
            )  # fmt: skip


def area(rows: pandas.DataFrame) -> Estimate:
    """Return the area under the ROC curve, with subjects resampled."""
    ill, chances = rows["ill"].to_numpy(), rows["p"].to_numpy()

    def figure(chosen: np.ndarray) -> float:
        return float(roc_auc_score(ill[chosen], chances[chosen])) if 0 < ill[chosen].mean() < 1 else float("nan")

    return bootstrap(figure, len(rows), subjects=list(rows["subject"]), rounds=2000)


def difference(rows: pandas.DataFrame, others: pandas.DataFrame) -> Estimate:
    """Return the difference of two areas of the same subjects, resampled together."""
    both = rows.merge(others, on=["repeat", "subject", "ill"], validate="one_to_one")
    ill = both["ill"].to_numpy()

    def figure(chosen: np.ndarray) -> float:
        if not 0 < ill[chosen].mean() < 1:
            return float("nan")
        first, second = (roc_auc_score(ill[chosen], both[name].to_numpy()[chosen]) for name in ("p_x", "p_y"))
        return float(first - second)

    return bootstrap(figure, len(both), subjects=list(both["subject"]), rounds=2000)


def shown(estimate: Estimate) -> str:
    """Format with three digits."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def main() -> None:
    """Train unless trained, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-disease"))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folds", type=int, help="number of folds; by default five per repeat")
    parser.add_argument("--networks", action="store_true", help="also train the DenseNet")
    parser.add_argument("--table", type=Path, default=TABLE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chosen = list(islice(folds(subjects(asked.table), asked.repeats), asked.folds))
    methods = ["linear", *(["densenet"] if asked.networks else [])]
    rows = pandas.concat(judged(asked.output, asked.table, chosen, methods))
    parts = dict(list(rows.groupby(["question", "method"], sort=False)))
    cells = [
        [question, method, shown(area(part)),
         "" if method == OWN else shown(difference(parts[question, OWN], part))]
        for (question, method), part in parts.items()
    ]  # fmt: skip
    print(f"{len(chosen)} folds, {rows['subject'].nunique()} subjects")
    print(markdown(["given", "method", "AUC", "joint model less this"], cells))


if __name__ == "__main__":
    main()
