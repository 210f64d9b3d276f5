"""How well the cells of a table go with each other: log-likelihoods, and values unlike those of the training rows."""

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas
import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import CohortWarning, EvidenceError, Problem
from metavoxel.inference.question import unknown_names
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.quantile import QuantileSpec
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.likelihood import has_likelihood, log_likelihood
from metavoxel.sampling.sample import row_streams
from metavoxel.sampling.surprise import tail_probability
from metavoxel.schema.schema import Schema

UNUSUAL = 1e-3
"""Tail probability below which a value is called unusual: one in a thousand of the training rows' is."""

EVALUATIONS = 32
"""Of the network, for the bound of one value: its standard error is then about .2 nats for a number."""

CLASS_EVALUATIONS = 4
"""Of the network, for the probability of one class: prior states that it is averaged over."""

FAR = 6.0
"""Standard deviations from the training mean beyond which the network has seen nothing, whatever it says."""


def check_scored(
    schema: Schema,
    model: JointDenoiser,
    columns: Collection[str],
    variables: Sequence[str] | None,
    given: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """Variables to judge, and those to judge them from: where nothing is named, all that a table has.

    Raises:
        EvidenceError: unknown names, a model that has no likelihood, or a kernel that has none.
    """
    if schema.diffusion.times == "shared":
        raise EvidenceError(
            "log-likelihoods need a model trained with diffusion.times 'evidence'; one with a shared time never saw "
            "a noisy variable beside clean ones"
        )
    problems = unknown_names(schema, variables or (), "target") + unknown_names(schema, given or (), "given")
    there = [name for name, spec in schema.specs.items() if spec.required_columns(name) <= set(columns)]
    names = there if variables is None else list(dict.fromkeys(variables))
    if not names:
        problems.append(
            Problem("target", f"the table has no variable to judge; there are {', '.join(schema.variables)}")
        )
    problems += [
        Problem("target", f"no bound is known for {name!r}, whose kernel is {model.kernels[name].type!r}; leave it out")
        for name in names
        if name in model.kernels and not has_likelihood(model.kernels[name])
    ]
    if problems:
        raise EvidenceError(problems)
    return names, there if given is None else list(dict.fromkeys(given))


def log_likelihoods(
    model: JointDenoiser,
    schema: Schema,
    codecs: Mapping[str, AbstractCodec],
    cohort: Cohort,
    evidence: Mapping[str, Evidence],
    names: Sequence[str],
    given: Sequence[str],
    *,
    subjects: Sequence[object],
    evaluations: int | None,
    seed: int,
) -> pandas.DataFrame:
    """``logp[name]`` of every row: log p(value | the others that are given), in nats; NaN where the row has no value.

    Of a category it is the model's own probability; of a number the log-density per unit of the variable, as a lower
    bound; of anything else the bound of its code's log-density, for each number of the code. A number that
    training rows share has under ``transform: quantile`` a probability, and no density: NaN, and a warning.
    """
    columns: dict[str, Sequence[object]] = {schema.cohort.subject: subjects}
    for name in names:
        rows = _rows_with(evidence[name])
        category = codecs[name].support == "one_hot"
        found = log_likelihood(
            model,
            _others(evidence, given, name, rows),
            name,
            evidence[name].code[rows],
            row_streams(seed, [cohort.row_keys[row] for row in rows.tolist()], 0),
            evaluations=evaluations or (CLASS_EVALUATIONS if category else EVALUATIONS),
        )
        if not category and codecs[name].code_shape == (1,) and not schema.variables[name].spec.data_shape:
            values = cohort.columns[name].read(rows).to(evidence[name].code.device)
            found = found + _log_slopes(name, codecs[name], values)
        else:
            found = found / math.prod(codecs[name].code_shape[1 if category else 0 :])
        cells = [math.nan] * len(cohort)
        for row, value in zip(rows.tolist(), found.tolist(), strict=True):
            cells[row] = round(value, 4)
        columns[f"logp[{name}]"] = cells
    return pandas.DataFrame(columns)


def _log_slopes(name: str, codec: AbstractCodec, values: Tensor) -> Float64[Tensor, "b"]:
    """What turns the log-density of a number's code into that of the number; NaN where it has none."""
    slopes = codec.code_slopes(values)
    without = int((slopes == 0).sum())
    if without:
        what = f"logp[{name}]: {without} of {len(values)} values are such that training rows share, or lie between two"
        why = "these have a probability of their own and no density ('transform: quantile'), so their cells are empty"
        warnings.warn(f"{what}; {why}", CohortWarning, stacklevel=2)
    return torch.where(slopes > 0, slopes, math.nan).log()


class Unusual(NamedTuple):
    """A value that few or none of the training rows had, given what else is given in its row."""

    row: int
    variable: str
    cell: str
    probability: float


def unusual(
    model: JointDenoiser,
    schema: Schema,
    codecs: Mapping[str, AbstractCodec],
    cohort: Cohort,
    evidence: Mapping[str, Evidence],
    *,
    seed: int,
    shared: bool,
) -> Iterator[Unusual]:
    """Values of numbers and categories whose tail probability is below ``UNUSUAL``, given the other evidence.

    The probability is the model's (:func:`metavoxel.sampling.surprise.tail_probability`). A standardised number beyond
    ``FAR`` standard deviations of the training rows is unusual whatever the network makes of it, and is all that is
    looked for in a model with one shared time, which has no such probability. Images are not judged.
    """
    for name, entry in evidence.items():
        rows = _rows_with(entry)
        spec, kernel = schema.variables[name].spec, model.kernels[name]
        if spec.data_shape or entry.code.ndim > 2 or not len(rows):
            continue
        code = entry.code[rows]
        chance = torch.ones(len(rows), dtype=torch.float64)
        if not shared and has_likelihood(kernel):
            rng = row_streams(seed, [cohort.row_keys[row] for row in rows.tolist()], 0).fork("unusual", name)
            chance = tail_probability(model, _others(evidence, [*evidence], name, rows), name, code, rng)
        codec_spec = schema.variables[name].parts.codec
        standard = isinstance(codec_spec, LinearSpec) and codec_spec.scale == "standard"
        if standard or isinstance(codec_spec, QuantileSpec):
            distance = code[:, 0].double().cpu().abs()
            chance = torch.where(distance > FAR, torch.minimum(chance, _two_sided(distance)), chance)
        for row, probability in zip(rows.tolist(), chance.tolist(), strict=True):
            if not probability >= UNUSUAL:
                yield Unusual(row, name, str(cohort.columns[name].cells[row]), probability)


def _two_sided(distance: Float64[Tensor, "b"]) -> Float64[Tensor, "b"]:
    """Chance of a normal number beyond so many standard deviations on either side."""
    return torch.special.erfc(distance / math.sqrt(2))


def _rows_with(entry: Evidence) -> Tensor:
    """Rows in which a variable is known."""
    return entry.known.flatten(1).all(1).nonzero()[:, 0].cpu()


def _others(evidence: Mapping[str, Evidence], given: Sequence[str], name: str, rows: Tensor) -> dict[str, Evidence]:
    """What is given of some rows beside one variable."""
    return {
        other: evidence[other]._replace(code=evidence[other].code[rows], known=evidence[other].known[rows])
        for other in given
        if other != name
    }
