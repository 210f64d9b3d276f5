"""From native heads to predictions for new native heads: prepare, validate, train, predict --prepare.

    python examples/native_heads/run.py FOLDER --output runs/native_heads --number age --category sex

FOLDER is a BIDS folder whose participants.tsv has the named columns. Every step is a command, printed before it runs.
At the end the test subjects are predicted twice, from their prepared scans and from their native ones (--prepare). Both
agree, since a new scan is prepared as the training scans were.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml


def run(*arguments: object) -> None:
    """Print and run a command of metavoxel; stop where it fails."""
    words = [str(argument) for argument in arguments]
    print("$ metavoxel", *words, flush=True)
    if code := subprocess.run([sys.executable, "-m", "metavoxel", *words]).returncode:
        sys.exit(code)


def rows(path: Path) -> list[dict[str, str]]:
    """Read a TSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_schema(path: Path, raw: Path, numbers: Sequence[str], categories: Sequence[str], options: dict) -> None:
    """Write a schema of the prepared T1w images and the named columns of participants.tsv."""
    subjects = rows(raw / "participants.tsv")
    variables: dict = {"T1w": {"type": "image", "spacing": options["spacing"], "codec": "local_pca"}}
    variables |= {name: {"type": "continuous"} for name in numbers}
    for name in categories:
        labels = sorted({row[name] for row in subjects} - {"", "n/a"})
        variables[name] = {"type": "categorical", "categories": labels}
    training = {"steps": options["steps"]} if options["steps"] else {}
    schema = {"cohort": {"bids": "prepared"}, "variables": variables, "training": training}
    path.write_text(yaml.safe_dump(schema, sort_keys=False), encoding="utf-8")


def write_native_table(path: Path, run_folder: Path, prepared: Path, raw: Path) -> None:
    """Write the native scans of the test subjects: those from which their prepared scans were made, baselines alone."""
    test = set(json.loads((run_folder / "run.json").read_text(encoding="utf-8"))["split"]["test"])
    lines = ["participant_id\tT1w"]
    for sidecar in sorted(prepared.glob("sub-*/**/anat/*_desc-preproc_T1w.json")):
        subject = sidecar.relative_to(prepared).parts[0]
        source = json.loads(sidecar.read_text(encoding="utf-8"))["Sources"][0].removeprefix("bids:raw:")
        if subject in test:
            lines.append(f"{subject}\t{(raw / source).resolve()}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run all steps into one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/native_heads"))
    parser.add_argument("--number", action="append", default=[], help="column of numbers to model with the image")
    parser.add_argument("--category", action="append", default=[], help="column of labels")
    parser.add_argument("--extractor", default="deepbet")
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, help="training steps; by default those of the backbone")
    chosen = parser.parse_args()
    if not chosen.number and not chosen.category:
        parser.error("name at least one column to predict: --number age")
    output = chosen.output
    output.mkdir(parents=True, exist_ok=True)
    prepared, trained = output / "prepared", output / "run"
    run(
        "prepare", chosen.folder, "--output", prepared, "--extractor", chosen.extractor, "--spacing", chosen.spacing,
        "--workers", chosen.workers,
    )  # fmt: skip
    options = {"spacing": chosen.spacing, "steps": chosen.steps}
    write_schema(output / "schema.yaml", chosen.folder, chosen.number, chosen.category, options)
    run("validate", output / "schema.yaml")
    run("train", output / "schema.yaml", "--output", trained)
    target = [*chosen.number, *chosen.category][0]
    known, new = output / "from_prepared.tsv", output / "from_native.tsv"
    write_native_table(output / "native.tsv", trained, prepared, chosen.folder)
    run("predict", trained, "--part", "test", "--target", target, "--given", "T1w", "--output", known)
    run("predict", trained, output / "native.tsv", "--target", target, "--given", "T1w", "--prepare", "--output", new)
    before = {row["participant_id"]: row[target] for row in rows(known)}
    after = {row["participant_id"]: row[target] for row in rows(new)}
    same = sum(before.get(subject) == text for subject, text in after.items())
    print(f"{target} of {same} of {len(after)} test subjects is the same from their native scans")
    print(f"Look at the heads: metavoxel qa {prepared}. Then train without those that were dropped: in")
    print(f"{output / 'schema.yaml'} write cohort: {{bids: prepared, qa: prepared/qa.tsv}}, and")
    print(f"metavoxel train {output / 'schema.yaml'} --output {output / 'run_after_qa'}")


if __name__ == "__main__":
    main()
