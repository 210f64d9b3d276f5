"""Likelihood of the cells of a table given the other cells of their row: log-likelihoods and improbable values."""

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import pandas
import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import CohortWarning, EvidenceError, Problem
from metavoxel.inference.answer import GivenRows
from metavoxel.inference.question import unknown_names
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.likelihood import has_likelihood, log_likelihood
from metavoxel.sampling.sample import row_streams
from metavoxel.sampling.tail_probability import tail_probability
from metavoxel.schema.schema import Schema

UNUSUAL = 1e-3
"""Tail probability below which a value is reported: one in a thousand values of the training distribution."""

EVALUATIONS = 32
"""Network evaluations of a value's bound: its standard error is then about .2 nats for a number."""

CLASS_EVALUATIONS = 4
"""Network evaluations of a class probability, which is averaged over as many prior states."""

FAR = 6.0
"""Standard deviations from the training mean beyond which there are no training rows, and the network extrapolates."""


def check_scored(
    schema: Schema,
    model: JointDenoiser,
    columns: Collection[str],
    variables: Sequence[str] | None,
    given: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """Return the variables to evaluate and those to condition on; by default all in the table.

    Raises:
        EvidenceError: unknown names, a model with one shared time, or a kernel without a likelihood.
    """
    if schema.diffusion.shared_time:
        raise EvidenceError(
            "log-likelihoods need a model trained with diffusion.times 'evidence'; one with a shared time was not "
            "trained on a noisy variable beside clean ones"
        )
    problems = unknown_names(schema, variables or (), "target") + unknown_names(schema, given or (), "given")
    there = [name for name, spec in schema.specs.items() if spec.required_columns(name) <= set(columns)]
    names = there if variables is None else list(dict.fromkeys(variables))
    if not names:
        problems.append(
            Problem("target", f"the table has no variable to evaluate; variables: {', '.join(schema.variables)}")
        )
    problems += [
        Problem("target", f"kernel {model.kernels[name].type!r} of {name!r} has no likelihood; omit it")
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
    """Return ``logp[name]`` of every row: log p(value | the other given variables) in nats; NaN if it is missing.

    For a category, the log-probability under the model. For a number, a lower bound of the log-density per unit of the
    variable. For any other variable, the bound of its code's log-density, divided by the numbers in the code, or of its
    log-probability, divided by the cells: a text has that of a token. With
    ``transform: quantile``, a value shared by training rows has a probability but no density: NaN, with a warning.
    """
    columns: dict[str, Sequence[object]] = {schema.cohort.subject: subjects}
    for name in names:
        rows = _rows_with(evidence[name])
        category = model.kernels[name].is_categorical
        label = model.kernels[name].is_label(model.code_shapes[name])
        found = log_likelihood(
            model,
            _others(evidence, given, name, rows),
            name,
            evidence[name].code[rows],
            row_streams(seed, [cohort.row_keys[row] for row in rows.tolist()], 0),
            evaluations=evaluations or (CLASS_EVALUATIONS if label else EVALUATIONS),
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
    """Return the log-derivative of a number's code, its change of variables; NaN where there is no density."""
    slopes = codec.code_slopes(values)
    without = int((slopes == 0).sum())
    if without:
        what = f"logp[{name}]: {without} of {len(values)} values are shared by training rows, or lie between two"
        why = "they have a probability but no density ('transform: quantile'), so their cells are empty"
        warnings.warn(f"{what}; {why}", CohortWarning, stacklevel=2)
    return torch.where(slopes > 0, slopes, math.nan).log()


class Unusual(NamedTuple):
    """A value that is improbable given the others of its row."""

    row: int
    variable: str
    cell: str
    probability: float


def unusual(
    denoiser_of: Callable[[Collection[str]], JointDenoiser],
    schema: Schema,
    codecs: Mapping[str, AbstractCodec],
    rows: GivenRows,
    *,
    seed: int,
    shared: bool,
) -> list[Unusual]:
    """Return numbers and categories whose tail probability given the other ones is below ``UNUSUAL``, lowest first.

    It is the model's (:func:`metavoxel.sampling.tail_probability.tail_probability`) or, for a standardised number
    beyond ``FAR`` standard deviations of the training rows, at most the Gaussian one. A model with one ``shared`` time
    has the latter alone. Images are no part of the evidence. ``denoiser_of`` returns the model for the estimates of
    some variables.
    """
    evidence = {name: entry for name, entry in rows.evidence.items() if not schema.specs[name].spatial}
    found = []
    for name, entry in evidence.items():
        known, model = _rows_with(entry), denoiser_of([name])
        spec, kernel = schema.specs[name], model.kernels[name]
        if spec.data_shape or entry.code.ndim > 2 or not len(known):
            continue
        code = entry.code[known]
        tails = torch.ones(len(known), dtype=torch.float64)
        if not shared and has_likelihood(kernel):
            rng = row_streams(seed, [rows.cohort.row_keys[row] for row in known.tolist()], 0).fork("unusual", name)
            tails = tail_probability(model, _others(evidence, [*evidence], name, known), name, code, rng)
        if schema.variables[name].parts.codec.is_standardised:
            distance = code[:, 0].double().cpu().abs()
            tails = torch.where(distance > FAR, torch.minimum(tails, _two_sided(distance)), tails)
        cells = rows.cohort.columns[name].cells
        found += [
            Unusual(row, name, str(cells[row]), probability)
            for row, probability in zip(known.tolist(), tails.tolist(), strict=True)
            if not probability >= UNUSUAL
        ]
    return sorted(found, key=lambda one: one.probability)


def _two_sided(distance: Float64[Tensor, "b"]) -> Float64[Tensor, "b"]:
    """Return the two-sided tail probability of a standard normal distribution."""
    return torch.special.erfc(distance / math.sqrt(2))


def _rows_with(entry: Evidence) -> Tensor:
    """Return the rows in which a variable is known."""
    return entry.known.flatten(1).all(1).nonzero()[:, 0].cpu()


def _others(evidence: Mapping[str, Evidence], given: Sequence[str], name: str, rows: Tensor) -> dict[str, Evidence]:
    """Return the evidence of some rows, without that of one variable."""
    return {
        other: evidence[other]._replace(code=evidence[other].code[rows], known=evidence[other].known[rows])
        for other in given
        if other != name
    }
