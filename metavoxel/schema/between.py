"""Consistency checks between sections of a schema, each of which is valid on its own."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch

from metavoxel.errors import Problem, did_you_mean
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.plugins.registry import Registry
from metavoxel.schema.missing import MissingCodes
from metavoxel.schema.schema import Schema
from metavoxel.schema.settings import TrainingSettings

MUON_MIN_VERSION = "2.9"

_SUFFIXES = ("sd", "p05", "p95")
"""Suffixes that tables of predictions append to a variable's name."""

_RESERVED: Mapping[str, str] = MappingProxyType(
    {
        "sample": "a column written by 'metavoxel sample'",
        "draw": "a column written by 'metavoxel predict --write-draws'",
    }
)
"""Columns of written tables that hold no variable."""


def problems_between(schema: Schema, registry: Registry) -> Iterator[Problem]:
    """Yield all inconsistencies between sections, with their locations."""
    yield from _part_problems(schema)
    yield from _name_problems(schema)
    yield from _missing_problems(schema)
    yield from _question_problems(schema)
    yield from _optimiser_problems(schema)
    if schema.diffusion.factors:
        yield from _factor_problems(schema, registry)


def _unknown(where: str, name: str, schema: Schema) -> Problem:
    known = list(schema.variables)
    return Problem(where, f"no variable {name!r}.{did_you_mean(name, known)} Variables: {', '.join(known)}")


def _part_problems(schema: Schema) -> Iterator[Problem]:
    grids: dict[str, tuple[int, ...]] = {
        name: ()
        for name, variable in schema.variables.items()
        if variable.spec.spatial and not variable.parts.adapter.is_sequence
    }
    for problem in schema.backbone.problems(grids):
        yield Problem("backbone", problem)
    for name, variable in schema.variables.items():
        for problem in variable.parts.adapter.problems(spatial=variable.spec.spatial, grids=bool(grids)):
            yield Problem(f"variables.{name}.adapter", problem)


def _name_problems(schema: Schema) -> Iterator[Problem]:
    taken = {schema.cohort.subject: "the subject column", **_RESERVED}
    if schema.cohort.subject == "draw":
        yield Problem("cohort.subject", f"'draw' is the name of {_RESERVED['draw']}; rename the column")
    for name in schema.variables:
        taken |= {f"{name}_{suffix}": f"a column of the predictions of {name!r}" for suffix in _SUFFIXES}
    for name in schema.variables:
        if name in taken:
            yield Problem(f"variables.{name}", f"is the name of {taken[name]}; choose another, and set 'column'")
    for name in schema.cohort.split.stratify:
        if name not in schema.variables:
            yield _unknown("cohort.split.stratify", name, schema)


def _missing_problems(schema: Schema) -> Iterator[Problem]:
    """Labels and codes that are also missing codes, so that no cell can have them."""
    missing = MissingCodes(schema.cohort.missing)
    for name, variable in schema.variables.items():
        labels = variable.spec.label_codes()
        lost = [text for text in dict.fromkeys([*labels, *labels.values()]) if text in missing]
        if not lost:
            continue
        what = f"{', '.join(map(repr, lost))}: a label or its code, but cohort.missing makes such cells missing. "
        if "" in lost:
            what += "Empty cells always are: write a text for them in the table"
        else:
            kept = [code for code in schema.cohort.missing if not any(text in MissingCodes([code]) for text in lost)]
            what += f"Set cohort.missing without it: [{', '.join(repr(code) for code in kept)}]"
        yield Problem(f"variables.{name}", what)


def _question_problems(schema: Schema) -> Iterator[Problem]:
    where, training, shared = "training.questions", schema.training, schema.diffusion.shared_time
    if training.time_power and shared:
        yield Problem(
            "training.time_power",
            "not used with diffusion.times 'shared', whose times are uniform; use 'evidence', or omit it",
        )
    if not training.questions and training.question_share != TrainingSettings().question_share:
        yield Problem("training.question_share", "only used with 'questions'; set 'questions', or omit it")
    for entry, value in (("questions", training.questions), ("draw_share", training.draw_share)):
        if value and shared:
            yield Problem(
                f"training.{entry}",
                "diffusion.times 'shared' trains without evidence; use 'evidence', or omit it",
            )
        if value and training.missing_weights:
            yield Problem(
                f"training.{entry}",
                "'missing_weights' assume the default sampling of evidence sets; omit one of the two",
            )
    for question in training.questions:
        for name in question:
            if name not in schema.variables:
                yield _unknown(where, name, schema)
        if set(schema.variables) <= set(question):
            yield Problem(where, f"[{', '.join(question)}] leaves no variable to predict")


def _optimiser_problems(schema: Schema) -> Iterator[Problem]:
    installed = torch.__version__  # compares as a version, not as text
    if schema.training.optimiser == "muon" and installed < MUON_MIN_VERSION:
        what = f"'muon' needs PyTorch {MUON_MIN_VERSION} or later, and {installed} is installed"
        yield Problem("training.optimiser", f"{what}; use 'adamw'")


def _factor_problems(schema: Schema, registry: Registry) -> Iterator[Problem]:
    where, factors = "diffusion.factors", schema.diffusion.factors
    if not schema.backbone.respects_factors:
        respecting = [name for name in registry.names("backbones") if _keeps_factors(name, registry)]
        yield Problem(
            where,
            f"backbone {schema.backbone.type!r} connects all variables. Backbones that respect factors: "
            f"{', '.join(respecting)}",
        )
    named = dict.fromkeys(name for factor in factors for name in factor)
    for name in named:
        if name not in schema.variables:
            yield _unknown(where, name, schema)
    if ungrouped := [name for name in schema.variables if name not in named]:
        yield Problem(
            where,
            f"{', '.join(ungrouped)}: in no group. List every variable; an independent one forms a group of its own",
        )


def _keeps_factors(backbone: str, registry: Registry) -> bool:
    settings, _ = registry.entries["backbones"][backbone]
    return issubclass(settings, AbstractBackboneSpec) and settings.respects_factors
