"""Prepare native scans of new rows as the training scans of a run were."""

import re
import warnings
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from metavoxel.cohort.table import Table
from metavoxel.cohort.visit import SESSION, UNKNOWN
from metavoxel.errors import CohortError, CohortWarning, EvidenceError, Problem
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.preparation.cohort_record import CohortPreparation
from metavoxel.preparation.dataset import Advance, claim_derivative, describe_derivative, write_quality
from metavoxel.preparation.extractors import GIVEN
from metavoxel.preparation.outputs import Outputs
from metavoxel.preparation.preparing import Task, make_cached, prepare_subject
from metavoxel.preparation.quality import Quality, reasons
from metavoxel.preparation.settings import T1W, versions
from metavoxel.preparation.sources import Contrast, Scan
from metavoxel.schema.missing import MissingCodes
from metavoxel.schema.settings import CohortSettings

_SOURCE_ENTITIES = ("derivative", "space", "desc", "res", "den", "cohort")
"""Entities of a variable that select derived images, and so no native ones."""


class NewScan(NamedTuple):
    """A scan that was prepared for a row.

    Attributes:
        where: row of the table.
        path: prepared image.
        quality: its figures.
        reasons: why it is suspicious by itself.
        notes: what was done beyond the usual.
    """

    where: str
    path: Path
    quality: Quality
    reasons: list[str]
    notes: list[str]

    def __str__(self) -> str:
        one = self.quality
        text = (
            f"{self.where}: correlation {one.correlation:.2f}, symmetry {one.symmetry:.2f}, brain {one.volume:.0f} ml, "
            f"{one.cut:.1%} cut, turned {one.angle:.0f} degrees"
        )
        return "; ".join([text, *self.notes, *(f"FLAGGED: {reason}" for reason in self.reasons)])


class PreparedRows(NamedTuple):
    """A table whose cells are prepared images, and what was prepared."""

    table: Table
    scans: list[NewScan]


def require_preparation(
    preparations: Mapping[str, CohortPreparation], specs: Mapping[str, AbstractVariableSpec], given: Sequence[str]
) -> CohortPreparation:
    """Return the preparation of the T1w images among the given variables.

    Raises:
        EvidenceError: the run did not record one, no T1w is given, or the masks came from files.
    """
    images = [name for name in given if name in specs and specs[name].spatial]
    known = [name for name in images if name in preparations]
    what = ""
    if not images:
        what = "no image is given, so there is nothing to prepare"
    elif not known:
        what = (
            f"the training images of {', '.join(images)} were not prepared by metavoxel prepare (all alike, with "
            "sidecars beside them), so the run does not record how. Prepare new scans as those were, and omit this; "
            "or prepare the cohort by metavoxel prepare, and train again"
        )
    elif all(preparations[name].suffix != T1W for name in known):
        what = f"{', '.join(known)} was registered to the {T1W} of its visit, which has to be given too"
    elif preparations[known[0]].settings.extractor == GIVEN:
        what = (
            "the training scans were prepared with brain masks from files. Prepare the new ones so, and predict from "
            "the result: metavoxel prepare --extractor given --masks FOLDER"
        )
    if what:
        raise EvidenceError(Problem("`prepare`", what))
    return preparations[known[0]]


def native_specs(
    specs: Mapping[str, AbstractVariableSpec], preparations: Mapping[str, CohortPreparation]
) -> dict[str, AbstractVariableSpec]:
    """Return settings that select the native images of a BIDS folder, where the schema selects prepared ones."""
    found = dict(specs)
    for name, preparation in preparations.items():
        own = specs[name].bids_entities() if name in specs else None
        if own is not None:
            kept = {key: label for key, label in own.items() if key not in _SOURCE_ENTITIES}
            entities = {**kept, "suffix": preparation.suffix, "space": None, "desc": None}
            found[name] = specs[name].model_copy(update={"entities": entities})
    return found


