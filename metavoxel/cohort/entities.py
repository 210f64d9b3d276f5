"""Parse entities of BIDS file names, and select files by them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from ancpbids.schema import available_versions, load

from metavoxel.cohort.identifiers import some
from metavoxel.errors import Problem, did_you_mean

PROPERTIES = ("suffix", "extension", "datatype")
"""Properties of a file name and its folder that are not entities."""

DERIVATIVE = "derivative"
"""Key of ``entities`` that selects a folder of ``derivatives`` instead of the raw data."""

_NAME = re.compile(r"(?P<entities>(?:[a-zA-Z]+-[^-_/]+_)+)(?P<suffix>[a-zA-Z0-9]+)")
_RUNS = {"first": min, "last": max}


class BidsFile(NamedTuple):
    """An image of a BIDS folder.

    ``path`` is relative to the dataset; ``entities`` maps short names and :data:`PROPERTIES` to text.
    """

    path: str
    entities: dict[str, str]


@cache
def _definitions() -> tuple[dict[str, str], frozenset[str]]:
    """Map long to short names, and list the short names of indices, by the newest specification in ancpbids."""
    newest = max(available_versions(), key=lambda version: [int(part) for part in re.findall(r"\d+", version)])
    entities = [(entity.name, entity.value["name"], entity.value.get("format")) for entity in load(newest).EntityEnum]
    return {long: short for long, short, _ in entities}, frozenset(
        short for _, short, kind in entities if kind == "index"
    )


def parse_name(stem: str) -> dict[str, str] | None:
    """Parse entities and suffix of a file name without extension; None if it is not a BIDS name."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    pairs = [pair.split("-") for pair in match["entities"].rstrip("_").split("_")]
    entities = dict(pairs)
    return entities | {"suffix": match["suffix"]} if len(entities) == len(pairs) else None


class Selection(NamedTuple):
    """Criteria for the file of one variable: labels by short names, None for entities that must be absent."""

    wanted: dict[str, str | None]
    run: str | None

    def __str__(self) -> str:
        criteria = [f"{key}: {'null' if text is None else text}" for key, text in self.wanted.items()]
        return "{" + ", ".join(criteria + ([f"run: {self.run}"] if self.run else [])) + "}"

    def among(self, files: Sequence[BidsFile], where: str) -> tuple[list[BidsFile], list[Problem]]:
        """Select the matching files, of all runs.

        Indices match as numbers (run 1 is run-01), labels as text. Digits that are not a label of these files match the
        only label with the same number; several such labels are a problem.
        """
        problems = []
        exact: dict[str, str | None] = {}
        for key, text in self.wanted.items():
            exact[key] = text
            labels = {file.entities[key] for file in files if key in file.entities}
            if text is not None and text.isdecimal() and text not in labels and key not in _definitions()[1]:
                same = [label for label in labels if label.isdecimal() and int(label) == int(text)]
                if len(same) > 1:
                    problems.append(Problem(where, f"{key} {text!r} matches {' and '.join(sorted(same))}; use one"))
                elif same:
                    exact[key] = same[0]
        chosen = [
            file for file in files if all(_matches(key, file.entities.get(key), text) for key, text in exact.items())
        ]
        return chosen, problems

    def of_visit(self, files: Sequence[BidsFile]) -> list[BidsFile]:
        """Keep the files of the first or last run if requested; a file without a run precedes run 1."""
        if self.run is None or not files:
            return list(files)
        runs = [_run(file) for file in files]
        best = _RUNS[self.run](runs)
        return [file for file, run in zip(files, runs, strict=True) if run == best]


def select(entities: Mapping[str, str | None], known: Iterable[str], where: str) -> tuple[Selection, list[Problem]]:
    """Build a selection from ``entities``; the suffix defaults to T1w. ``known`` are the entities of the files.

    Also returns a problem for each name that is neither in the BIDS specification nor in ``known``.
    """
    short, _ = _definitions()
    valid = [*PROPERTIES, *short, *short.values(), *known]
    problems = [
        Problem(where, f"{name!r} is not a BIDS entity.{did_you_mean(name, valid)}")
        for name in entities
        if name not in valid and name != DERIVATIVE
    ]
    wanted: dict[str, str | None] = {"suffix": "T1w"}
    for name, text in entities.items():
        key = short.get(name, name)
        if key in wanted and key != "suffix":
            problems.append(Problem(where, f"{name!r} is given twice, as {key!r} is the same entity; give one"))
        wanted[key] = text
    wanted.pop(DERIVATIVE, None)
    run = wanted.get("run")
    if run in _RUNS:
        del wanted["run"]
        return Selection(wanted, run), problems
    return Selection(wanted, None), problems


def differences(files: Sequence[BidsFile]) -> str:
    """List the entities that distinguish files of one visit: ``space: null or space: MNI152; acq: hi or ...``."""
    keys = list(dict.fromkeys(key for file in files for key in file.entities))
    choices = []
    for key in keys:
        labels = [file.entities.get(key) for file in files]
        if len(set(labels)) > 1:
            ordered = [*([None] if None in labels else []), *sorted({label for label in labels if label is not None})]
            options = [f"{key}: {'null' if label is None else label}" for label in ordered]
            choices.append(" or ".join(options + ([f"{key}: first", f"{key}: last"] if key == "run" else [])))
    return "; ".join(choices)


def absent(selection: Selection, files: Sequence[BidsFile]) -> str:
    """Explain why no file was found, by what the files have instead."""
    suffixes = ", ".join(sorted({file.entities["suffix"] for file in files}))
    what = f"no image with {selection}; the folder has "
    what += f"images with suffix {suffixes}" if suffixes else "no images"
    suffix = selection.wanted["suffix"]
    alike = [file for file in files if file.entities["suffix"] == suffix]
    for key, text in selection.wanted.items():
        if alike and key != "suffix" and not any(_matches(key, file.entities.get(key), text) for file in alike):
            labels = some(file.entities.get(key, "null") for file in alike)
            what += f"; those with suffix {suffix} have {key} {labels}"
    return what


def _matches(key: str, found: str | None, wanted: str | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    indices = key in _definitions()[1] and found.isdecimal() and wanted.isdecimal()
    return int(found) == int(wanted) if indices else found == wanted


def _run(file: BidsFile) -> tuple[int, str]:
    text = file.entities.get("run", "-1")
    return (int(text), "") if text.lstrip("-").isdecimal() else (0, text)
