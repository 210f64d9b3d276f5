"""A model of a table of simulated rows, trained by the public API, with plain values as inputs and outputs."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas
import torch
import yaml
from jaxtyping import Shaped
from torch import Tensor

import metavoxel as mv
from metavoxel.runs.bars import show
from metavoxel.runs.run import RunFolder
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling

Rows = Mapping[str, Shaped[Tensor, "_"]]
"""Values of each variable, one per row: numbers, and categories as indices."""


class TableRun:
    """Draws and posterior means of a trained model for many rows. Final.

    Args:
        model: of scalars only.
    """

    def __init__(self, model: mv.Model) -> None:
        self.model, self.names = model, model.names

    def codes(self, values: Rows) -> dict[str, Evidence]:
        """Encode values as evidence."""
        evidence = {}
        for name, value in values.items():
            code = self.model.codecs[name].encode(value if self.is_category(name) else value.float()).mean
            evidence[name] = Evidence(code, torch.ones(len(code), 1, dtype=torch.bool))
        return evidence

    def is_category(self, name: str) -> bool:
        """Return whether a variable is a category."""
        return self.model.codecs[name].support == "one_hot"

    def predict(self, given: Rows, *, evaluations: int, seed: int, rows: int | None = None) -> dict[str, Tensor]:
        """Return the posterior mean (b,) of every number and class probabilities (b, k) of every category.

        ``rows`` is their number if nothing is given.
        """
        rows = len(next(iter(given.values()))) if rows is None else rows
        means = posterior_mean(self.model.joint, self.codes(given), streams(seed, rows), evaluations=evaluations)
        return {
            name: mean if self.is_category(name) else self.model.codecs[name].decode(mean).double()
            for name, mean in means.items()
        }

    def draw(
        self, given: Rows, sampling: Sampling, *, rows: int, seed: int, marginal: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """Draw (b,) every unknown variable that is not ``marginal`` once per row, all in one trajectory."""
        codes = sample_codes(
            self.model.joint,
            self.codes(given),
            streams(seed, rows),
            sampling,
            marginal=marginal,
            bounds=self.model.bounds,
        )
        return {
            name: code.argmax(1) if self.is_category(name) else self.model.codecs[name].decode(code).double()
            for name, code in codes.items()
            if name not in given and name not in marginal
        }


def streams(seed: int, rows: int) -> Any:
    """Return the random streams of rows with their index as key."""
    return row_streams(seed, _keys(rows), 0)


def _keys(rows: int) -> list[str]:
    return [f"row {row}" for row in range(rows)]


def trained(
    output: Path,
    columns: Mapping[str, Shaped[Tensor, "n"]],
    *,
    categories: Mapping[str, int],
    settings: Mapping[str, object],
    validation: int,
    types: Mapping[str, Mapping[str, object]] | None = None,
) -> TableRun:
    """Write table and schema, train unless trained, and load the model.

    Args:
        output: run folder; table and schema are next to it. A run with other settings is refused.
        columns: values, one per row; the last ``validation`` rows are for validation.
        categories: number of classes of each category; the other variables are numbers.
        settings: sections of the schema besides ``cohort`` and ``variables``.
        validation: number of validation rows.
        types: settings of variables of other types.
    """
    table, schema = output.with_suffix(".csv"), output.with_suffix(".yaml")
    variables: dict[str, object] = {
        name: {"type": "categorical", "categories": [str(label) for label in range(categories[name])]}
        if name in categories
        else {"type": "continuous"}
        for name in columns
    } | dict(types or {})
    split = {"column": "part", "train": 0.9, "validation": 0.1, "test": 0.0}
    cohort = {"table": table.name, "subject": "row", "split": split}
    text = yaml.safe_dump({"cohort": cohort, "variables": variables, **settings}, sort_keys=False)
    if RunFolder(output).record.exists() and schema.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{output} was trained by other settings ({schema}). Remove it, or use another --output")
    if not RunFolder(output).weights.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        frame = pandas.DataFrame({name: value.tolist() for name, value in columns.items()})
        count = len(frame)
        frame.insert(0, "row", [f"row {row}" for row in range(count)])
        frame["part"] = ["train"] * (count - validation) + ["validation"] * validation
        frame.to_csv(table, index=False)
        schema.write_text(text, encoding="utf-8")
        show(mv.training(mv.load_schema(schema), output, resume=RunFolder(output).record.exists()))
    return TableRun(mv.load(output))