def prepare_rows(
    table: Table,
    specs: Mapping[str, AbstractVariableSpec],
    preparations: Mapping[str, CohortPreparation],
    given: Sequence[str],
    output: Path,
    settings: CohortSettings,
) -> Generator[Advance, None, PreparedRows]:
    """Prepare the native images of a table's rows into a derivative, and put the prepared ones in their cells.

    Sessions of one subject are prepared together, as in a cohort: later ones are registered to the first. Repeated, it
    continues: scans whose file, settings and versions are unchanged are kept.

    Args:
        table: rows with native images.
        specs: settings of the variables by name.
        preparations: how the training images were prepared, by variable.
        given: variables that are read.
        output: folder of the derivative.
        settings: of the cohort: column of the subjects, and codes of missing cells.

    Yields:
        Progress after each subject.

    Raises:
        EvidenceError: as :func:`require_preparation`, or images located by a pattern.
        CohortError: scans that cannot be prepared; all others are, and are kept.
        RunError: the output cannot be written.
    """
    present = [name for name in given if name in specs and specs[name].required_columns(name) <= set(table.frame)]
    preparation = require_preparation(preparations, specs, present)
    names = [name for name in present if name in preparations]
    columns = {name: _column(name, specs[name]) for name in names}
    warn_of_versions(preparation)
    first = next(name for name in names if preparations[name].suffix == T1W)
    others = [name for name in names if name != first]
    rows: dict[str, list[tuple[int, Scan]]] = defaultdict(list)
    for row, scan in _scans(table, first, specs[first], settings):
        contrasts = (
            Contrast(preparations[name].suffix, _path(table, row, name, specs[name], settings)) for name in others
        )
        rows[scan.subject].append((row, scan._replace(contrasts=tuple(one for one in contrasts if one.path.name))))
    count = sum(1 + len(scan.contrasts) for of_subject in rows.values() for _, scan in of_subject)
    claim_derivative(table.folder, output, count, preparation.settings.spacing)
    describe_derivative(table.folder, output, preparation.settings)
    frame, found, problems = table.frame.copy(), [], []
    for done, (label, of_subject) in enumerate(rows.items(), start=1):
        task = Task(tuple(scan for _, scan in of_subject), table.folder, output, preparation.settings)
        failed = {(one.session, Path(one.source).name): one.problem for one in prepare_subject(task).failures}
        for row, scan in of_subject:
            paths = {T1W: scan.path, **{one.suffix: one.path for one in scan.contrasts}}
            for name in names:
                suffix = preparations[name].suffix
                if suffix not in paths:
                    continue
                outputs = Outputs(output, scan, suffix)
                record = outputs.record()
                if record is None:
                    what = failed.get((scan.session, paths[suffix].name), f"its {T1W} could not be prepared")
                    problems.append(Problem(f"{table.places[row]}, variable {name}", what))
                    continue
                quality = Quality(**record["Quality"])
                path = (output / outputs.image).absolute()
                frame.loc[row, columns[name]] = str(path)
                where = f"{table.places[row]} ({outputs.name})"
                why = reasons(quality, contrast=suffix != T1W)
                found.append(NewScan(where, path, quality, why, list(record["Notes"])))
        yield Advance(label, done, len(rows), len(problems))
    write_quality(output)
    if problems:
        raise CohortError(problems)
    return PreparedRows(replace(table, frame=frame), found)


def warn_of_versions(preparation: CohortPreparation) -> None:
    """Warn of software that differs from that which prepared the training scans."""
    here = versions(make_cached(preparation.settings.extractor).version)
    other = [
        f"{name} {' and '.join(then)} (here {here[name]})"
        for name, then in sorted(preparation.versions.items())
        if name in here and here[name] not in then and (name != "extractor" or preparation.settings.extractor != "none")
    ]
    if other:
        what = f"the training scans were prepared with {', '.join(other)}: small differences are possible"
        warnings.warn(what, CohortWarning, stacklevel=3)


def _column(name: str, spec: AbstractVariableSpec) -> str:
    """Column of a variable's files.

    Raises:
        EvidenceError: a pattern locates them.
    """
    columns = spec.file_columns(name)
    if len(columns) != 1:
        what = (
            f"the files of {name} are located by a pattern ('path'), which prepared scans do not follow. Prepare them "
            "beforehand, by metavoxel prepare, to where the pattern leads"
        )
        raise EvidenceError(Problem("`prepare`", what))
    return next(iter(columns))


def _scans(table: Table, name: str, spec: AbstractVariableSpec, settings: CohortSettings) -> list[tuple[int, Scan]]:
    """List the rows with an image, and their scans; labels of subjects and sessions are unique."""
    owners: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    found = []
    for row, cells in enumerate(table.frame.to_dict("records")):
        texts = {str(column): str(cell) for column, cell in cells.items()}
        path = _path(table, row, name, spec, settings)
        if not path.name:
            continue
        key = texts.get(settings.subject, str(row + 1))
        label = _label(key)
        if owners.setdefault(label, key) != key:
            label = f"{label}x{row + 1}"
            owners[label] = key
        session = texts.get(SESSION, "")
        session = "" if session in UNKNOWN else f"ses-{_label(session.removeprefix('ses-'))}"
        if (label, session) in taken:
            session = f"{session or 'ses-'}row{row + 1}"
        taken.add((label, session))
        found.append((row, Scan(f"sub-{label}", session, path)))
    return sorted(found, key=lambda one: (one[1].subject, one[1].session))


def _path(table: Table, row: int, name: str, spec: AbstractVariableSpec, settings: CohortSettings) -> Path:
    """Path of the image of a row; empty if it is missing."""
    texts = {str(column): str(cell) for column, cell in table.frame.iloc[row].items()}
    missing = texts[_column(name, spec)] in MissingCodes(settings.missing)
    return Path("" if missing else spec.locate(name, texts, table.folder))


def _label(text: str) -> str:
    """Letters and digits of an identifier: labels of BIDS have no others."""
    return re.sub(r"[^0-9A-Za-z]", "", text.removeprefix("sub-")) or "x"
