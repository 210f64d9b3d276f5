"""Many rows or files: time and memory of ``validate``, ``predict`` and ``train``, beside another checkout.

python benchmarks/scale.py validate --rows 1000000 [--against CHECKOUT] [--rounds 1] [--folder FOLDER]
python benchmarks/scale.py predict --rows 20000 [--against CHECKOUT]
python benchmarks/scale.py train --rows 50000 --steps 100 [--against CHECKOUT]
python benchmarks/scale.py bids --rows 5000 [--against CHECKOUT]

The table has six variables, four numbers and two categories, with gaps. The two checkouts run in turn, each command in
a process of its own with one thread. Printed are the processor's seconds (a machine with other work is slower by the
clock), the peak of resident memory and, for ``train``, the held-out loss of each variable in the run's record.

``bids`` validates a BIDS folder of small images twice, with a cache that is empty at first. Printed are also the
processor's seconds of a folder of ten images, which are those of starting and of checking the model, and what is above
them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import nibabel
import numpy as np
import yaml

RUN = """
import json, resource, sys, time
from metavoxel.cli import main
sys.argv[0] = "metavoxel"
if __name__ == "__main__":
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("\\n" + json.dumps({"seconds": round(time.process_time(), 2), "MiB": round(peak)}))
"""


def write(folder: Path, rows: int, steps: int) -> None:
    """Write ``table.csv`` and ``schema.yaml``."""
    rng = np.random.default_rng(0)
    age = rng.normal(50, 12, rows).clip(18, 95)
    sex = rng.integers(0, 2, rows)
    first = 0.5 * age + rng.normal(0, 5, rows)
    second = -0.2 * first + 3 * sex + rng.normal(0, 2, rows)
    third = np.exp(0.02 * age + rng.normal(0, 0.3, rows))
    ill = rng.random(rows) < 1 / (1 + np.exp((60 - age) / 8))
    missing = rng.random((4, rows)) < 0.05
    with (folder / "table.csv").open("w", encoding="utf-8") as file:
        file.write("participant_id,age,sex,s1,s2,s3,dx\n")
        for row in range(rows):
            numbers = [f"{age[row]:.2f}", f"{first[row]:.3f}", f"{second[row]:.3f}", f"{third[row]:.4f}"]
            cells = ["" if missing[place, row] else number for place, number in enumerate(numbers)]
            cells.insert(1, "FM"[sex[row]])
            file.write(f"s{row:07d},{','.join(cells)},{'yes' if ill[row] else 'no'}\n")
    labels = {"sex": ["F", "M"], "dx": ["no", "yes"]}
    variables = {
        name: {"type": "categorical", "categories": labels[name]} if name in labels else {"type": "continuous"}
        for name in ("age", "sex", "s1", "s2", "s3", "dx")
    }
    raw = {"cohort": {"table": "table.csv"}, "variables": variables, "training": {"steps": steps}}
    (folder / "schema.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def write_bids(folder: Path, files: int) -> Path:
    """Write a BIDS folder with an image of 12 x 14 x 12 voxels per subject; return its schema."""
    rng, root = np.random.default_rng(0), folder / f"bids-{files}"
    lines = ["participant_id\tage"]
    for number in range(files):
        name = f"sub-{number:05d}"
        (root / name / "anat").mkdir(parents=True)
        image = nibabel.Nifti1Image(rng.integers(0, 255, (12, 14, 12)).astype(np.uint8), np.diag([4.0, 4, 4, 1]))
        image.set_sform(image.affine, 1)
        nibabel.save(image, root / name / "anat" / f"{name}_T1w.nii.gz")
        lines.append(f"{name}\t{rng.normal(50, 10):.1f}")
    (root / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.8.0"}', encoding="utf-8")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    variables = {"T1w": {"type": "image"}, "age": {"type": "continuous"}}
    schema = folder / f"bids-{files}.yaml"
    schema.write_text(yaml.safe_dump({"cohort": {"bids": root.name}, "variables": variables}), encoding="utf-8")
    return schema


def validate_twice(checkout: Path, folder: Path, files: int) -> None:
    """Print the seconds of ``validate`` for a few images, and for all of them twice."""
    cache = {"METAVOXEL_CACHE": str(folder / f"cache-{checkout.name}")}
    schemas = [folder / "bids-10.yaml", *[folder / f"bids-{files}.yaml"] * 2]
    start, first, second = (run(checkout, ["validate", str(schema)], cache)["seconds"] for schema in schemas)
    line = {"checkout": checkout.name, "files": files, "ten files": start, "first": first, "second": second}
    above = {"above ten files, first": round(first - start, 2), "second time": round(second - start, 2)}
    print(json.dumps({**line, **above}), flush=True)


def run(checkout: Path, arguments: list[str], more: Mapping[str, str] = MappingProxyType({})) -> dict[str, float]:
    """Run one command of a checkout; return its seconds and memory."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {**os.environ, "PYTHONPATH": str(checkout), **threads, **more}
    command = [sys.executable, "-c", RUN, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def arguments_of(command: str, folder: Path, checkout: Path, number: int) -> list[str]:
    """Return the arguments of the measured command."""
    schema, trained = str(folder / "schema.yaml"), folder / f"run-{checkout.name}"
    if command == "validate":
        return ["validate", schema]
    if command == "train":
        return ["train", schema, "--output", str(folder / f"run-{checkout.name}-{number}"), "--accelerator", "cpu"]
    output = ["--output", str(folder / "predictions.tsv"), "--device", "cpu"]
    return ["predict", str(trained), str(folder / "table.csv"), "--target", "age", *output]


def main() -> None:
    """Measure one command, and print one line a checkout and round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["validate", "predict", "train", "bids"])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = [here] if chosen.against is None else [here, chosen.against.resolve()]
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if chosen.command == "bids":
            for files in (10, chosen.rows):
                write_bids(folder, files)
            for checkout in checkouts * chosen.rounds:
                validate_twice(checkout, folder, chosen.rows)
            return
        if chosen.command == "predict":
            write(folder, 3000, chosen.steps)
            for checkout in checkouts:
                output = ["--output", str(folder / f"run-{checkout.name}"), "--accelerator", "cpu"]
                run(checkout, ["train", str(folder / "schema.yaml"), *output])
        write(folder, chosen.rows, chosen.steps)
        for number in range(chosen.rounds):
            for checkout in checkouts:
                found = run(checkout, arguments_of(chosen.command, folder, checkout, number))
                line = {"checkout": checkout.name, "command": chosen.command, "rows": chosen.rows, **found}
                if chosen.command == "train":
                    record = json.loads((folder / f"run-{checkout.name}-{number}" / "run.json").read_text())
                    line["best_score"] = record["best_score"]
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
