"""Cohorts of prepared brains, written without registration, and runs trained on them in a second."""

from pathlib import Path

import numpy as np
from tiny_cohorts import UNET
from tiny_runs import train

from metavoxel.images.image import Image
from metavoxel.preparation.dataset import describe_derivative
from metavoxel.preparation.head import Prepared
from metavoxel.preparation.outputs import Outputs
from metavoxel.preparation.quality import Quality
from metavoxel.preparation.rigid import Rigid
from metavoxel.preparation.settings import PrepareSettings, versions
from metavoxel.preparation.sources import Scan
from metavoxel.preparation.template import space_grid

SETTINGS = PrepareSettings(extractor="none", bias=False, spacing=8.0)
SUBJECTS = 14
SCHEMA = """
cohort: {bids: prepared}
variables:
  T1w: {type: image, codec: local_pca}
  age: {type: continuous}
backbone: %s
training: {steps: 2, batch_size: 4, validate_every: 1}
"""


def write_prepared(folder: Path, brain: Image, settings: PrepareSettings = SETTINGS, subjects: int = SUBJECTS) -> Path:
    """Write a derivative of noisy copies of a brain, and the ages of its subjects."""
    draw = np.random.default_rng(0)
    image, _ = brain.onto(space_grid(settings.spacing))
    mask = image.data > 100
    rows = ["participant_id\tage"]
    for number in range(1, subjects + 1):
        noisy = np.where(mask, np.maximum(image.data * draw.normal(1, 0.05, mask.shape), 1), 0).astype(np.float32)
        inside = Image(mask.astype(np.float32), image.grid)
        quality = Quality(0.9, 0.9, 1500.0, 0.0, 3.0)
        prepared = Prepared(Image(noisy, image.grid), inside, inside, None, Rigid(np.eye(4)), quality, ())
        scan = Scan(f"sub-{number:02}", "", Path("native.nii.gz"))
        record = {"Key": "x", "Settings": settings.model_dump(mode="json"), "Versions": versions("none")}
        Outputs(folder, scan).write(prepared, "native.nii.gz", record)
        rows.append(f"sub-{number:02}\t{30 + number}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    describe_derivative(folder.parent, folder, settings)
    return folder


def train_prepared(folder: Path, brain: Image) -> Path:
    """Train on a prepared cohort in ``folder``; return the run."""
    write_prepared(folder / "prepared", brain)
    (folder / "schema.yaml").write_text(SCHEMA % UNET)
    train(folder / "schema.yaml", folder / "run")
    return folder / "run"
