"""Preparation of native heads: poses found within 3 mm, misses that are flagged, time, memory, and two workers.

    python -m benchmarks.preparation --phantoms 4 --heads 0 --poses 10

Phantoms, and heads of ds000228 if they are there, are moved by seeded rotations (30, 60 and 150 degrees) and shifts of
60 mm, alternately by their header and by resampling. A pose is found if no point of the brain lies more than 3 mm from
where the registration of the unmoved head puts it. Then all phantoms are prepared by one process and by two; the ratio
of their times means something only on a machine with two idle cores.
"""

import argparse
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import binomtest

from metavoxel.cohort.phantoms import PhantomSettings, write_phantom
from metavoxel.images.files import read_image
from metavoxel.images.image import Image
from metavoxel.preparation.dataset import prepare_dataset
from metavoxel.preparation.extractors import AbstractExtractor, NoExtraction, make_extractor
from metavoxel.preparation.head import Prepared, load_registration_template, prepare_head
from metavoxel.preparation.quality import flags
from metavoxel.preparation.rigid import Rigid
from metavoxel.preparation.settings import PrepareSettings
from metavoxel.preparation.starts import aligned_grid
from metavoxel.runs.bars import finish
from metavoxel.runs.subjects import subject_progress

DATA = Path("../shared/data/ds000228")
ANGLES = (30.0, 60.0, 150.0)
SHIFT = 60.0
LIMIT = 3.0


class Trial(NamedTuple):
    """One moved head: its group, how it was moved, the largest error in mm, CPU seconds and the result."""

    group: str
    how: str
    error: float
    seconds: float
    result: Prepared


def random_pose(angle: float, centre: np.ndarray, draw: np.random.Generator) -> Rigid:
    """Draw a rotation about a random axis through the centre of a head, and a shift of 60 mm."""
    axis, way = draw.normal(size=3), draw.normal(size=3)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis)).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + SHIFT * way / np.linalg.norm(way)
    return Rigid(matrix)


def moved(image: Image, rigid: Rigid, *, resample: bool) -> Image:
    """Move a head by its header, or onto a grid along the axes of space."""
    head = Image(image.data, rigid.moved(image.grid))
    if not resample:
        return head
    return head.onto(aligned_grid(head.grid, min(image.grid.spacing)), image.background())[0]


def trials(name: str, image: Image, extractor: AbstractExtractor, poses: range, seed: int) -> Iterator[Trial]:
    """Prepare the head as it is, then in the poses of these numbers at each angle."""
    template = load_registration_template()
    inside = np.argwhere(template.brain.data > 0.5)[::2000]
    points = inside @ template.image.grid.affine[:3, :3].T + template.image.grid.affine[:3, 3]
    draw = np.random.default_rng(seed)
    start = time.process_time()
    reference = prepare_head(image, extractor, template, spacing=2.0)
    yield Trial("unmoved", name, 0.0, time.process_time() - start, reference)
    centre = reference.rigid.matrix[:3, :3] @ points.mean(0) + reference.rigid.matrix[:3, 3]
    for angle in ANGLES:
        for number in poses:
            resample = number % 2 == 1
            rigid = random_pose(angle, centre, draw)
            start = time.process_time()
            result = prepare_head(moved(image, rigid, resample=resample), extractor, template, spacing=2.0)
            seconds = time.process_time() - start
            error = float(result.rigid.displacement(rigid.after(reference.rigid), points).max())
            yield Trial(f"{angle:.0f}", "resampled" if resample else "header", error, seconds, result)


def heads(count: int, seed: int) -> Iterator[tuple[str, Image]]:
    """Choose heads of ds000228 at random."""
    files = sorted(DATA.glob("sub-*/anat/*_T1w.nii.gz"))
    for index in np.random.default_rng(seed).choice(len(files), count, replace=False):
        yield files[index].name.split("_")[0], read_image(files[index])


