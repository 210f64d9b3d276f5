"""Joint draws of several variables: one after another by the chain rule, or together in one trajectory."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.inference.base_rates import shifted
from metavoxel.parts.indices import one_hot
from metavoxel.rng import Rng
from metavoxel.sampling.bounds import Bounds, drawn_within
from metavoxel.sampling.conditional import CELLS_PER_BATCH, JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.typing import AnyCode


class JointDraw(NamedTuple):
    """One joint draw per row.

    Attributes:
        codes: of every target; one-hot for a category, or the indices of its classes.
        probabilities: class probabilities that each label among the targets was drawn from.
    """

    codes: dict[str, AnyCode]
    probabilities: dict[str, AnyCode]


class DrawRequest(NamedTuple):
    """Request for joint draws.

    Attributes:
        targets: variables, in the order in which they are drawn.
        in_turn: whether each target is drawn given those before it; else all are drawn in one trajectory.
        marginal: variables that are integrated out if all are drawn in one trajectory.
        ratios: factors (k,) of a category's class probabilities, for other base rates; only with ``in_turn``.
    """

    targets: Sequence[str]
    in_turn: bool
    marginal: Collection[str]
    ratios: Mapping[str, Float[Tensor, "k"]]


def joint_draws(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    request: DrawRequest,
    keys: Sequence[str],
    draws: int,
    seed: int,
    sampling: Sampling,
    bounds: Mapping[str, Bounds] = {},
) -> Iterator[JointDraw]:
    """Yield joint draws of every row, as many at once as memory allows. A draw depends on (seed, row key, number).

    Rows with a number outside its ``bounds`` are redrawn, all targets together.
    """
    method = _draw_in_turn if request.in_turn else _draw_together

    def draw(known: Mapping[str, Evidence], rng: Rng) -> JointDraw:
        return method(model, known, request, rng, sampling)

    cells = len(keys) * sum(math.prod(shape) for shape in model.code_shapes.values())
    at_once = max(1, min(draws, CELLS_PER_BATCH // max(cells, 1)))
    for start in range(0, draws, at_once):
        numbers = range(start, min(start + at_once, draws))
        rng = Rng(torch.cat([row_streams(seed, keys, number).keys for number in numbers]))
        many = {name: _repeated(entry, len(numbers)) for name, entry in given.items()}
        drawn = drawn_within(draw, many, rng, bounds)
        for index in range(len(numbers)):
            rows = slice(index * len(keys), (index + 1) * len(keys))
            yield JointDraw(*({name: code[rows] for name, code in part.items()} for part in drawn))


def _repeated(entry: Evidence, times: int) -> Evidence:
    code = entry.code.repeat(times, *[1] * (entry.code.ndim - 1))
    return entry._replace(code=code, known=entry.known.repeat(times, *[1] * (entry.known.ndim - 1)))


def _draw_in_turn(
    model: JointDenoiser, given: Mapping[str, Evidence], request: DrawRequest, rng: Rng, sampling: Sampling
) -> JointDraw:
    """Draw by the chain rule, p(a, b | given) = p(a | given) p(b | given, a), with later targets integrated out.

    Every draw is of one variable, so that no step treats several as independent. For a single category one step is
    exact, in one evaluation.
    """
    known, drawn = dict(given), JointDraw({}, {})
    for name in request.targets:
        category = model.kernels[name].is_label(model.code_shapes[name])
        settings = replace(sampling, steps=1, grid="uniform") if category else sampling
        others = [other for other in model.kernels if other != name]
        codes = sample_codes(model, known, rng.fork("in turn", name), settings, marginal=others, soft_end=True)
        _record(drawn, model, name, codes[name], rng, request.ratios.get(name))
        code = drawn.codes[name]
        known[name] = Evidence(code, torch.ones(len(code), 1, *code.shape[2:], dtype=torch.bool, device=code.device))
    return drawn


def _draw_together(
    model: JointDenoiser, given: Mapping[str, Evidence], request: DrawRequest, rng: Rng, sampling: Sampling
) -> JointDraw:
    """Draw all targets in one trajectory, whose steps treat them as independent given the state."""
    codes = sample_codes(model, given, rng, sampling, marginal=request.marginal, soft_end=True)
    drawn = JointDraw({}, {})
    for name in request.targets:
        _record(drawn, model, name, codes[name], rng, None)
    return drawn


def _record(
    drawn: JointDraw, model: JointDenoiser, name: str, final: AnyCode, rng: Rng, ratio: Float[Tensor, "k"] | None
) -> None:
    """Add a trajectory's final state to a draw: a number's code, or a class of each cell, drawn from its probabilities.

    The probabilities of a label are kept. Those of a sequence are not: its cells are drawn given each other, so that
    the last step's are not marginal probabilities.
    """
    kernel = model.kernels[name]
    if kernel.indexed or not kernel.is_categorical:
        drawn.codes[name] = final
        return
    probabilities = final if ratio is None else shifted(final, ratio)
    noise = rng.fork(name, "vote").gumbel(tuple(final.shape), like=final)
    if kernel.is_label(model.code_shapes[name]):
        drawn.probabilities[name] = probabilities
    drawn.codes[name] = one_hot((torch.log(probabilities) + noise).argmax(1), final.shape[1]).to(final)
