"""The record of a phantom cohort, which keeps another cohort out of its folder."""

import json
from collections.abc import Mapping
from pathlib import Path

from metavoxel.errors import CohortError, Problem


def refuse_others(folder: Path, record_file: Path, wanted: Mapping[str, object], generator: int | str) -> None:
    """Check that a folder is new, empty, or has phantoms of these settings, at most as many.

    Raises:
        CohortError: it holds other content.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not record_file.is_file():
        raise CohortError(Problem(str(folder), "exists and is not a phantom cohort; choose a new or an empty folder"))
    existing = read_record(record_file, generator)["settings"]
    problems = [
        Problem(
            f"{folder}: {name}", f"the existing phantoms have {existing[name]!r}, not {value!r}; choose a new folder"
        )
        for name, value in wanted.items()
        if (existing[name] > value if name == "subjects" else existing[name] != value)
    ]
    if problems:
        raise CohortError(problems)


def read_record(path: Path, generator: int | str) -> dict:
    """Read the record of a phantom cohort written by this version of the generator.

    Raises:
        CohortError: it is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        made_by = record["generator"]
    except (ValueError, KeyError, TypeError) as error:
        raise CohortError(
            Problem(str(path), f"is not a record of a phantom cohort ({error!r}); choose a new folder")
        ) from error
    if made_by != generator:
        what = f"is from version {made_by} of the generator, and this is version {generator}; choose a new folder"
        raise CohortError(Problem(str(path), what))
    return record


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
