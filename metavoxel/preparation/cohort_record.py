"""Record of how the images of a cohort were prepared, from their sidecars: kept in a run, to treat new scans alike."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.entities import parse_name
from metavoxel.errors import Problem, RunError
from metavoxel.images.files import NIFTI
from metavoxel.preparation.quality import Spread
from metavoxel.preparation.resemblance import spread_of
from metavoxel.preparation.settings import RECORD, PrepareSettings

RUN_KEY = "preparation"
"""Key of a run's record under which the preparations of its images are, by variable."""


class CohortPreparation(BaseModel):
    """How all images of one variable were prepared.

    Attributes:
        settings: of the preparation.
        versions: of all that determined the bytes; several where the cohort was prepared by several.
        space: BIDS identifier of the template's space.
        suffix: contrast by its BIDS suffix.
        spread: figures of the training images on the model's grid; empty where they could not be computed.
    """

    model_config = ConfigDict(frozen=True)

    settings: PrepareSettings
    versions: dict[str, list[str]]
    space: str
    suffix: str
    spread: dict[str, Spread]


class Sidecar(NamedTuple):
    """What the sidecar of a prepared image records."""

    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    space: str

    @property
    def how(self) -> str:
        """Settings and space as text: equal for images that were prepared alike."""
        return ", ".join([*(f"{name} {value}" for name, value in sorted(self.settings.items())), f"space {self.space}"])

    def differences(self, settings: PrepareSettings, space: str) -> str:
        """List what differs from another preparation, as text; empty if nothing does."""
        other = {**settings.model_dump(mode="json"), "space": space}
        own = {**self.settings, "space": self.space}
        return ", ".join(
            f"{name} {own.get(name)} (training: {value})" for name, value in other.items() if own.get(name) != value
        )


def read_sidecar(image: str | Path) -> Sidecar | None:
    """Read the sidecar beside an image; None if there is none by ``metavoxel prepare``."""
    name = str(image)
    ending = next((ending for ending in sorted(NIFTI, key=len, reverse=True) if name.endswith(ending)), None)
    if ending is None:
        return None
    try:
        content = json.loads(Path(f"{name.removesuffix(ending)}.json").read_text(encoding="utf-8"))
        record = content[RECORD]
        return Sidecar(dict(record["Settings"]), dict(record["Versions"]), str(content["SpatialReference"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_preparations(cohort: Cohort) -> tuple[dict[str, CohortPreparation], list[Problem]]:
    """Describe how the images of each variable were prepared, where all were prepared alike.

    Returns:
        Preparations by variable, and a problem for each variable whose images were prepared differently. Images without
        any sidecar of ``metavoxel prepare`` are no problem.
    """
    found: dict[str, CohortPreparation] = {}
    problems = []
    for name, spec in cohort.variables.items():
        cells = cohort.columns[name].known_cells if spec.spatial and spec.lazy else []
        sidecars = {cell: sidecar for cell in cells if (sidecar := read_sidecar(cell)) is not None}
        if not sidecars:
            continue
        if reason := _difference(cells, sidecars):
            problems.append(Problem(f"variables.{name}", reason))
            continue
        first = next(iter(sidecars.values()))
        rows = [row for row in cohort.parts["train"].tolist() if cohort.columns[name].cells[row] is not None]
        found[name] = CohortPreparation(
            settings=PrepareSettings(**first.settings),
            versions=_versions(sidecars.values()),
            space=first.space,
            suffix=_suffix(cells[0]),
            spread=spread_of(spec, cohort.columns[name], rows),
        )
    return found, problems


def read_preparations(record: Mapping[str, Any], where: Path) -> dict[str, CohortPreparation]:
    """Read the preparations by variable from the record of a run; empty if none was recorded.

    Raises:
        RunError: the record is damaged.
    """
    try:
        return {name: CohortPreparation(**entry) for name, entry in record.get(RUN_KEY, {}).items()}
    except (ValidationError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RunError(Problem(str(where), f"its key {RUN_KEY!r} is damaged: {reason}")) from error


def _difference(cells: Sequence[str], sidecars: Mapping[str, Sidecar]) -> str:
    """Explain why images were not all prepared alike; empty if they were."""
    ways: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        ways[sidecars[cell].how if cell in sidecars else "not prepared by metavoxel prepare"].append(cell)
    if len(ways) == 1:
        return ""
    listed = "; ".join(f"{len(files)} images ({Path(files[0]).name}, ...): {how}" for how, files in ways.items())
    return (
        f"its images were prepared in {len(ways)} ways, so that the run cannot record how to prepare a new scan: "
        f"{listed}. Prepare all of them alike: metavoxel prepare"
    )


def _versions(sidecars: Iterable[Sidecar]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for sidecar in sidecars:
        for name, version in sidecar.versions.items():
            found[name].add(str(version))
    return {name: sorted(versions) for name, versions in found.items()}


def _suffix(cell: str) -> str:
    entities = parse_name(Path(cell).name.split(".")[0])
    return "T1w" if entities is None else entities["suffix"]
