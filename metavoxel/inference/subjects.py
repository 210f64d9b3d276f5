"""Draws of all variables from p(all | given), in data space."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.inference.evidence import EvidenceReader, Value
from metavoxel.inference.question import unknown_names
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.sampling.bounds import Bounds
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.schema.schema import Schema

TAKES_ERRORS = ("clean", "smc")
"""Conditioning methods that support values with measurement error."""


def read_given(
    schema: Schema,
    reader: EvidenceReader,
    given: Mapping[str, object],
    masks: Mapping[str, Tensor],
    sampling: Sampling,
) -> dict[str, Value]:
    """Parse given values and check masks, collecting all problems.

    Raises:
        EvidenceError: unknown variables, values or masks of wrong shape, empty masks, no variable left to sample, or an
            error (±) that the conditioning method does not support.
    """
    problems = unknown_names(schema, given, "given") + unknown_names(schema, masks, "mask")
    problems += [Problem("mask", f"{name!r} has a mask but no given value") for name in masks if name not in given]
    if not problems and exactly_known(reader, given, masks) >= set(schema.variables):
        everything = ", ".join(schema.variables)
        what = f"every variable is given, so there is none to sample; omit one of {everything}"
        problems = [Problem("given", what)]
    problems = problems or list(_wrong_masks(schema, masks))
    if problems:
        raise EvidenceError(problems)
    known = reader.known(given, known_voxels(masks))
    problems += [
        Problem(
            f"given {name}",
            f"an error (±) needs conditioning {' or '.join(map(repr, TAKES_ERRORS))}, not {sampling.conditioning!r}",
        )
        for name, (_, sd) in known.items()
        if sd is not None and sampling.conditioning not in TAKES_ERRORS
    ]
    if problems:
        raise EvidenceError(problems)
    return known


def _wrong_masks(schema: Schema, masks: Mapping[str, Tensor]) -> Iterator[Problem]:
    for name, voxels in known_voxels(masks).items():
        mask, spec = masks[name], schema.variables[name].spec
        shape = spec.data_shape
        if not spec.has_mean:
            what = f"is for images, and {name!r} is of type {spec.type!r}; mark what is unknown in the value itself"
        elif mask.shape != shape:
            what = f"must have the image's shape {tuple(shape)} on the model's grid, not {tuple(mask.shape)}"
        elif not mask.isfinite().all():
            what = f"{int((~mask.isfinite()).sum())} of {mask.numel()} voxels are NaN or infinite"
        elif not voxels.any():
            what = f"marks no voxel as known (1): omit {name!r} from given"
        else:
            continue
        yield Problem(f"mask {name}", what)


def known_voxels(masks: Mapping[str, Tensor]) -> dict[str, Bool[Tensor, "*d"]]:
    """Return where masks (*D) are above .5."""
    return {name: mask > 0.5 for name, mask in masks.items()}


def exactly_known(reader: EvidenceReader, given: Mapping[str, object], masks: Mapping[str, Tensor]) -> set[str]:
    """Return the variables that are given exactly and in full, and are not drawn."""
    return {name for name, cell in given.items() if name not in masks and not reader.is_uncertain(name, cell)}


def draw_subjects(
    model: JointDenoiser,
    codecs: Mapping[str, AbstractCodec],
    reader: EvidenceReader,
    known: Mapping[str, Value],
    masks: Mapping[str, Bool[Tensor, "*_"]],
    n: int,
    *,
    seed: int,
    sampling: Sampling,
    bounds: Mapping[str, Bounds],
) -> dict[str, Tensor]:
    """Draw all variables ``n`` times (n, *D); exactly given values and known voxels are returned unchanged."""
    evidence: dict[str, Evidence] = {}
    for name, (value, sd) in known.items():
        mask = masks[name][None] if name in masks else None
        entry = reader.given(name, value[None], mask, sd=sd)
        code, cells = (part.expand(n, *part.shape[1:]) for part in (entry.code, entry.known))
        evidence[name] = entry._replace(code=code, known=cells)
    rng = row_streams(seed, [f"draw {index}" for index in range(n)], 0)
    drawn = {}
    for name, code in sample_codes(model, evidence, rng, sampling, bounds=bounds).items():
        if name in known and known[name].sd is None and bool(evidence[name].known.all()):
            value = known[name].value
            drawn[name] = value.expand(n, *value.shape).clone()
            continue
        with torch.inference_mode():
            data = torch.cat([codecs[name].decode(row[None]).cpu() for row in code])
        drawn[name] = torch.where(masks[name], known[name].value, data) if name in masks else data
    return drawn
