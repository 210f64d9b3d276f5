"""A model of a table of simulated rows, trained through the public path, and asked in plain values."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas
import torch
import yaml
from jaxtyping import Shaped
from torch import Tensor

import metavoxel as mv
from metavoxel.cli.train import show
from metavoxel.runs.run import RunFolder
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling

Rows = Mapping[str, Shaped[Tensor, "_"]]
"""Values of each variable, one a row: numbers, and categories as indices."""


class TableRun:
    """A trained model that is asked of many rows at once. Final.

    Args:
        model: of scalars alone.
    """

    def __init__(self, model: mv.Model) -> None:
        self.model, self.names = model, model.names

    def codes(self, values: Rows) -> dict[str, Evidence]:
        """Evidence of these values."""
        evidence = {}
        for name, value in values.items():
            code = self.model.codecs[name].encode(value if self.is_category(name) else value.float()).mean
            evidence[name] = Evidence(code, torch.ones(len(code), 1, dtype=torch.bool))
        return evidence

    def is_category(self, name: str) -> bool:
        """Whether a variable is one of several labels."""
        return self.model.codecs[name].support == "one_hot"

    def predict(self, given: Rows, *, evaluations: int, seed: int, rows: int | None = None) -> dict[str, Tensor]:
        """Posterior mean (b,) of every number and class probabilities (b, k) of every category.

        ``rows`` says how many, where nothing is given.
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
        """One draw (b,) a row of every unknown variable that is not ``marginal``, all in one walk."""
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
    """Random streams of rows that have no key but their place."""
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
    """Write the rows as a table and a schema beside it, train what is not trained yet, and load it.

    Args:
        output: run folder; the table and the schema lie beside it. What was trained there by other settings is refused.
        columns: values, one a row; the last ``validation`` rows choose the best step.
        categories: for each category its number of classes; the other variables are numbers.
        settings: sections of the schema besides ``cohort`` and ``variables``.
        validation: rows to validate on.
        types: settings of variables that are of another type than these two.
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
        raise SystemExit(f"{output} was trained by other settings ({schema}). Remove it, or give another --output")
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
