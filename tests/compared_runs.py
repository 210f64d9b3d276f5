"""Cohorts of known distribution, as pictures or as a table, for tests of comparison methods."""

import numpy as np
import PIL.Image
from tiny_cohorts import BACKBONE, UNET

from metavoxel.evaluation.comparisons import ComparisonSettings, compare

QUICK = ComparisonSettings(steps=4, samples=2, accelerator="cpu", precision="32-true")
PICTURES = {
    "cohort": {"table": "people.csv", "split": {"train": 0.7, "validation": 0.1, "test": 0.2, "stratify": ["sex"]}},
    "variables": {
        "picture": {"type": "image", "codec": "identity", "adapter": {"type": "grid_summary", "components": 4},
                    "shifts": 0, "jitter": 0, "percentiles": [0, 100]},
        "age": {"type": "continuous"},
        "sex": {"type": "categorical", "categories": ["F", "M"]},
    },
    "backbone": UNET,
    "training": {"steps": 2, "batch_size": 4, "validate_every": 2, "warm_up": 5, "ema": 0.5,
                 "questions": [["age"], ["picture"]], "question_share": 0.4},
}  # fmt: skip
NUMBERS = {
    "cohort": {"table": "people.csv", "split": {"train": 0.6, "validation": 0.1, "test": 0.3}},
    "variables": {
        "first": {"type": "continuous"},
        "second": {"type": "continuous"},
        "label": {"type": "categorical", "categories": ["a", "b"]},
    },
    "backbone": BACKBONE,
    "training": {"steps": 2, "batch_size": 8, "validate_every": 2},
}


def write_pictures(folder, rows=48):
    """Write pictures with a bright bar, whose height is the age; it is on the left for F, on the right for M."""
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    lines = ["participant_id,picture,age,sex"]
    for row in range(rows):
        height, sex = int(draw.integers(2, 15)), "FM"[row % 2]
        pixels = draw.normal(30, 4, (16, 16))
        pixels[16 - height :, slice(1, 6) if sex == "F" else slice(10, 15)] += 150
        pixels[0, 0], pixels[0, 15] = 0, 255
        file = f"pictures/s{row:02}.png"
        PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / file)
        lines.append(f"s{row:02},{file},{20 + 4 * height},{sex}")
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_numbers(folder, rows=600):
    """Write a table: ``second`` is ``first`` plus a standard normal error; the odds of ``label`` b are exp(2 first)."""
    draw = np.random.default_rng(0)
    first = draw.normal(0, 2, rows)
    second = first + draw.normal(0, 1, rows)
    label = np.where(draw.random(rows) < 1 / (1 + np.exp(-2 * first)), "b", "a")
    lines = [f"s{row:03},{first[row]:.5f},{second[row]:.5f},{label[row]}" for row in range(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "people.csv").write_text("participant_id,first,second,label\n" + "\n".join(lines) + "\n")


def compared(run, methods, targets=None, settings=QUICK):
    """Run all jobs and return the records."""
    steps = compare(run, methods, targets, settings)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
