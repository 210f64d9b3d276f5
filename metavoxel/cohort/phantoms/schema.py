"""The schema of a phantom cohort."""

from pathlib import Path

import yaml

from metavoxel.cohort.phantoms.factors import DIAGNOSES, OLDEST, SEXES, YOUNGEST
from metavoxel.cohort.phantoms.settings import PhantomSettings


def write_schema(folder: Path, settings: PhantomSettings) -> Path:
    """Write ``schema.yaml`` of all variables to the cohort's folder, unless it exists; return its path."""
    file = folder / "schema.yaml"
    if not file.exists():  # an existing one may be the user's
        file.write_text(schema_text(settings), encoding="utf-8")
    return file


def schema_text(settings: PhantomSettings) -> str:
    """Schema of all variables of the cohort, for its folder."""
    variables: dict[str, dict[str, object]] = {
        contrast: {"type": "image", "entities": {"suffix": contrast}, "spacing": settings.spacing}
        for contrast in settings.contrasts
    }
    variables["age"] = {"type": "continuous", "range": [int(YOUNGEST), int(OLDEST)], "unit": "years"}
    variables["sex"] = {"type": "categorical", "categories": list(SEXES)}
    if settings.disease:
        variables["diagnosis"] = {"type": "categorical", "categories": list(DIAGNOSES)}
    if settings.site:
        variables["site"] = {"type": "categorical", "categories": ["A", "B"]}
    stratify = ["sex", "diagnosis"] if settings.disease else ["sex"]
    split = {"train": 0.7, "validation": 0.1, "test": 0.2, "seed": 0, "stratify": stratify}
    return yaml.safe_dump({"cohort": {"bids": ".", "split": split}, "variables": variables}, sort_keys=False)
