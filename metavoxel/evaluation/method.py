"""Compared methods: their predictions on the test part, and their costs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas

from metavoxel.evaluation.held_out import HeldOut, training_values
from metavoxel.inference.samples import TABLE

JOINT = "metavoxel"


@final
@dataclass(frozen=True, eq=False)
class Method:
    """One row of Table 1.

    Attributes:
        name: name in the table.
        predictions: by predicted target, one row per test row with the columns of ``metavoxel predict``.
        given: by predicted target, the variables it was predicted from.
        folder: folder of its files.
        samples: folder of its generated scans, with their ``samples.tsv``.
        training_seconds: wall time of training.
        seconds: wall time per prediction.
        evaluations: network evaluations per prediction.
        parameters: number of trained weights.
        notes: notes for the report, such as why it failed.
    """

    name: str
    predictions: Mapping[str, pandas.DataFrame] = field(default_factory=dict)
    given: Mapping[str, Sequence[str]] = field(default_factory=dict)
    folder: Path | None = None
    samples: Path | None = None
    training_seconds: float | None = None
    seconds: float | None = None
    evaluations: float | None = None
    parameters: float | None = None
    notes: Sequence[str] = ()


def compared(held_out: HeldOut) -> Iterator[Method]:
    """Read the methods in the run's ``comparisons`` folder. One that cannot be read has a note and no predictions."""
    folder = held_out.folder.path / "comparisons"
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if path.is_dir() and not path.name.startswith("."):
            yield _compared(held_out, path)


def _compared(held_out: HeldOut, folder: Path) -> Method:
    record, notes = _record(folder / "record.json")
    failed = record.get("failed")
    if failed:
        notes.append(f"failed: {failed}")
    predictions, given = {}, {}
    targets = record.get("targets")
    for target, names in (targets if isinstance(targets, dict) else {}).items():
        file = folder / f"predictions-{target}.tsv"
        if target not in held_out.model.schema.variables:
            known = ", ".join(held_out.model.schema.variables)
            notes.append(f"{folder / 'record.json'}: target {target!r} is not a variable. Variables: {known}")
        elif not file.exists():
            notes.append(f"{file}: no such file, though record.json has this target")
        else:
            table, problem = _aligned(file, target, held_out)
            if table is None:
                notes.append(problem)
            else:
                predictions[target], given[target] = table, list(names)
    samples = folder / "samples"
    generated = (samples / TABLE).exists()
    costs = record if predictions or generated else {}  # costs of a method without results are not comparable
    return Method(
        folder.name,
        predictions,
        given,
        folder,
        samples if generated else None,
        training_seconds=_number(costs.get("training_seconds")),
        seconds=_number(costs.get("seconds_a_row")) if predictions else None,
        evaluations=_number(costs.get("evaluations")) if predictions else None,
        parameters=_number(costs.get("parameters")),
        notes=notes,
    )


def _record(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, [f"{path}: no such file; the comparison has not finished"]
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        return {}, [f"{path}: cannot be read ({error})"]
    if not isinstance(record, dict):
        return {}, [f"{path}: not the record of a comparison"]
    return record, []


def _aligned(file: Path, target: str, held_out: HeldOut) -> tuple[pandas.DataFrame | None, str]:
    """Reorder the rows of a table as in the test part; None with the reason where they do not match."""
    try:
        table = pandas.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        return None, f"{file}: cannot be read ({error})"
    subject = held_out.model.schema.cohort.subject
    absent = [column for column in (subject, target) if column not in table]
    if absent:
        return None, f"{file}: no column {absent[0]!r}; columns: {', '.join(table.columns)}"
    wanted = held_out.subjects
    if list(table[subject]) == wanted:
        return table, ""
    if len(set(wanted)) == len(wanted) and sorted(table[subject]) == sorted(wanted):
        return table.set_index(subject).loc[wanted].reset_index(), ""
    missing = [name for name in wanted if name not in set(table[subject])]
    what = f"lacks {missing[0]!r}" if missing else "has rows of other subjects, or in another order"
    return None, f"{file}: must have a row for each of the {len(wanted)} test rows, and {what}"


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def population(held_out: HeldOut, targets: Sequence[str]) -> Method:
    """Population baseline: the mean of every number and the most frequent label in the training rows."""
    predictions = {}
    rows = len(held_out)
    for target in targets:
        values = training_values(held_out.model, held_out.folder, target)
        if held_out.is_label(target):
            shares = values.value_counts(normalize=True)
            columns: dict[str, object] = {target: str(shares.idxmax())}
            columns |= {
                f"{target}_p[{label}]": float(shares.get(label, 0.0)) for label in held_out.model.labels[target]
            }
        else:
            columns = {target: float(np.mean(values.astype(float)))}
        subject = {held_out.model.schema.cohort.subject: held_out.subjects}
        predictions[target] = pandas.DataFrame({**subject, **{name: [cell] * rows for name, cell in columns.items()}})
    return Method("population mean or majority", predictions, dict.fromkeys(targets, ()), evaluations=0)
