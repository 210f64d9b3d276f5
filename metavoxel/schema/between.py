"""What is wrong between sections of a schema, each of which is right in itself."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch

from metavoxel.errors import Problem, did_you_mean
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.plugins.registry import Registry
from metavoxel.schema.missing import MissingCodes
from metavoxel.schema.schema import Schema
from metavoxel.schema.settings import TrainingSettings

MUON_FROM = "2.9"

_FIGURES = ("sd", "p05", "p95")
"""What tables of predictions add to a variable's name."""

_WRITTEN: Mapping[str, str] = MappingProxyType(
    {
        "sample": "a column of what 'metavoxel sample' writes",
        "draw": "a column of what 'metavoxel predict --write-draws' writes",
    }
)
"""Columns of tables that hold no variable."""


def problems_between(schema: Schema, registry: Registry) -> Iterator[Problem]:
    """All of them, located."""
    yield from _of_parts(schema)
    yield from _of_names(schema)
    yield from _of_missing(schema)
    yield from _of_questions(schema)
    yield from _of_optimiser(schema)
    if schema.diffusion.factors:
        yield from _of_factors(schema, registry)


def _unknown(where: str, name: str, schema: Schema) -> Problem:
    known = list(schema.variables)
    return Problem(where, f"no variable {name!r}.{did_you_mean(name, known)} Variables: {', '.join(known)}")


def _of_parts(schema: Schema) -> Iterator[Problem]:
    grids: dict[str, tuple[int, ...]] = {
        name: () for name, variable in schema.variables.items() if variable.spec.spatial
    }
    for problem in schema.backbone.problems(grids):
        yield Problem("backbone", problem)
    for name, variable in schema.variables.items():
        for problem in variable.parts.adapter.problems(spatial=variable.spec.spatial, grids=bool(grids)):
            yield Problem(f"variables.{name}.adapter", problem)


def _of_names(schema: Schema) -> Iterator[Problem]:
    taken = {schema.cohort.subject: "the subjects' column", **_WRITTEN}
    if schema.cohort.subject == "draw":
        yield Problem("cohort.subject", f"'draw' is the name of {_WRITTEN['draw']}; rename the column")
    for name in schema.variables:
        taken |= {f"{name}_{figure}": f"a column of what is predicted of {name!r}" for figure in _FIGURES}
    for name in schema.variables:
        if name in taken:
            yield Problem(f"variables.{name}", f"is the name of {taken[name]}; choose another, and say 'column'")
    for name in schema.cohort.split.stratify:
        if name not in schema.variables:
            yield _unknown("cohort.split.stratify", name, schema)


def _of_missing(schema: Schema) -> Iterator[Problem]:
    """Labels and codes that no cell can have, since a cell with that text is missing."""
    missing = MissingCodes(schema.cohort.missing)
    for name, variable in schema.variables.items():
        labels = variable.spec.known_labels()
        lost = [text for text in dict.fromkeys([*labels, *labels.values()]) if text in missing]
        if not lost:
            continue
        what = f"{', '.join(map(repr, lost))}: a label or its code, and by cohort.missing such a cell is missing. "
        if "" in lost:
            what += "An empty cell always is: write a text for it in the table"
        else:
            kept = [code for code in schema.cohort.missing if not any(text in MissingCodes([code]) for text in lost)]
            what += f"Set cohort.missing without it: [{', '.join(repr(code) for code in kept)}]"
        yield Problem(f"variables.{name}", what)


def _of_questions(schema: Schema) -> Iterator[Problem]:
    where, training, shared = "training.questions", schema.training, schema.diffusion.times == "shared"
    if training.time_power and shared:
        yield Problem(
            "training.time_power", "diffusion.times 'shared' draws times evenly; use 'evidence', or leave it out"
        )
    if not training.questions and training.question_share != TrainingSettings().question_share:
        yield Problem("training.question_share", "there are no 'questions' to share rows; name some, or leave it out")
    for entry, value in (("questions", training.questions), ("draw_share", training.draw_share)):
        if value and shared:
            yield Problem(
                f"training.{entry}",
                "diffusion.times 'shared' knows no evidence in training; use 'evidence', or leave it out",
            )
        if value and training.missing_weights:
            yield Problem(
                f"training.{entry}",
                "the weights of 'missing_weights' hold for the usual rows; leave one of them out",
            )
    for question in training.questions:
        for name in question:
            if name not in schema.variables:
                yield _unknown(where, name, schema)
        if set(schema.variables) <= set(question):
            yield Problem(where, f"[{', '.join(question)}] leaves nothing to ask for")


def _of_optimiser(schema: Schema) -> Iterator[Problem]:
    installed = torch.__version__  # compares as a version, not as text
    if schema.training.optimiser == "muon" and installed < MUON_FROM:
        what = f"'muon' needs PyTorch {MUON_FROM} or later, and {installed} is installed"
        yield Problem("training.optimiser", f"{what}; use 'adamw'")


def _of_factors(schema: Schema, registry: Registry) -> Iterator[Problem]:
    where, factors = "diffusion.factors", schema.diffusion.factors
    if not schema.backbone.keeps_factors:
        keeping = [name for name in registry.names("backbones") if _keeps_factors(name, registry)]
        yield Problem(
            where,
            f"backbone {schema.backbone.type!r} lets all variables see each other. Those that keep to factors: "
            f"{', '.join(keeping)}",
        )
    named = dict.fromkeys(name for factor in factors for name in factor)
    for name in named:
        if name not in schema.variables:
            yield _unknown(where, name, schema)
    if alone := [name for name in schema.variables if name not in named]:
        yield Problem(
            where,
            f"{', '.join(alone)}: in no group. Name every variable; one that depends on no other is a group of its own",
        )


def _keeps_factors(backbone: str, registry: Registry) -> bool:
    settings, _ = registry.entries["backbones"][backbone]
    return issubclass(settings, AbstractBackboneSpec) and settings.keeps_factors
