"""Tables 1 and 2 of phantom brains, whose Bayes errors are known, in both modes and with all comparisons.

python -m benchmarks.phantoms [--subjects 1000] [--output runs/benchmark-phantoms]

Writes the cohort, trains the joint model (``evidence``) and the paper's (``shared``, on the same codec), trains every
comparison of each, evaluates both runs, and prints the tables of docs/benchmarks.md. An interrupted run continues.
``linear``, ``densenet``, ``vit`` and ``braid`` depend only on images, table and split, which both runs share, so they
are trained once.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import yaml

import metavoxel as mv
from benchmarks.both_modes import MODES, compare_all, evaluated, timed
from benchmarks.phantoms_report import report
from metavoxel.cohort.phantoms import PhantomSettings, read_truth, write_phantom
from metavoxel.evaluation.comparisons import FOLDER, ComparisonSettings
from metavoxel.evaluation.settings import Settings
from metavoxel.runs.bars import show
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder

MINUTES = "minutes.json"


def schema(arguments: argparse.Namespace, mode: str) -> dict[str, object]:
    """Return the schema of a mode; the paper's as in examples/ds000228/schema_paper.yaml."""
    cohort = {
        "bids": "cohort",
        "split": {"train": 0.83, "validation": 0.05, "test": 0.12, "seed": 0, "stratify": ["sex"]},
    }
    image: dict[str, object] = {"type": "image", "entities": {"suffix": "T1w"}, "spacing": arguments.spacing}
    image["codec"] = {"type": "kl_vae", "downsampling": 4, "steps": arguments.codec_steps}
    age: dict[str, object] = {"type": "continuous", "range": [20, 90], "unit": "years"}
    sex: dict[str, object] = {"type": "categorical", "categories": ["F", "M"]}
    training = {"steps": arguments.steps}
    if mode == "shared":
        scaled = {"type": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "steps": 1000}
        gaussian = {"type": "gaussian", "schedule": scaled, "prediction": "epsilon"}
        image["codec"]["weights"] = "evidence/codecs/T1w.safetensors"
        image |= {"adapter": {"type": "grid"}, "kernel": gaussian}
        age |= {"codec": {"type": "linear", "scale": "range"}, "adapter": {"type": "painted"}, "kernel": gaussian}
        sex |= {
            "adapter": {"type": "painted"},
            "kernel": {"type": "d3pm_uniform", "schedule": {"type": "cosine", "power": 1}, "reverse": "printed"},
        }
    found = {"cohort": cohort, "variables": {"T1w": image, "age": age, "sex": sex}, "training": training}
    return found | {"diffusion": {"times": mode}}


def write_cohort(output: Path, settings: PhantomSettings) -> None:
    """Write the phantoms unless they exist."""
    if not (output / "cohort" / "participants.tsv").exists():
        with timed(output / MINUTES, "cohort"):
            written = write_phantom(output / "cohort", settings)
            show(Progress("phantoms", step.number, step.total, {}) for step in written)


def train(output: Path, mode: str) -> None:
    """Train unless trained."""
    run = RunFolder(output / mode)
    if not run.weights.exists():
        if mode == "shared" and not run.cache.exists():  # same images, and same codes
            shutil.copytree(output / "evidence" / run.cache.name, run.cache)
        with timed(output / MINUTES, f"{mode}: training"):
            show(mv.training(mv.load_schema(output / f"{mode}.yaml"), run.path, resume=run.record.exists()))


def write_exact(output: Path, mode: str) -> None:
    """Write the exact posterior given the factors and the other variable as a method: a bound given the image."""
    folder, test = output / mode / FOLDER / "exact", RunFolder(output / mode).read_record()["split"]["test"]
    truth = read_truth(output / "cohort").table.set_index("participant_id").loc[test]
    names = {"age": "age_median_given_sex", "age_sd": "age_sd_given_sex"}
    age = pandas.DataFrame({name: truth[column] for name, column in names.items()})
    chances = {f"sex_p[{label}]": truth[f"sex_p[{label}]_given_age"] for label in ("F", "M")}
    sex = pandas.DataFrame({"sex": np.where(chances["sex_p[M]"] > 0.5, "M", "F"), **chances})
    folder.mkdir(parents=True, exist_ok=True)
    age.reset_index().to_csv(folder / "predictions-age.tsv", sep="\t", index=False)
    sex.reset_index().to_csv(folder / "predictions-sex.tsv", sep="\t", index=False)
    record = {"method": "exact", "targets": {"age": ["factors", "sex"], "sex": ["factors", "age"]}}
    (folder / "record.json").write_text(json.dumps(record) + "\n")


def evaluate(arguments: argparse.Namespace, mode: str) -> None:
    """Write both tables, figures and the report of a run."""
    draws = arguments.draws if mode == "evidence" else None
    settings = Settings(
        ("age", "sex"), "age", draws=draws, steps=arguments.draw_steps, samples=arguments.samples
    )  # fmt: skip
    evaluated(arguments.output / mode, settings, arguments.output / MINUTES)


def main() -> None:
    """Train, compare and evaluate, in order of importance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--spacing", type=float, default=8.0, help="mm")
    parser.add_argument("--codec-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, default=500, help="training steps of a joint network")
    parser.add_argument("--network-steps", type=int, default=1500, help="training steps of each discriminative network")
    parser.add_argument("--size", choices=["small", "medium", "full"], default="small", help="size of these networks")
    parser.add_argument("--draws", type=int, default=20, help="draws for spreads and intervals; 3 in the paper's mode")
    parser.add_argument("--draw-steps", type=int, default=8, help="network evaluations per draw")
    parser.add_argument("--samples", type=int, default=100, help="generated scans of each method")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-phantoms"))
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    write_cohort(output, PhantomSettings(subjects=arguments.subjects, spacing=arguments.spacing))
    settings = ComparisonSettings(arguments.size, arguments.network_steps, arguments.samples)
    for mode in arguments.modes:
        (output / f"{mode}.yaml").write_text(yaml.safe_dump(schema(arguments, mode), sort_keys=False))
        train(output, mode)
        compare_all(output / mode, settings, output / MINUTES, output / "evidence" if mode == "shared" else None)
        write_exact(output, mode)
        evaluate(arguments, mode)
    report(output, arguments.modes)


if __name__ == "__main__":
    main()
