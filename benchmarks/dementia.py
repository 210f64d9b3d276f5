"""Dementia ratings (CDR 0, 0.5, 1) of OASIS-1 as `ordinal` and as `categorical`, by repeated cross-validation.

python -m benchmarks.dementia [--output runs/benchmark-dementia] [--repeats 3]
    [--table ../shared/data/oasis1_slices/participants.csv]

Needs the plugin: pip install plugins/metavoxel-ordinal. Each fold trains a model on a table without images: rating,
age, sex, education, MMSE, and the volumes of brain and head. It predicts the rating from all others, and from all but
MMSE, which largely determines it. The ranked probability score (Epstein 1969) is the mean squared error of the
cumulative probabilities, over the cuts between levels.

Brain volume is in thousandths of the head's, except in eleven cells that are a thousand times too small: `valid` sets
them to missing, as they would dominate the column's variance.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas
import torch

from benchmarks.oasis import RATINGS, TABLE, folds, schema_of, subjects, trained
from benchmarks.tables import markdown
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap_mean

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "categorical": {"type": "categorical", "categories": list(RATINGS)},
    "ordinal": {"type": "ordinal", "levels": list(RATINGS)},
}
OTHERS: Mapping[str, Mapping[str, object]] = {
    "age": {"type": "continuous", "column": "Age"},
    "sex": {"type": "categorical", "column": "M/F", "categories": ["F", "M"]},
    "education": {"type": "continuous", "column": "Educ"},
    "MMSE": {"type": "continuous"},
    "brain": {"type": "continuous", "column": "nWBV", "valid": [500, 1000]},  # thousandths, but for eleven cells
    "head": {"type": "continuous", "column": "eTIV"},
}
QUESTIONS: Mapping[str, list[str]] = {
    "all others": list(OTHERS),
    "all but MMSE": [name for name in OTHERS if name != "MMSE"],
}
TRAINING = {"steps": 200, "batch_size": 128, "learning_rate": 1e-3, "warm_up": 30, "validate_every": 25}
BACKBONE = {"type": "transformer", "width": 48, "depth": 2, "heads": 4, "dropout": 0.1}
FIGURES = ("score", "right", "off")


def judged(output: Path, table: Path, repeats: int) -> Iterator[pandas.DataFrame]:
    """Yield one row per subject, query and variant: ranked score, accuracy of the mode, error of the median in levels.

    Also for the frequencies in the training rows.
    """
    frame = subjects(table)
    levels = frame["CDR"].map(RATINGS.index).to_numpy()
    for fold in folds(frame, repeats):
        test, training = frame.iloc[fold.test].drop(columns="CDR"), np.setdiff1d(np.arange(len(frame)), fold.test)
        shares = np.bincount(levels[training], minlength=len(RATINGS)) / len(training)
        predicted = {
            ("shares of the training rows", question): np.tile(shares, (len(test), 1)) for question in QUESTIONS
        }
        for variant, rating in VARIANTS.items():
            path = output / f"{variant}-{fold.name}.yaml"
            variables = {**OTHERS, "CDR": rating}
            schema = schema_of(frame, fold, variables, path, backbone=BACKBONE, training=TRAINING)
            model = trained(schema, path.with_suffix(""))
            for question, given in QUESTIONS.items():
                answer = model.predict(test, "CDR", given)
                predicted[variant, question] = answer[[f"CDR_p[{label}]" for label in RATINGS]].to_numpy(float)
        truth = levels[fold.test]
        for (variant, question), probabilities in predicted.items():
            below, cuts = probabilities.cumsum(1)[:, :-1], truth[:, None] <= np.arange(len(RATINGS) - 1)
            yield pandas.DataFrame(
                {
                    "variant": variant,
                    "question": question,
                    "repeat": fold.repeat,
                    "subject": test["ID"].to_numpy(),
                    "score": ((below - cuts) ** 2).mean(1),
                    "right": (probabilities.argmax(1) == truth).astype(float),
                    "off": np.abs((below < 0.5 - 1e-6).sum(1) - truth).astype(float),
                }
            )


def shown(estimate: Estimate) -> str:
    """Format with three digits."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def main() -> None:
    """Train unless trained, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-dementia"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", type=Path, default=TABLE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = pandas.concat(judged(asked.output, asked.table, asked.repeats))
    cells = [
        [question, variant, *(shown(bootstrap_mean(part[name], subjects=list(part["subject"]))) for name in FIGURES)]
        for (question, variant), part in rows.groupby(["question", "variant"], sort=False)
    ]
    print(markdown(["given", "rating as", "ranked probability score", "share right", "levels off (median)"], cells))
    wide = rows.pivot_table(index=["question", "repeat", "subject"], columns="variant", values=list(FIGURES))
    for question, part in wide.groupby("question", sort=False):
        for name in FIGURES:
            paired = part[name]["ordinal"] - part[name]["categorical"]
            interval = bootstrap_mean(paired, subjects=list(part.index.get_level_values("subject")))
            each = paired.groupby("repeat").mean()
            print(f"{question}: {name}, ordinal less categorical {shown(interval)}; by repeat "
                  + ", ".join(f"{value:.3f}" for value in each))  # fmt: skip


if __name__ == "__main__":
    main()
