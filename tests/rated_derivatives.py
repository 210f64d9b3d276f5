"""Derivatives without volumes, for tests of quality control."""

import json
from pathlib import Path

import PIL.Image


def write_derivative(folder: Path, subjects: int = 12, *, bad: str = "sub-05") -> Path:
    """A derivative with figures and pictures, without volumes: one scan has the figures of a wrong registration."""
    (folder / "figures").mkdir(parents=True)
    for number in range(1, subjects + 1):
        name = f"sub-{number:02}"
        correlation = 0.2 if name == bad else 0.64 + 0.001 * (number % 7)
        quality = {"correlation": correlation, "symmetry": 0.75, "volume": 1500.0, "cut": 0.0, "angle": 3.0}
        anat = folder / name / "anat"
        anat.mkdir(parents=True)
        record = {"Output": f"hash{number:02}", "Files": [], "Quality": quality, "Notes": []}
        sidecar = anat / f"{name}_space-MNI152NLin2009aSym_desc-preproc_T1w.json"
        sidecar.write_text(json.dumps({"Preparation": record}))
        for step in ("registered", "extraction"):
            PIL.Image.new("RGB", (600, 150), (number, 80, 80)).save(folder / f"figures/{name}_{step}.png")
    return folder
