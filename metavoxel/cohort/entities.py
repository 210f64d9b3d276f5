"""Entities of BIDS file names, and which files a variable chooses by them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from ancpbids.schema import available_versions, load

from metavoxel.cohort.identifiers import some
from metavoxel.errors import Problem, did_you_mean

PROPERTIES = ("suffix", "extension", "datatype")
"""What a name and its folder state beside the entities."""

DERIVATIVE = "derivative"
"""The key of ``entities`` that names a folder of ``derivatives`` instead of the raw data."""

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
    """Short names by long ones, and the short names of indices, in the newest specification that ancpbids knows."""
    newest = max(available_versions(), key=lambda version: [int(part) for part in re.findall(r"\d+", version)])
    entities = [(entity.name, entity.value["name"], entity.value.get("format")) for entity in load(newest).EntityEnum]
    return {long: short for long, short, _ in entities}, frozenset(
        short for _, short, kind in entities if kind == "index"
    )


def parse_name(stem: str) -> dict[str, str] | None:
    """Entities and suffix of a file name without its extension; None when it is not a BIDS name."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    pairs = [pair.split("-") for pair in match["entities"].rstrip("_").split("_")]
    entities = dict(pairs)
    return entities | {"suffix": match["suffix"]} if len(entities) == len(pairs) else None


class Selection(NamedTuple):
    """What one variable asks of its file: ``wanted`` by short names, None for entities that the name must not have."""

    wanted: dict[str, str | None]
    run: str | None

    def __str__(self) -> str:
        asked = [f"{key}: {'null' if text is None else text}" for key, text in self.wanted.items()]
        return "{" + ", ".join(asked + ([f"run: {self.run}"] if self.run else [])) + "}"

    def among(self, files: Sequence[BidsFile], where: str) -> tuple[list[BidsFile], list[Problem]]:
        """Files that have what is wanted, of every run.

        Indices agree as numbers (run 1 is run-01). Labels agree as text; digits that are no label of these files are
        the one label that is the same number, and a problem where that is not one.
        """
        problems = []
        exact: dict[str, str | None] = {}
        for key, text in self.wanted.items():
            exact[key] = text
            labels = {file.entities[key] for file in files if key in file.entities}
            if text is not None and text.isdecimal() and text not in labels and key not in _definitions()[1]:
                same = [label for label in labels if label.isdecimal() and int(label) == int(text)]
                if len(same) > 1:
                    problems.append(Problem(where, f"{key} {text!r} may be {' or '.join(sorted(same))}; write one"))
                elif same:
                    exact[key] = same[0]
        chosen = [
            file for file in files if all(_agree(key, file.entities.get(key), text) for key, text in exact.items())
        ]
        return chosen, problems

    def of_visit(self, files: Sequence[BidsFile]) -> list[BidsFile]:
        """Of one visit's files, those of the first or last run where that is asked; without a run is before run 1."""
        if self.run is None or not files:
            return list(files)
        runs = [_run(file) for file in files]
        best = _RUNS[self.run](runs)
        return [file for file, run in zip(files, runs, strict=True) if run == best]


def select(entities: Mapping[str, str | None], seen: Iterable[str], where: str) -> tuple[Selection, list[Problem]]:
    """What ``entities`` ask for, by short names; suffix T1w unless given. ``seen`` are entities that files have.

    Returns also a problem for each name that is neither in the BIDS specification nor in the folder.
    """
    short, _ = _definitions()
    known = [*PROPERTIES, *short, *short.values(), *seen]
    problems = [
        Problem(where, f"{name!r} is not a BIDS entity.{did_you_mean(name, known)}")
        for name in entities
        if name not in known and name != DERIVATIVE
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
    """What tells files of one visit apart, as entities to write: ``space: null or space: MNI152; acq: hi or ...``."""
    keys = list(dict.fromkeys(key for file in files for key in file.entities))
    told = []
    for key in keys:
        labels = [file.entities.get(key) for file in files]
        if len(set(labels)) > 1:
            ordered = [*([None] if None in labels else []), *sorted({label for label in labels if label is not None})]
            options = [f"{key}: {'null' if label is None else label}" for label in ordered]
            told.append(" or ".join(options + ([f"{key}: first", f"{key}: last"] if key == "run" else [])))
    return "; ".join(told)


def absent(selection: Selection, files: Sequence[BidsFile]) -> str:
    """Why no file was found, as what the files have instead."""
    suffixes = ", ".join(sorted({file.entities["suffix"] for file in files})) or "of no kind"
    what = f"no image with {selection}; the folder has images with suffix {suffixes}"
    suffix = selection.wanted["suffix"]
    alike = [file for file in files if file.entities["suffix"] == suffix]
    for key, text in selection.wanted.items():
        if alike and key != "suffix" and not any(_agree(key, file.entities.get(key), text) for file in alike):
            labels = some(file.entities.get(key, "null") for file in alike)
            what += f"; those with suffix {suffix} have {key} {labels}"
    return what


def _agree(key: str, found: str | None, wanted: str | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    indices = key in _definitions()[1] and found.isdecimal() and wanted.isdecimal()
    return int(found) == int(wanted) if indices else found == wanted


def _run(file: BidsFile) -> tuple[int, str]:
    text = file.entities.get("run", "-1")
    return (int(text), "") if text.lstrip("-").isdecimal() else (0, text)
