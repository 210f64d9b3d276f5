"""Half of the ages missing, on phantom brains: training on all rows, on complete rows only, and on complete data.

python -m benchmarks.missing_phantoms [--subjects 480] [--output runs/benchmark-missing-phantoms]

Ages of training and validation subjects are removed completely at random; that of every test subject is predicted from
image and sex. The three trainings share the first one's autoencoder. The exact posterior given the generating factors
is a lower bound of the error. Prints a table; an interrupted run continues.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas
import yaml

import metavoxel as mv
from benchmarks.tables import markdown
from metavoxel.cohort.phantoms import PhantomSettings, read_truth, write_phantom
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.rng import Rng
from metavoxel.runs.bars import show
from metavoxel.runs.run import RunFolder

CODEC = Path("complete data") / "codecs" / "T1w.safetensors"


def tables(subjects: pandas.DataFrame) -> dict[str, pandas.DataFrame]:
    """Return the table of each training. Test subjects are complete in all."""
    known = subjects["part"] == "test"
    known |= Rng.for_rows(len(subjects), "missing phantoms").uniform((len(subjects),)).numpy() < 0.5
    gaps = subjects.assign(age=subjects["age"].where(known))
    return {"complete data": subjects, "half missing, all rows": gaps, "half missing, complete rows": subjects[known]}


def schema(name: str, cohort: Path, spacing: float, codec_steps: int, steps: int) -> dict[str, object]:
    """Return the demo's schema, on a table."""
    codec: dict[str, object] = {"type": "kl_vae", "downsampling": 4, "steps": codec_steps}
    if name != CODEC.parts[0]:
        codec["weights"] = str(CODEC)
    split = {"column": "part", "train": 0.7, "validation": 0.1, "test": 0.2}
    path = str(cohort.resolve() / "{participant_id}" / "anat" / "{participant_id}_T1w.nii.gz")
    return {
        "cohort": {"table": f"{name}.tsv", "split": split},
        "variables": {
            "T1w": {"type": "image", "path": path, "spacing": spacing, "codec": codec},
            "age": {"type": "continuous", "range": [20, 90], "unit": "years"},
            "sex": {"type": "categorical", "categories": ["F", "M"]},
        },
        "training": {"steps": steps},
    }


def main() -> None:
    """Write, train and evaluate unless done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=480)
    parser.add_argument("--spacing", type=float, default=8.0, help="mm")
    parser.add_argument("--codec-steps", type=int, default=500)
    parser.add_argument("--steps", type=int, default=600, help="training steps of each joint network")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-missing-phantoms"))
    arguments = parser.parse_args()
    output: Path = arguments.output
    for _ in write_phantom(output / "cohort", PhantomSettings(subjects=arguments.subjects, spacing=arguments.spacing)):
        pass
    subjects = pandas.read_csv(output / "cohort" / "participants.tsv", sep="\t")
    place = Rng.for_rows(len(subjects), "parts").uniform((len(subjects),)).argsort().argsort().numpy() / len(subjects)
    subjects["part"] = np.select([place < 0.7, place < 0.8], ["train", "validation"], "test")
    test = subjects[subjects["part"] == "test"].reset_index(drop=True)
    truth = read_truth(output / "cohort").table.set_index("participant_id").loc[test["participant_id"]]
    age = test["age"].to_numpy(float)
    rows: list[list[object]] = []
    errors: dict[str, np.ndarray] = {}
    exact = np.abs(truth["age_median_given_sex"].to_numpy(float) - age)
    for name, table in tables(subjects).items():
        table.to_csv(output / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")
        file, run = output / f"{name}.yaml", RunFolder(output / name)
        settings = schema(name, output / "cohort", arguments.spacing, arguments.codec_steps, arguments.steps)
        file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        if not run.weights.exists():
            show(mv.training(mv.load_schema(file), run.path, resume=run.record.exists()))
        predicted = mv.load(run.path).predict(test, "age", ["T1w", "sex"])
        errors[name] = np.abs(predicted["age"].to_numpy(float) - age)
        ratio = errors[name].mean() / errors["complete data"].mean()
        more = bootstrap_mean(errors[name] - errors["complete data"])
        rows.append([name, int(table["age"][table["part"] != "test"].notna().sum()), len(table) - len(test),
                     bootstrap_mean(errors[name]), f"{ratio:.2f}", more])  # fmt: skip
    rows.append(["exact, from the generating factors", "", "", bootstrap_mean(exact), "", ""])
    header = ["training", "known ages", "rows", "age: mean absolute error (years)", "over complete data", "paired"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
