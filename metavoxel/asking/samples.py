"""Drawn subjects as files: a table, and a file for every image."""

from collections.abc import Mapping
from pathlib import Path

import pandas
from torch import Tensor

from metavoxel.variables.base import AbstractVariableSpec


def write_samples(
    folder: Path,
    specs: Mapping[str, AbstractVariableSpec],
    drawn: Mapping[str, Tensor],
    *,
    like: Mapping[str, str] | None = None,
) -> Path:
    """Write ``samples.tsv``, one row a draw, and ``sample-001_NAME`` files beside it; the table's path.

    Args:
        folder: where to.
        specs: of the variables.
        drawn: values (n, *D) by variable, in data space.
        like: for some images, a file whose place in space the drawn ones share.
    """
    count = len(next(iter(drawn.values())))
    rows = []
    for index in range(count):
        row: dict[str, object] = {"sample": index + 1}
        for name, values in drawn.items():
            place = (like or {}).get(name)
            row.update(
                specs[name].write(name, values[index], folder=folder, stem=f"sample-{index + 1:03d}", like=place)
            )
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "samples.tsv"
    pandas.DataFrame(rows).to_csv(table, sep="\t", index=False)
    return table
