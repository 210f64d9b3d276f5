from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest


def _write_volume(path: Path, shape=(8, 8, 8), *, step: float = 2.0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).uniform(10, 90, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([step, step, step, 1])), path)
    return path


@pytest.fixture
def volume() -> Callable[..., Path]:
    """Writer of a small noise volume."""
    return _write_volume


@pytest.fixture
def study(tmp_path) -> Path:
    """A folder with ``subjects.csv`` (id, T1w, Age, Sex) of 20 subjects, and their volumes."""
    lines = ["id,T1w,Age,Sex"]
    for number in range(20):
        _write_volume(tmp_path / f"scans/p{number:02}.nii.gz", seed=number)
        lines.append(f"p{number:02},scans/p{number:02}.nii.gz,{20 + 2 * number},{'FM'[number % 2]}")
    (tmp_path / "subjects.csv").write_text("\n".join(lines) + "\n")
    return tmp_path
