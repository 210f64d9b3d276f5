"""Predictions of every variable of examples/ds000228_more: from all others, from T1w alone, from age and sex.

python -m benchmarks.ds000228_more [--table ../shared/data/ds000228/participants.tsv] [--output runs/benchmark-more]

Trains the example's schema unless trained, and prints the table of its page: mean absolute errors of posterior means
and accuracies of labels on held-out subjects, with bootstrap 95 % intervals over subjects with the datum.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import metavoxel as mv
from benchmarks.oasis import trained
from benchmarks.tables import markdown
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder

SCHEMA = Path("examples/ds000228_more/schema.yaml")
TABLE = Path("../shared/data/ds000228/participants.tsv")
FEWEST = 5
"""Smallest number of subjects with an interval."""


def errors(model: mv.Model, folder: RunFolder, target: str, given: Sequence[str]) -> np.ndarray:
    """Return the absolute error, or accuracy of the label, for each held-out subject with the datum."""
    table = part_table(model, folder, "test")
    column = model.read(table, [target]).columns[target]
    there = column.present.numpy()
    truth = column.read(np.flatnonzero(there).tolist())
    answer = model.predict(table, target, list(given))[target][there]
    if model.codecs[target].support == "one_hot":
        spec = model.schema.variables[target].spec
        return np.array([spec.format(index) for index in truth]) == answer.to_numpy()
    return np.abs(answer.to_numpy(float) - truth.double().numpy())


def constant(model: mv.Model, folder: RunFolder, target: str) -> np.ndarray:
    """Return the same for the median or the most frequent label of the training subjects."""
    train, test = (model.read(part_table(model, folder, part), [target]).columns[target] for part in ("train", "test"))
    seen, truth = (column.read(column.present.nonzero()[:, 0].tolist()) for column in (train, test))
    if model.codecs[target].support == "one_hot":
        return (truth == torch.mode(seen.long()).values).numpy()
    return (truth - seen.median()).abs().double().numpy()


def shown(found: np.ndarray) -> str:
    """Format a mean, with its interval if there are at least ``FEWEST`` subjects."""
    return str(bootstrap_mean(found.astype(float))) if len(found) >= FEWEST else f"{found.mean():.2f}"


def main() -> None:
    """Train unless trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-more"))
    arguments = parser.parse_args()
    schema = mv.load_schema(SCHEMA)
    cohort = schema.cohort.model_copy(update={"table": arguments.table.resolve()})
    model, folder = trained(replace(schema, cohort=cohort), arguments.output), RunFolder(arguments.output)
    rows = []
    for target in model.names[1:]:
        others = [name for name in model.names if name != target]
        known = [name for name in ("age", "sex") if name != target]
        found = [errors(model, folder, target, given) for given in (others, ["T1w"], known)]
        floor = constant(model, folder, target)
        rows.append([target, str(len(floor)), *map(shown, [*found, floor])])
    print(
        markdown(
            ["", "subjects", "from all others", "from T1w", "from age and sex", "constant"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