def phantoms(count: int, folder: Path) -> Iterator[tuple[str, Image]]:
    """Write phantoms at 3 mm, and read them."""
    if not count:
        return
    for step in write_phantom(folder, PhantomSettings(subjects=count, spacing=3.0)):
        yield step.subject, read_image(folder / f"{step.subject}/anat/{step.subject}_T1w.nii.gz")


def workers(dataset: Path, folder: Path) -> Iterator[tuple[int, float]]:
    """Prepare a dataset by one process and by two; yield their number and the seconds on the clock."""
    for count in (1, 2):
        output = folder / f"workers_{count}"
        shutil.rmtree(output, ignore_errors=True)
        start = time.perf_counter()
        work = prepare_dataset(dataset, output, PrepareSettings(extractor="none", spacing=2.0), workers=count)
        finish(subject_progress(work), progress=False)
        yield count, time.perf_counter() - start


def report(kind: str, found: list[Trial]) -> None:
    """Print the share of poses found, and which misses and unmoved heads are flagged.

    The cohort of each trial is that of the unmoved heads, since several poses of one head have no spread of their own.
    """
    cohort = {trial.how: trial.result.quality for trial in found if trial.group == "unmoved"}
    for group in ("unmoved", *(f"{angle:.0f}" for angle in ANGLES)):
        own = [trial for trial in found if trial.group == group]
        judged = [
            flags({**cohort, name: trial.result.quality})[name]
            for trial in own
            for name in [trial.how if group == "unmoved" else "moved"]
        ]
        rows = [(trial, bool(reasons)) for trial, reasons in zip(own, judged, strict=True)]
        if not rows:
            continue
        hits = [trial.error < LIMIT for trial, _ in rows]
        interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
        misses = [flag for (_, flag), hit in zip(rows, hits, strict=True) if not hit]
        false = [flag for (_, flag), hit in zip(rows, hits, strict=True) if hit]
        seconds = np.array([trial.seconds for trial, _ in rows])
        errors = np.array([trial.error for trial, _ in rows])
        print(
            f"{kind} {group}: {sum(hits)} of {len(hits)} under {LIMIT:g} mm [{interval.low:.2f}, {interval.high:.2f}], "
            f"median error {np.median(errors):.2f} mm; misses flagged {sum(misses)} of {len(misses)}, "
            f"hits flagged {sum(false)} of {len(false)}; CPU s {np.median(seconds):.1f} "
            f"({seconds.min():.1f} to {seconds.max():.1f})",
            flush=True,
        )


def main() -> None:
    """Run the trials of both kinds and print a line per group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument("--poses", type=int, default=10, help="per angle, shared among the heads; half are resampled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/preparation"))
    arguments = parser.parse_args()
    kinds = {
        "phantoms": (phantoms(arguments.phantoms, arguments.folder / "phantoms"), NoExtraction()),
        "heads": (heads(arguments.heads, arguments.seed), make_extractor("deepbet") if arguments.heads else None),
    }
    for kind, (images, extractor) in kinds.items():
        found = []
        count = getattr(arguments, kind)
        for number, (name, image) in enumerate(images):
            own = range(number * arguments.poses // count, (number + 1) * arguments.poses // count)
            for trial in trials(name, image, extractor, own, arguments.seed * 1000 + number):
                found.append(trial)
                figures = ", ".join(f"{key} {value:.3g}" for key, value in trial.result.quality._asdict().items())
                moved_by = f"{kind} {name} {trial.group} {trial.how}"
                print(f"{moved_by}: {trial.error:.2f} mm, {trial.seconds:.1f} s; {figures}", flush=True)
        report(kind, found)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB", flush=True)
    if arguments.phantoms > 1:
        seconds = dict(workers(arguments.folder / "phantoms", arguments.folder))
        print(f"{arguments.phantoms} phantoms: one process {seconds[1]:.0f} s, two {seconds[2]:.0f} s on the clock")


if __name__ == "__main__":
    main()
