"""Draws of subjects: in memory as tensors, a data frame and images, and as files."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

import nibabel
import pandas
from torch import Tensor

from metavoxel.parts.variables.base import AbstractVariableSpec

TABLE = "samples.tsv"


@final
class Samples(Mapping[str, Tensor]):
    """Draws of all variables; ``samples[name]`` are the values (n, *D) of one, in data space.

    Args:
        values: by variable.
        specs: of the variables.
    """

    def __init__(self, values: Mapping[str, Tensor], specs: Mapping[str, AbstractVariableSpec]) -> None:
        self._values, self._specs = dict(values), {name: specs[name] for name in values}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            raise KeyError(f"no variable {name!r}; the samples have {', '.join(self._values)}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def draws(self) -> int:
        """Number of draws, n."""
        return len(next(iter(self._values.values())))

    @property
    def frame(self) -> pandas.DataFrame:
        """Numbers and labels, one row per draw; known units are in ``frame.attrs["units"]``."""
        scalars = {name: spec for name, spec in self._specs.items() if not spec.spatial}
        rows = [
            {
                column: cell
                for name, spec in scalars.items()
                for column, cell in spec.cells(name, self[name][row]).items()
            }
            for row in range(self.draws)
        ]
        frame = pandas.DataFrame(rows, index=pandas.RangeIndex(self.draws, name="draw"))
        units = {name: spec.model_dump().get("unit") for name, spec in scalars.items()}
        frame.attrs["units"] = {name: unit for name, unit in units.items() if unit is not None}
        return frame

    @property
    def _spatial(self) -> dict[str, AbstractVariableSpec]:
        return {name: spec for name, spec in self._specs.items() if spec.spatial}

    @property
    def image_names(self) -> list[str]:
        """Variables that are images or label maps."""
        return list(self._spatial)

    @property
    def images(self) -> dict[str, list[nibabel.Nifti1Image]]:
        """NIfTI images of every draw on the model's grid, by variable; label maps have the integers of their files."""
        return {name: [spec.to_nifti(value) for value in self[name]] for name, spec in self._spatial.items()}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(values.shape[1:]) or 'scalar'}" for name, values in self.items())
        return f"Samples({self.draws} draws: {shapes})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.frame.to_html(max_rows=20)}"


def sample_rows(
    folder: Path,
    specs: Mapping[str, AbstractVariableSpec],
    drawn: Mapping[str, Tensor],
    *,
    first: int = 1,
    like: Mapping[str, str] | None = None,
) -> Iterator[dict[str, object]]:
    """Write the ``sample-001_NAME`` files of each draw, and yield its row of the table.

    Args:
        folder: to write to.
        specs: of the variables.
        drawn: values (n, *D) by variable, in data space.
        first: number of the first draw.
        like: by image, a cell of the cohort whose spatial grid the drawn images are on.
    """
    for index in range(len(next(iter(drawn.values())))):
        row: dict[str, object] = {"sample": first + index}
        for name, values in drawn.items():
            place, stem = (like or {}).get(name), f"sample-{first + index:03d}"
            row.update(specs[name].write(name, values[index], folder=folder, stem=stem, like=place))
        yield row


def write_table(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows to ``samples.tsv``, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_csv(folder / TABLE, sep="\t", index=False)
    return folder / TABLE


def write_samples(
    folder: Path | str,
    specs: Mapping[str, AbstractVariableSpec],
    drawn: Mapping[str, Tensor],
    *,
    like: Mapping[str, str] | None = None,
) -> Path:
    """Write all files of :func:`sample_rows` and the table, and return the table's path."""
    path = Path(folder)
    return write_table(path, list(sample_rows(path, specs, drawn, like=like)))
