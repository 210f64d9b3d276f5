"""Generated subjects: draw in batches, write as ``metavoxel sample`` does, and read."""

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas
import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.errors import Problem, RunError
from metavoxel.evaluation.settings import Settings
from metavoxel.evaluation.store import Store
from metavoxel.images.files import is_picture, read_image
from metavoxel.inference.model import Model
from metavoxel.inference.samples import TABLE, sample_rows, write_table
from metavoxel.inference.sampling import cells_in_turn
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.runs.progress import Progress
from metavoxel.sampling.sample import row_streams, sample_codes

AT_ONCE = 4
"""Subjects with images drawn at once; an interrupted evaluation loses at most one batch."""

ROWS_AT_ONCE = 256
"""Subjects without images drawn at once."""

GREYS = 255
"""Value in a picture's file for intensity 1."""


class Samples(NamedTuple):
    """Generated subjects in a folder, and the wall time per subject (None for samples read from files)."""

    folder: Path
    table: pandas.DataFrame
    seconds: float | None


def generate(
    model: Model, store: Store, settings: Settings, count: int, *, at_once: int = AT_ONCE
) -> Generator[Progress, None, Samples]:
    """Draw ``count`` subjects of all variables, resuming from an interrupted call; yields the number drawn so far.

    The draws equal those of ``metavoxel sample`` with the same seed and steps: ``settings.sample_steps``, and with
    texts at least one for each token.
    """
    steps = max([settings.sample_steps, *cells_in_turn(model.joint, model.names).values()])
    sampling = model.default_sampling(steps=steps)
    folder = store.path("samples", {"steps": steps, "seed": settings.seed}, suffix="")
    state = folder / "samples.json"
    rows: list[dict[str, object]] = (store.read(state) or {}).get("rows", [])
    seconds: float = (store.read(state) or {}).get("seconds", 0.0)
    while len(rows) < count:
        numbers = range(len(rows), min(len(rows) + at_once, count))
        start = time.perf_counter()
        rng = row_streams(settings.seed, [f"draw {number}" for number in numbers], 0)
        codes = sample_codes(model.joint, {}, rng, sampling, bounds=model.bounds)
        with torch.inference_mode():
            drawn = {name: model.codecs[name].decode(code).cpu() for name, code in codes.items()}
        seconds += time.perf_counter() - start
        rows.extend(sample_rows(folder, model.schema.specs, drawn, first=len(rows) + 1))
        store.write(state, {"rows": rows, "seconds": seconds})
        yield Progress("samples", len(rows), count, {})
    kept = rows[:count]
    write_table(folder, kept)
    return Samples(folder, pandas.DataFrame(kept), seconds / len(rows))


def read_samples(folder: Path) -> Samples:
    """Read samples written by ``metavoxel sample`` or by a comparison.

    Raises:
        RunError: the table cannot be read.
    """
    path = folder / TABLE
    try:
        return Samples(folder, pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False), None)
    except (OSError, ValueError) as error:
        raise RunError(Problem(str(path), f"cannot be read ({error})")) from None


def sample_files(samples: Samples, name: str, most: int) -> list[Path]:
    """Files of one image variable, at most ``most``; none where the samples lack this column."""
    if name not in samples.table:
        return []
    return [samples.folder / str(cell) for cell in samples.table[name] if str(cell)][:most]


def sample_images(files: Sequence[Path], spec: AbstractVariableSpec) -> Iterator[Float[Tensor, "1 *s"]]:
    """Read images one at a time, with intensities on the model's scale.

    Raises:
        RunError: a file cannot be read, or is not on the model's grid.
    """
    for file in files:
        try:
            image = torch.from_numpy(read_image(file, constant=True).data)[None]
            image = image / GREYS if is_picture(file) else spec.rescaled(image)
        except ValueError as error:
            raise RunError(Problem(str(file), str(error).removeprefix(f"{file}: "))) from None
        if image.shape != spec.data_shape:
            shapes = f"{'x'.join(map(str, image.shape[1:]))} voxels where the model has "
            shapes += "x".join(map(str, spec.data_shape[1:]))
            raise RunError(Problem(str(file), f"{shapes}: generated images must be on the model's grid"))
        yield image
