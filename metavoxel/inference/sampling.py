"""Sampling settings of a trained model: defaults and changes."""

import math
from collections.abc import Mapping
from dataclasses import fields

import torch

from metavoxel.errors import EvidenceError, Problem, did_you_mean
from metavoxel.inference.arguments import refuse_without_draws
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.sampling.bounds import Bounds, codes_between
from metavoxel.sampling.settings import Sampling, check_conditioning


def sampling_of(changes: Mapping[str, object], *, shared_time: bool) -> Sampling:
    """Return a model's default settings with changes; None keeps the default.

    Args:
        changes: values by setting.
        shared_time: whether all variables of the model have one time.

    Raises:
        EvidenceError: settings unknown or without effect, or 'clean' conditioning of a model with one shared time.
    """
    known = [field.name for field in fields(Sampling)]
    problems = [
        Problem(name, f"no setting of sampling.{did_you_mean(name, known)} Settings: {', '.join(known)}")
        for name in changes
        if name not in known
    ]
    if problems:
        raise EvidenceError(problems)
    base: dict[str, object] = {}
    if shared_time:
        base = {"conditioning": "replace", "solver": "ddim", "grid": "uniform"}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("conditioning") == "smc":
        base |= {"solver": "dpmpp_2m", "eta": 1.0, "grid": "log_snr"}
    sampling = Sampling(**{**base, **changes})  # type: ignore[arg-type]
    problems = sampling.problems() + sampling.idle(changes)
    if problems:
        raise EvidenceError(problems)
    check_conditioning(sampling.conditioning, shared_time=shared_time)
    return sampling


def answer_sampling(draws: int, changes: Mapping[str, object], *, shared_time: bool) -> Sampling:
    """Return the settings of an answer's draws; the defaults, which are not used, without draws.

    Raises:
        EvidenceError: as :func:`sampling_of`; without draws also settings of draws, or a model with one shared time.
    """
    if draws:
        return sampling_of(changes, shared_time=shared_time)
    if shared_time:
        raise EvidenceError(
            Problem(
                "draws",
                "0 needs a model trained with diffusion.times 'evidence': one with a shared time was not trained on "
                "clean evidence beside unknown variables. Use `draws=3`, as in the paper",
            )
        )
    refuse_without_draws(draws, changes)
    return Sampling()


def code_bounds(
    specs: Mapping[str, AbstractVariableSpec], codecs: Mapping[str, AbstractCodec], device: torch.device
) -> dict[str, Bounds]:
    """Return lowest and highest code of scalars with a range of valid values, within which they are drawn."""
    found = {}
    for name, codec in codecs.items():
        valid = specs[name].bounds()
        if valid not in (None, (-math.inf, math.inf)) and tuple(codec.code_shape) == (1,):
            bounds = codes_between(codec, valid, device)
            if bounds is not None:
                found[name] = bounds
    return found
