"""Joint draws of several variables: one after another by the chain rule, or together in one walk."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.inference.base_rates import shifted
from metavoxel.parts.kernels.discrete import one_hot
from metavoxel.rng import Rng
from metavoxel.sampling.bounds import Bounds, drawn_within
from metavoxel.sampling.conditional import CELLS_A_BATCH, JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.typing import AnyCode


class JointDraw(NamedTuple):
    """One joint draw a row.

    Attributes:
        codes: of every variable that was asked for; a category's is one-hot.
        probabilities: of every category among them, what its class was drawn from.
    """

    codes: dict[str, AnyCode]
    probabilities: dict[str, AnyCode]


class DrawRequest(NamedTuple):
    """What is to be drawn, and how.

    Attributes:
        targets: variables, in the order in which they are drawn.
        in_turn: each by itself, given those before it; else all in one walk.
        marginal: variables that are integrated out when all are drawn in one walk.
        ratios: factors (k,) of a category's class probabilities, for other base rates; only where drawn in turn.
    """

    targets: Sequence[str]
    in_turn: bool
    marginal: Collection[str]
    ratios: Mapping[str, Float[Tensor, "k"]]


def joint_draws(
    model: JointDenoiser,
    given: Mapping[str, Evidence],
    asked: DrawRequest,
    keys: Sequence[str],
    draws: int,
    seed: int,
    sampling: Sampling,
    bounds: Mapping[str, Bounds] = {},
) -> Iterator[JointDraw]:
    """Draws of every row, as many at once as memory allows. A draw depends on (seed, row key, its number).

    Rows in which a number is drawn beyond its ``bounds`` are drawn anew, all targets together.
    """
    way = _draw_in_turn if asked.in_turn else _draw_together

    def draw(known: Mapping[str, Evidence], rng: Rng) -> JointDraw:
        return way(model, known, asked, rng, sampling)

    cells = len(keys) * sum(math.prod(shape) for shape in model.code_shapes.values())
    at_once = max(1, min(draws, CELLS_A_BATCH // max(cells, 1)))
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
    model: JointDenoiser, given: Mapping[str, Evidence], asked: DrawRequest, rng: Rng, sampling: Sampling
) -> JointDraw:
    """p(a, b | given) = p(a | given) p(b | given, a): each is drawn with the later ones integrated out, then given.

    So every draw is of one variable, and none is lost to a step's treating several as independent. A category takes one
    evaluation: by itself it is drawn right in a single step.
    """
    known, drawn = dict(given), JointDraw({}, {})
    for name in asked.targets:
        category = model.kernels[name].support == "one_hot"
        settings = replace(sampling, steps=1, grid="uniform") if category else sampling
        others = [other for other in model.kernels if other != name]
        codes = sample_codes(model, known, rng.fork("in turn", name), settings, marginal=others, soft_end=True)
        _record(drawn, model, name, codes[name], rng, asked.ratios.get(name))
        code = drawn.codes[name]
        known[name] = Evidence(code, torch.ones(len(code), 1, *code.shape[2:], dtype=torch.bool, device=code.device))
    return drawn


def _draw_together(
    model: JointDenoiser, given: Mapping[str, Evidence], asked: DrawRequest, rng: Rng, sampling: Sampling
) -> JointDraw:
    """One walk of all. A step treats them as independent given the state, which takes many steps to come right."""
    codes = sample_codes(model, given, rng, sampling, marginal=asked.marginal, soft_end=True)
    drawn = JointDraw({}, {})
    for name in asked.targets:
        _record(drawn, model, name, codes[name], rng, None)
    return drawn


def _record(
    drawn: JointDraw, model: JointDenoiser, name: str, end: AnyCode, rng: Rng, ratio: Float[Tensor, "k"] | None
) -> None:
    """Keep what a walk ended with: a number's code, or class probabilities and a class drawn from them."""
    if model.kernels[name].support != "one_hot":
        drawn.codes[name] = end
        return
    probabilities = end if ratio is None else shifted(end, ratio)
    noise = rng.fork(name, "vote").gumbel(tuple(end.shape), like=end)
    drawn.probabilities[name] = probabilities
    drawn.codes[name] = one_hot((torch.log(probabilities) + noise).argmax(1), end.shape[1]).to(end)
