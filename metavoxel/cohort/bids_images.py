"""Select the file of each image variable at each visit of a BIDS folder."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from metavoxel.cohort.bids_files import DERIVATIVES, Dataset, derivative_names, index_dataset
from metavoxel.cohort.entities import DERIVATIVE, BidsFile, Selection, absent, differences, select
from metavoxel.cohort.visit import Visit
from metavoxel.errors import Problem, did_you_mean
from metavoxel.images.fetched import absences


@final
@dataclass(frozen=True)
class Images:
    """Selected files.

    Attributes:
        paths: for each visit, the files by variable, relative to the BIDS folder.
        sessions: sessions of each subject with a folder in any of the searched datasets.
        problems: errors in the selection or the files.
        notices: files left out.
    """

    paths: dict[Visit, dict[str, str]] = field(default_factory=dict)
    sessions: dict[str, set[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)


def choose_images(folder: Path, entities: Mapping[str, Mapping[str, str | None]]) -> Images:
    """Select one file per visit by the entities of each variable; visits without a file are left out.

    Raises:
        CohortError: no such folder.
    """
    images = Images()
    datasets = {"": index_dataset(folder)}
    names = derivative_names(folder)
    for name, wanted in entities.items():
        derivative = wanted.get(DERIVATIVE) or ""
        if derivative in names:
            if derivative not in datasets:
                datasets[derivative] = index_dataset(folder / DERIVATIVES / derivative)
        elif derivative:
            what = f"{folder} has no {DERIVATIVES}/{derivative}.{did_you_mean(derivative, names)}"
            what += f" Available: {', '.join(names) or 'none'}"
            images.problems.append(Problem(f"variables.{name}.entities.{DERIVATIVE}", what))
    for dataset in datasets.values():
        images.notices.extend(dataset.notices)
        _add_sessions(images.sessions, dataset)
    for name, wanted in entities.items():
        derivative = wanted.get(DERIVATIVE) or ""
        if derivative in datasets:
            prefix = f"{DERIVATIVES}/{derivative}/" if derivative else ""
            _select(images, folder, prefix, datasets[derivative], name, wanted)
    return images


def _add_sessions(sessions: dict[str, set[str]], dataset: Dataset) -> None:
    for subject, folders in dataset.sessions.items():
        sessions.setdefault(subject, set()).update(folders)
    for file in dataset.files:
        visit = _visit(file)
        if visit.session:
            sessions.setdefault(visit.subject, set()).add(visit.session)


def _visit(file: BidsFile) -> Visit:
    session = file.entities.get("ses")
    return Visit(f"sub-{file.entities['sub']}", f"ses-{session}" if session else "")


def _select(
    images: Images, folder: Path, prefix: str, dataset: Dataset, name: str, entities: Mapping[str, str | None]
) -> None:
    where = f"variables.{name}.entities"
    known = {key for file in dataset.files for key in file.entities}
    selection, problems = select(entities, known, where)
    if problems:
        images.problems.extend(problems)
        return
    found, problems = selection.among(dataset.files, where)
    images.problems.extend(problems)
    by_visit: dict[Visit, list[BidsFile]] = defaultdict(list)
    for file in found:
        by_visit[_visit(file)].append(file)
    of_visits = {visit: selection.of_visit(files) for visit, files in sorted(by_visit.items())}
    if not of_visits and not problems:
        what = absent(selection, dataset.files)
        names = [] if prefix else derivative_names(folder)
        if names:
            what += f". For images in {DERIVATIVES} add '{DERIVATIVE}: {names[0]}' (available: {', '.join(names)})"
        images.problems.append(Problem(f"{dataset.folder}, variable {name}", what))
    images.problems.extend(_ambiguous_visits(dataset.folder, name, selection, of_visits))
    paths = [dataset.folder / files[0].path for files in of_visits.values()]
    if unread := absences(paths, "images"):
        images.problems.append(Problem(f"{dataset.folder}, variable {name}", unread))
    for visit, files in of_visits.items():
        images.paths.setdefault(visit, {})[name] = prefix + files[0].path


def _ambiguous_visits(
    folder: Path, name: str, selection: Selection, of_visits: Mapping[Visit, list[BidsFile]]
) -> list[Problem]:
    """Report visits with several files: one problem per set of entities in which the files differ."""
    alike: dict[str, list[Visit]] = defaultdict(list)
    for visit, files in of_visits.items():
        if len(files) > 1:
            alike[differences(files)].append(visit)
    problems = []
    for how, visits in alike.items():
        files = of_visits[visits[0]]
        what = f"{len(files)} images with {selection}: {', '.join(file.path for file in files)}"
        what += f"; add entities that distinguish them: {how}"
        if len(visits) > 1:
            what += f". {len(visits) - 1} more visits have the same conflict, such as {visits[1]}"
        problems.append(Problem(f"{folder} {visits[0]}, variable {name}", what))
    return problems
