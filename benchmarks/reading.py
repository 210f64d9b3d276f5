"""Time to read a cohort of volumes, optionally compared with another checkout of this package.

python benchmarks/reading.py [--volumes 500] [--rounds 5] [--against CHECKOUT] [--folder FOLDER]

Compressed 16-bit volumes of 96 x 112 x 96 voxels at 2 mm, on one grid, resampled to 4 mm; all of `validate` but its
warnings. The two checkouts are timed alternately, each in its own process after one that warms the disk cache; medians
of seconds and of ratios over rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter

SHAPE = (96, 112, 96)
READ = """
import sys, time
from pathlib import Path
import metavoxel as mv
from metavoxel.cohort.read import read_cohort
schema = mv.load_schema(Path(sys.argv[1]) / "schema.yaml")
start = time.perf_counter()
cohort = read_cohort(schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples(), split=False)
print(time.perf_counter() - start, len(cohort))
"""


def write(folder: Path, volumes: int) -> None:
    """Write smooth heads with noise, which compress about as well as scans."""
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-95, -111, -95]
    middle = np.linalg.norm(np.indices(SHAPE) - (np.array(SHAPE) / 2)[:, None, None, None], axis=0)
    inside = gaussian_filter((middle < 40).astype(np.float32), 2)
    rows = ["participant_id\tT1w"]
    for index in range(volumes):
        path = folder / f"{index:04d}.nii.gz"
        if not path.is_file():
            data = inside * (700 + 60 * rng.normal(size=SHAPE))
            nibabel.save(nibabel.Nifti1Image(data.astype(np.int16), affine), path)
        rows.append(f"s{index:04d}\t{path.name}")
    (folder / "subjects.tsv").write_text("\n".join(rows) + "\n")
    (folder / "schema.yaml").write_text(
        "cohort: {table: subjects.tsv}\nvariables:\n  T1w: {type: image, spacing: 4.0}\n", encoding="utf-8"
    )


def seconds(checkout: Path, folder: Path) -> float:
    """Return the seconds of one process that reads the cohort."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], env=environment, capture_output=True, text=True, check=True, cwd="/"
    )
    return float(done.stdout.split()[0])


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--folder", type=Path, help="keep the volumes here")
    arguments = parser.parse_args()
    this = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, arguments.volumes)
        seconds(this, folder)
        own, other = [], []
        for _ in range(arguments.rounds):
            own.append(seconds(this, folder))
            if arguments.against is not None:
                other.append(seconds(arguments.against.resolve(), folder))
    print(f"{arguments.volumes} volumes: {statistics.median(own):.2f} s [{min(own):.2f}, {max(own):.2f}]")
    if other:
        ratios = [mine / theirs for mine, theirs in zip(own, other, strict=True)]
        print(f"other checkout: {statistics.median(other):.2f} s [{min(other):.2f}, {max(other):.2f}]")
        print(f"ratio: {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]")


if __name__ == "__main__":
    main()
