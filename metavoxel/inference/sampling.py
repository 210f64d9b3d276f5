"""Sampling settings of a trained model: defaults and changes."""

import math
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields

import torch

from metavoxel.errors import EvidenceError, Problem, SamplingWarning, did_you_mean
from metavoxel.inference.arguments import refuse_without_draws
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.sampling.bounds import Bounds, codes_between
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.settings import Sampling, check_conditioning


def sampling_of(changes: Mapping[str, object], *, shared_time: bool, in_turn: Mapping[str, int] = {}) -> Sampling:
    """Return a model's default settings with changes; None keeps the default.

    Args:
        changes: values by setting.
        shared_time: whether all variables of the model have one time.
        in_turn: cells of drawn variables that are drawn one after another: by default there are as many steps.

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
    base: dict[str, object] = {"steps": max([Sampling().steps, *in_turn.values()])}
    if shared_time:
        base |= {"conditioning": "replace", "solver": "ddim", "grid": "uniform"}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("conditioning") == "smc":
        base |= {"solver": "dpmpp_2m", "eta": 1.0, "grid": "log_snr"}
    sampling = Sampling(**{**base, **changes})  # type: ignore[arg-type]
    problems = sampling.problems() + sampling.idle(changes)
    if problems:
        raise EvidenceError(problems)
    check_conditioning(sampling.conditioning, shared_time=shared_time)
    return sampling


def cells_in_turn(joint: JointDenoiser, names: Iterable[str]) -> dict[str, int]:
    """Return the number of cells of each variable that are drawn one after another; other names are ignored."""
    kernels, shapes = joint.kernels, joint.code_shapes
    return {name: kernels[name].cells_in_turn(shapes[name]) for name in names if name in kernels}


def warn_of_few_steps(joint: JointDenoiser, drawn: Iterable[str], steps: int) -> None:
    """Warn of drawn variables with more cells in turn than steps."""
    for name, cells in cells_in_turn(joint, drawn).items():
        if steps < cells:
            warnings.warn(
                f"{name}: {cells} tokens are drawn in {steps} steps, those of one step as if independent; "
                f"`steps={cells}` draws each given those before it",
                SamplingWarning,
                stacklevel=3,
            )


def answer_sampling(
    joint: JointDenoiser, drawn: Collection[str], changes: Mapping[str, object], *, draws: int, shared_time: bool
) -> Sampling:
    """Return the settings of an answer's draws; the defaults, which are not used, without draws.

    Raises:
        EvidenceError: as :func:`sampling_of`; without draws also settings of draws, or a model with one shared time.
    """
    if draws:
        sampling = sampling_of(changes, shared_time=shared_time, in_turn=cells_in_turn(joint, drawn))
        warn_of_few_steps(joint, drawn, sampling.steps)
        return sampling
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
