"""T1w + age + sex of ds000228, by split seed: the joint model, ridge regression and the population mean.

python benchmarks/ds000228.py --seeds 0 1 2 [--paper] [--draws] [--output runs/benchmark-ds000228]

Every seed draws a split of the subjects, fits to its training part alone, and is evaluated on its test part. Errors are
pooled over seeds; intervals are bootstrapped over subjects, who may be in several test parts.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import metavoxel as mv
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap, bootstrap_mean
from metavoxel.runs.bars import show
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder
from metavoxel.schema import Schema

COMPONENTS = 60
TABLE = Path("../shared/data/ds000228/participants.tsv")
EXAMPLE = Path("examples/ds000228")
READ_OUTS = {
    "4 evaluations": {"evaluations": 4},
    "1 evaluation": {"evaluations": 1},
    "20 draws": {"draws": 20, "steps": 50},
}
"""Predictions of age from the image alone."""


def with_split(schema: Schema, seed: int, table: Path) -> Schema:
    """Return the example's schema with this table and split seed."""
    split = schema.cohort.split.model_copy(update={"seed": seed})
    return replace(schema, cohort=schema.cohort.model_copy(update={"split": split, "table": table.resolve()}))


def images(model: mv.Model, folder: RunFolder, part: str) -> tuple[np.ndarray, pandas.DataFrame, torch.Tensor]:
    """Return flattened images (n, voxels), their table, and a mask of voxels that are not padding."""
    table = part_table(model, folder, part)
    cohort = model.read(table, ["T1w"])
    data = cohort.columns["T1w"].read(range(len(cohort))).flatten(1).numpy()
    inside = model.schema.variables["T1w"].spec.inside(str(cohort.columns["T1w"].cells[0]))
    return data, table.frame, inside.flatten()


