"""Headers of the image files of a cohort, read once: those of unchanged files are kept between processes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from metavoxel.errors import Problem
from metavoxel.images.file_cache import FileCache
from metavoxel.images.files import FREESURFER, NIFTI, PICTURES, Header, read_header
from metavoxel.images.grid import Grid

_READERS = 4
_SINGLE = (*NIFTI, *FREESURFER, *PICTURES)
"""Formats of one file, whose size and time change with its header."""


def read_headers(cells: Sequence[str]) -> tuple[dict[str, Header], list[Problem]]:
    """Read the headers of all distinct files; return them and the problems of unreadable ones.

    Equal headers are one object.
    """

    def attempt(cell: str) -> Header | Problem:
        try:
            return read_header(cell)
        except ValueError as error:
            return Problem(cell, str(error))

    distinct = list(dict.fromkeys(cells))
    problems = []
    with FileCache(distinct, "headers") as cache:
        facts = {cell: cache.get(cell) if cell.lower().endswith(_SINGLE) else None for cell in distinct}
        unread = [cell for cell, fact in facts.items() if fact is None]
        with ThreadPoolExecutor(_READERS) as pool:
            for cell, found in zip(unread, pool.map(attempt, unread), strict=True):
                if isinstance(found, Problem):
                    problems.append(found)
                else:
                    facts[cell] = _as_fact(found)
                    cache.put(cell, facts[cell])
    shared: dict[str, Header] = {}
    headers = {
        cell: shared.setdefault(repr(fact), _from_fact(fact)) for cell, fact in facts.items() if fact is not None
    }
    return headers, problems


def _as_fact(header: Header) -> list[Any]:
    """Convert a header to JSON types, which keep every bit of its numbers."""
    return [list(header.grid.shape), header.grid.affine.tolist(), header.oriented]


def _from_fact(fact: list[Any]) -> Header:
    shape, affine, oriented = fact
    return Header(Grid(tuple(shape), np.array(affine, np.float64)), oriented)
