"""Drawn subjects as files: a table, and a file for every image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas
from torch import Tensor

from metavoxel.parts.variables.base import AbstractVariableSpec

TABLE = "samples.tsv"


def sample_rows(
    folder: Path,
    specs: Mapping[str, AbstractVariableSpec],
    drawn: Mapping[str, Tensor],
    *,
    first: int = 1,
    like: Mapping[str, str] | None = None,
) -> Iterator[dict[str, object]]:
    """A table's row for each draw, its ``sample-001_NAME`` files written to the folder.

    Args:
        folder: where to.
        specs: of the variables.
        drawn: values (n, *D) by variable, in data space.
        first: number of the first draw, where others were written before.
        like: for some images, a file whose place in space the drawn ones share.
    """
    for index in range(len(next(iter(drawn.values())))):
        row: dict[str, object] = {"sample": first + index}
        for name, values in drawn.items():
            place, stem = (like or {}).get(name), f"sample-{first + index:03d}"
            row.update(specs[name].write(name, values[index], folder=folder, stem=stem, like=place))
        yield row


def write_table(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write ``samples.tsv`` of these rows; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_csv(folder / TABLE, sep="\t", index=False)
    return folder / TABLE


def write_samples(
    folder: Path,
    specs: Mapping[str, AbstractVariableSpec],
    drawn: Mapping[str, Tensor],
    *,
    like: Mapping[str, str] | None = None,
) -> Path:
    """Write all draws at once, as :func:`sample_rows` has them, and their table; the table's path."""
    return write_table(folder, list(sample_rows(folder, specs, drawn, like=like)))
