"""Headers of many files: equal to those of single files, kept while the files are unchanged."""

import os
from pathlib import Path

import numpy as np
import pytest

from metavoxel.images import file_cache
from metavoxel.images.files import read_header, write_nifti
from metavoxel.images.grid import Grid
from metavoxel.images.image import Image
from metavoxel.parts.variables import headers
from metavoxel.parts.variables.headers import read_headers


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.setenv("METAVOXEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_cache, "FEWEST", 3)
    rng, found = np.random.default_rng(0), []
    for number in range(6):
        affine = np.diag([1.1, 0.9, 1 / 3, 1]) if number < 4 else np.eye(4)
        affine[:3, 3] = 0 if number < 4 else rng.normal(size=3)
        found.append(str(tmp_path / f"{number}.nii.gz"))
        write_nifti(tmp_path / f"{number}.nii.gz", Image(rng.random((3, 4, 5), np.float32), Grid((3, 4, 5), affine)))
    return found


def _refuse(cell):
    raise AssertionError(f"{cell} is read")


def test_unchanged_files_are_read_once(cells, monkeypatch):
    first, problems = read_headers(cells)
    assert not problems and list(first) == cells
    monkeypatch.setattr(headers, "read_header", _refuse)
    second, problems = read_headers([*cells, cells[0]])
    assert not problems and list(second) == cells
    for cell in cells:
        single = read_header(cell)
        for one in (first[cell], second[cell]):
            assert one.grid.shape == single.grid.shape and one.oriented == single.oriented
            np.testing.assert_array_equal(one.grid.affine, single.grid.affine)
    assert second[cells[0]] is second[cells[3]] is not second[cells[4]], "equal headers are one object"


def test_changed_and_unreadable_files_are_read_again(cells):
    read_headers(cells)
    write_nifti(Path(cells[0]), Image(np.zeros((7, 2, 5), np.float32), Grid((7, 2, 5), np.eye(4))))
    with open(cells[1], "wb") as file:
        file.write(b"damaged")
    os.unlink(cells[2])
    for _ in range(2):
        found, problems = read_headers(cells)
        assert found[cells[0]].grid.shape == (7, 2, 5) and list(found) == [cells[0], *cells[3:]]
        assert [problem.where for problem in problems] == cells[1:3]
