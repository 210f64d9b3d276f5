"""Small cohorts, and schemas that train on them in a second."""

import random
from copy import deepcopy
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import yaml

BACKBONE = {"type": "transformer", "width": 16, "depth": 1, "heads": 2}
TABLE = {
    "cohort": {"table": "people.csv", "missing": ["n/a"]},
    "variables": {
        "age": {"type": "continuous", "column": "Age", "range": [10, 90], "unit": "years"},
        "sex": {"type": "categorical", "column": "Sex", "categories": {"female": 1, "male": 2}},
        "score": {"type": "continuous"},
    },
    "backbone": BACKBONE,
    "training": {"steps": 30, "batch_size": 8, "validate_every": 10},
}
UNET = {"type": "unet", "channels": [8, 16], "head_channels": 8, "token_width": 32, "token_layers": 1}
IMAGES = {
    "cohort": {"table": "people.csv"},
    "variables": {
        "picture": {"type": "image", "codec": "identity", "adapter": {"type": "grid_summary", "components": 4}},
        "volume": {
            "type": "image",
            "codec": {"type": "kl_vae", "downsampling": 2, "channels": [8, 8], "latent_channels": 2, "steps": 3},
        },
        "age": {"type": "continuous", "range": [10, 90]},
        "sex": {"type": "categorical", "categories": ["F", "M"]},
    },
    "backbone": UNET,
    "training": {"steps": 4, "batch_size": 4, "validate_every": 2},
}
"""Pictures without and volumes with a VAE."""
_CONTRAST = {"type": "image", "codec": "identity", "flip": True, "adapter": {"type": "grid_summary", "components": 4}}
CONTRASTS = {
    "cohort": {"table": "people.csv"},
    "variables": {"T1w": _CONTRAST, "FLAIR": _CONTRAST, "age": {"type": "continuous", "range": [10, 90]}},
    "backbone": UNET,
    "training": {"steps": 4, "batch_size": 4, "validate_every": 2},
}
"""Two contrasts of one slice."""


def write_table(folder: Path, rows: int = 40, *, missing: bool = True) -> Path:
    """Write ``people.csv``: ages (every seventh missing), codes of sex, and a score correlated with age."""
    draw = random.Random(0)
    lines = ["participant_id,Age,Sex,score"]
    for row in range(rows):
        code = draw.choice((1, 2))
        age = draw.gauss(40 + 5 * code, 10)
        cell = "n/a" if missing and row % 7 == 3 else f"{age:.2f}"
        lines.append(f"s{row:02},{cell},{code},{2 * age + draw.gauss(0, 5):.3f}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "people.csv"


def write_images(folder: Path, rows: int = 16) -> Path:
    """Write ``people.csv`` with PNG pictures of 14 x 10 pixels and, for most rows, NIfTI volumes of 9 x 8 x 7 voxels."""
    draw = np.random.default_rng(0)
    (folder / "scans").mkdir(parents=True)
    lines = ["participant_id,picture,volume,age,sex"]
    for row in range(rows):
        age = float(draw.normal(45, 12))
        picture, volume = (f"scans/s{row:02}{suffix}" for suffix in (".png", ".nii.gz"))
        pixels = np.clip(draw.normal(60, 30, (10, 14)) + age, 0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / picture)
        voxels = (draw.normal(100, 20, (9, 8, 7)) + age).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-2.0, 2.0, 2.0, 1.0])), folder / volume)
        lines.append(f"s{row:02},{picture},{volume if row % 6 != 5 else ''},{age:.2f},{'FM'[row % 2]}")
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "people.csv"


def write_contrasts(folder: Path, rows: int = 24) -> Path:
    """Write ``people.csv`` with PNG slices of 12 x 8 pixels: T1w, and for every other row FLAIR, its negative."""
    draw = np.random.default_rng(0)
    (folder / "slices").mkdir(parents=True)
    shapes = draw.normal(0, 1, (2, 8, 12))
    lines = ["participant_id,T1w,FLAIR,age"]
    for row in range(rows):
        age, other = draw.uniform(20, 80), draw.normal()
        slice_ = 128 + 40 * np.tanh((age - 50) / 20 * shapes[0] + other * shapes[1] + draw.normal(0, 0.05, (8, 12)))
        T1w, FLAIR = (f"slices/s{row:02}_{contrast}.png" for contrast in ("T1w", "FLAIR"))
        PIL.Image.fromarray(slice_.astype(np.uint8)).save(folder / T1w)
        PIL.Image.fromarray((255 - slice_).astype(np.uint8)).save(folder / FLAIR)
        lines.append(f"s{row:02},{T1w},{FLAIR if row % 2 else ''},{age:.2f}")
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "people.csv"


def write_schema(folder: Path, raw: dict, name: str = "schema.yaml", **sections: dict) -> Path:
    """Write the schema with some settings of its sections replaced."""
    raw = deepcopy(raw)
    for section, settings in sections.items():
        raw[section] = {**raw.get(section, {}), **settings}
    (folder / name).write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return folder / name