def psnr(rebuilt: np.ndarray, data: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each image (dB) over unpadded voxels, with intensities in [0, 1]."""
    return -10 * np.log10(((rebuilt.clip(0, 1) - data)[:, inside] ** 2).mean(1))


def judge(run: Path, draws: bool) -> tuple[pandas.DataFrame, dict[str, float]]:
    """Return true values and every method's predictions, one row per test subject, and figures of the codec.

    With ``draws``, also age from the image alone by 4 evaluations, by one, and by the mean of 20 draws of 50 steps.
    """
    model, folder = mv.load(run), RunFolder(run)
    train, train_frame, inside = images(model, folder, "train")
    test, frame, _ = images(model, folder, "test")
    inside = inside.numpy()
    age, train_age = frame["Age"].astype(float).to_numpy(), train_frame["Age"].astype(float).to_numpy()
    sex, train_sex = (frame["Gender"] == "M").to_numpy(), (train_frame["Gender"] == "M").to_numpy()
    components = PCA(COMPONENTS, random_state=0).fit(train[:, inside])
    scores, train_scores = (components.transform(data[:, inside]) for data in (test, train))
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 21))).fit(train_scores, np.log(train_age))
    with_age, train_with_age = (np.column_stack([s, np.log(a)]) for s, a in ((scores, age), (train_scores, train_age)))
    logistic = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(Cs=np.logspace(-4, 1, 11), max_iter=2000, scoring="neg_log_loss",
                             l1_ratios=(0.0,), use_legacy_attributes=False),
    ).fit(train_with_age, train_sex)  # fmt: skip
    table, asked = part_table(model, folder, "test"), {"draws": 0}
    if model.schema.diffusion.times == "shared":
        asked = {"draws": 3, "steps": 50}
    ages = model.predict(table, "age", ["T1w", "sex"], **asked)["age"].to_numpy(float)
    start = time.perf_counter()
    model.predict(replace(table, frame=frame[:1], places=table.places[:1]), "age", ["T1w"], **asked)
    seconds = time.perf_counter() - start
    sexes = model.predict(table, "sex", ["T1w", "age"], vote=asked["draws"] > 0, **asked)["sex"].to_numpy() == "M"
    answers = pandas.DataFrame(
        {
            "subject": frame["participant_id"], "age": age,
            "joint": np.abs(ages - age), "ridge": np.abs(np.exp(ridge.predict(scores)) - age),
            "mean": np.abs(train_age.mean() - age),
            "joint_sex": sexes == sex, "logistic_sex": logistic.predict(with_age) == sex,
            "majority_sex": sex == (train_sex.mean() > 0.5),
        }
    )  # fmt: skip
    if draws:
        for name, how in READ_OUTS.items():
            found = model.predict(table, "age", ["T1w"], **how)["age"].to_numpy(float)
            answers[name] = np.abs(found - age)
    with torch.inference_mode():
        codec, shape = model.codecs["T1w"], model.schema.variables["T1w"].spec.data_shape
        rebuilt = torch.cat(
            [codec.decode(codec.encode(torch.from_numpy(x).reshape(1, *shape)).mean) for x in test]
        ).flatten(1).numpy()  # fmt: skip
    wide = PCA(min(64, len(train) - 1), random_state=0).fit(train)
    figures = {
        "codec": psnr(rebuilt, test, inside).mean(),
        "components": psnr(wide.inverse_transform(wide.transform(test)), test, inside).mean(),
        "mean image": psnr(np.broadcast_to(train.mean(0), test.shape), test, inside).mean(),
        "seconds for one scan": seconds,
    }
    return answers, figures


def ratio(first: pandas.Series, second: pandas.Series, subjects: list[str]) -> str:
    """Return the ratio of two mean errors of the same rows, with its interval over resampled subjects."""
    errors = np.column_stack([first, second])
    found = bootstrap(lambda rows: np.divide(*errors[rows].mean(0)), len(errors), subjects=subjects, rounds=2000)
    return "{:.3f} [{:.3f}, {:.3f}]".format(*found)


def main() -> None:
    """Train unless trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-ds000228"))
    parser.add_argument("--paper", action="store_true", help="also the paper's mode, which trains a codec")
    parser.add_argument("--draws", action="store_true", help="compare the posterior mean with that of 20 draws")
    arguments = parser.parse_args()
    for mode in ["evidence", *(["paper"] if arguments.paper else [])]:
        answers, figures = [], []
        for seed in arguments.seeds:
            run = arguments.output / f"{mode}-{seed}"
            schema = mv.load_schema(EXAMPLE / ("schema.yaml" if mode == "evidence" else "schema_paper.yaml"))
            start = time.perf_counter()
            if not RunFolder(run).weights.exists():
                schema = with_split(schema, seed, arguments.table)
                show(mv.training(schema, run, resume=RunFolder(run).record.exists()))
                print(f"{run}: trained in {(time.perf_counter() - start) / 60:.1f} minutes")
            rows, found = judge(run, arguments.draws and mode == "evidence")
            answers.append(rows)
            figures.append(found)
            print(f"{run}: " + "  ".join(f"{name} {value:.2f}" for name, value in found.items()))
        pooled = pandas.concat(answers)
        subjects = list(pooled["subject"])
        print(
            f"\n{mode}: {len(subjects)} test rows of {len(set(subjects))} subjects over {len(arguments.seeds)} splits"
        )

        def mean(errors: pandas.Series, subjects: list[str] = subjects) -> Estimate:
            return bootstrap_mean(errors.to_numpy(float), subjects=subjects)

        for name in ("joint", "ridge", "mean"):
            print(f"  age error (years)  {name:9} {mean(pooled[name])}")
        print(f"  joint less ridge, paired      {mean(pooled['joint'] - pooled['ridge'])}")
        for name in [name for name in READ_OUTS if name in pooled]:
            print(f"  age error (years), image alone, {name:14} {mean(pooled[name])}")
            print(f"  4 evaluations over {name:14} {ratio(pooled['4 evaluations'], pooled[name], subjects)}")
        for name in ("joint_sex", "logistic_sex", "majority_sex"):
            print(f"  sex accuracy       {name:13} {mean(pooled[name])}")
        for name in figures[0]:
            values = [found[name] for found in figures]
            print(f"  {name:14} {np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
