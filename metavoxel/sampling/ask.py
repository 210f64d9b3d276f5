"""Asking a model: batches bounded by memory, answers that do not depend on them."""

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng, stream_key
from metavoxel.sampling.bounds import Ends, drawn_within
from metavoxel.sampling.conditioning import AbstractConditioning, Clean, Replace
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.guidance import guided
from metavoxel.sampling.smc import particle_trajectory
from metavoxel.sampling.solvers import DDIM, AbstractSolver, DPMSolver2M
from metavoxel.sampling.times import GridName, time_grid
from metavoxel.sampling.trajectory import Denoiser, Question, read_out, sample_trajectory
from metavoxel.typing import AnyCode, AnyMask, AnyTime

ConditioningName = Literal["clean", "replace", "repaint", "smc"]
SolverName = Literal["dpmpp_2m", "ddim"]

OF_CONDITIONING: Mapping[str, ConditioningName] = {"particles": "smc", "resamplings": "repaint", "jump": "repaint"}
"""Settings that only one way of conditioning heeds."""

CELLS_A_BATCH = 2**21
"""Code cells that one batch may hold, which bounds memory whatever the grid."""


@final
@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        steps: network evaluations a draw.
        solver: 'dpmpp_2m' or 'ddim'.
        eta: noise of the steps: 0 none, 1 that of the forward process backwards (categories always have it).
        grid: 'log_snr' or 'uniform'.
        conditioning: 'clean' (evidence-trained models), 'replace' (the paper's), 'repaint', 'smc'.
        resamplings: passes of 'repaint' over each stretch of ``jump`` steps.
        particles: walks of 'smc' for each draw, and so its rows for each of the network's.
        guidance: how far beliefs are moved away from the marginal ones, 'clean' only; 0 is not at all, and calibrated.
    """

    steps: int = 50
    solver: SolverName = "dpmpp_2m"
    eta: float = 0.0
    grid: GridName = "log_snr"
    conditioning: ConditioningName = "clean"
    resamplings: int = 10
    jump: int = 1
    particles: int = 64
    guidance: float = 0.0

    def problems(self) -> list[Problem]:
        """Settings that are not there, or that contradict each other."""
        choices = {"solver": SolverName, "grid": GridName, "conditioning": ConditioningName}
        problems = [
            Problem(name, f"{getattr(self, name)!r} is not one of {', '.join(get_args(names))}")
            for name, names in choices.items()
            if getattr(self, name) not in get_args(names)
        ]
        problems += [
            Problem(name, f"must be at least 1, not {getattr(self, name)}")
            for name in ("steps", "resamplings", "jump")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.eta <= 1:
            problems.append(Problem("eta", f"must be between 0 and 1, not {self.eta}"))
        return problems + self._particle_problems() + self._guidance_problems()

    def idle(self, chosen: Collection[str]) -> list[Problem]:
        """Those of the chosen settings that have no effect beside the others."""
        problems = [
            Problem(name, f"has no effect under {self.conditioning!r}: choose conditioning {way!r}, or leave it out")
            for name, way in OF_CONDITIONING.items()
            if name in chosen and way != self.conditioning
        ]
        if "jump" in chosen and self.conditioning == "repaint" and self.resamplings == 1:
            what = "has no effect where each stretch is walked once: choose resamplings above 1, or leave it out"
            problems.append(Problem("jump", what))
        return problems

    def _particle_problems(self) -> list[Problem]:
        if self.conditioning != "smc":
            return []
        problems = []
        if self.particles < 2:
            what = f"conditioning 'smc' chooses among particles: at least 2 (64 are usual), not {self.particles}"
            problems.append(Problem("particles", what))
        if self.eta != 1:
            what = "conditioning 'smc' weighs steps by their density, which only those with all their noise have"
            problems.append(Problem("eta", f"{what}: choose eta 1, not {self.eta}"))
        return problems

    def _guidance_problems(self) -> list[Problem]:
        problems = []
        if not (math.isfinite(self.guidance) and self.guidance >= -1):
            problems.append(Problem("guidance", f"must be at least -1 (the marginal; 0 is off), not {self.guidance}"))
        if self.guidance and self.conditioning != "clean":
            what = f"compares with beliefs without the evidence, which {self.conditioning!r} cannot leave out"
            problems.append(Problem("guidance", f"{what}: choose conditioning 'clean', or leave guidance out"))
        return problems

    def walk(
        self, denoiser: Denoiser, question: Question, grid: Float64[Tensor, "n"], *, soft_end: bool
    ) -> Iterator[dict[str, AnyCode]]:
        """States along a grid of times, the last at t = 0 (see :func:`metavoxel.sampling.trajectory.sample_trajectory`)."""
        solver: AbstractSolver = DDIM(self.eta) if self.solver == "ddim" else DPMSolver2M(self.eta)
        match self.conditioning:
            case "smc":
                many = self.particles
                return particle_trajectory(denoiser, question, grid, particles=many, solver=solver, soft_end=soft_end)
            case "clean":
                held: AbstractConditioning = Clean()
            case "replace":
                held = Replace()
            case "repaint":
                held = Replace(self.resamplings, self.jump)
        denoiser = guided(denoiser, question, self.guidance)
        return sample_trajectory(denoiser, question, grid, solver=solver, conditioning=held, soft_end=soft_end)

    @property
    def rows_a_row(self) -> int:
        """Rows that the network sees at once for each row that is asked."""
        if self.conditioning == "smc":
            return self.particles
        return 2 if self.guidance else 1


def row_streams(seed: int, keys: Sequence[str], draw: int) -> Rng:
    """Random streams of rows: of (seed, row key, draw), forked for each variable by its name."""
    return Rng.of([stream_key(seed, key, draw) for key in keys])


def _batch(model: JointModel) -> int:
    """Rows that the network may see at once."""
    cells = sum(math.prod(shape) for shape in model.code_shapes.values())
    return max(1, min(4096, CELLS_A_BATCH // cells))


def _chunks(rows: int, size: int) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def in_batches(denoiser: Denoiser, size: int) -> Denoiser:
    """The same denoiser, called with no more rows than so many at once."""

    def denoise(
        states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> Mapping[str, AnyCode]:
        rows = len(next(iter(states.values())))
        if rows <= size:
            return denoiser(states, times, observed)
        parts = [
            denoiser(*({name: x[part] for name, x in each.items()} for each in (states, times, observed)))
            for part in _chunks(rows, size)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return denoise


def _question(
    model: JointModel, given: Mapping[str, Evidence], marginal: Collection[str], rng: Rng, rows: slice
) -> Question:
    part = {name: entry.of_rows(rows) for name, entry in given.items()}
    return Question(model.kernels, model.code_shapes, part, marginal, model.time_tags, rng[rows])


@torch.inference_mode()
def sample_codes(
    model: JointModel,
    given: Mapping[str, Evidence],
    rng: Rng,
    sampling: Sampling,
    *,
    marginal: Collection[str] = (),
    soft_end: bool = False,
    limits: Mapping[str, Ends] = {},
) -> dict[str, AnyCode]:
    """One draw a row of every unknown variable that is not ``marginal``, from p(unknown | given).

    With ``soft_end`` a category is left as the class probabilities that it would be drawn from. Rows in which a number
    is drawn beyond its ``limits`` are drawn anew (:func:`metavoxel.sampling.bounds.drawn_within`).

    Raises:
        EvidenceError: guidance of a question that it does not suit.
        NumericalError: the network, a step or a weight left the finite numbers.
    """

    def walked(known: Mapping[str, Evidence], rng: Rng) -> tuple[dict[str, AnyCode], ...]:
        return (_walked(model, known, rng, sampling, marginal, soft_end),)

    asked = {name: ends for name, ends in limits.items() if name not in marginal}
    return drawn_within(walked, given, rng, asked)[0]


def _walked(
    model: JointModel,
    given: Mapping[str, Evidence],
    rng: Rng,
    sampling: Sampling,
    marginal: Collection[str],
    soft_end: bool,
) -> dict[str, AnyCode]:
    """Where one walk of each row ends."""
    unknown = [kernel for name, kernel in model.kernels.items() if name not in given and name not in marginal]
    grid = time_grid(sampling.grid, sampling.steps, unknown or list(model.kernels.values()))
    model.eval()
    drawn: dict[str, list[AnyCode]] = {name: [] for name in model.kernels}
    batch = _batch(model)
    denoiser = in_batches(model.denoise, batch)
    for rows in _chunks(len(rng), max(1, batch // sampling.rows_a_row)):
        question = _question(model, given, marginal, rng, rows)
        path = sampling.walk(denoiser, question, grid, soft_end=soft_end)
        for name, state in deque(path, maxlen=1).pop().items():
            drawn[name].append(state)
    return {name: _joined(parts, model, name) for name, parts in drawn.items()}


@torch.inference_mode()
def posterior_means(
    model: JointModel,
    given: Mapping[str, Evidence],
    rng: Rng,
    *,
    evaluations: int,
    asked: Collection[str] | None = None,
) -> dict[str, AnyCode]:
    """E[code | given] of each asked variable's marginal, in ``evaluations`` network evaluations.

    ``asked`` are by default all variables that are not among the given.

    Raises:
        EvidenceError: the network's prediction of an asked variable does not tell its mean at t = 1.
        NumericalError: the network left the finite numbers.
    """
    names = [name for name in model.kernels if (name not in given if asked is None else name in asked)]
    problems = [
        Problem(
            name,
            f"its kernel {model.kernels[name].type!r} predicts the noise, which at t = 1 says nothing of the data: "
            "draws 0 cannot be read out. Ask for draws 1 or more, or train with prediction 'v'",
        )
        for name in names
        if not model.kernels[name].predicts_mean
    ]
    if problems:
        raise EvidenceError(problems)
    model.eval()
    found: dict[str, list[AnyCode]] = {name: [] for name in names}
    for rows in _chunks(len(rng), _batch(model)):
        question = _question(model, given, (), rng, rows)
        means = read_out(model.denoise, question, conditioning=Clean(), evaluations=evaluations)
        for name in names:
            found[name].append(means[name])
    return {name: _joined(parts, model, name) for name, parts in found.items()}


def _joined(parts: Sequence[AnyCode], model: JointModel, name: str) -> AnyCode:
    """One batch of several, or of none."""
    return torch.cat([torch.zeros(0, *model.code_shapes[name], device=model.time_tags.device), *parts])


def check_conditioning(times: str, name: ConditioningName) -> None:
    """Refuse to hold variables clean in a model that has one time for all.

    Raises:
        EvidenceError: 'clean' on a model trained with ``times: shared``.
    """
    if times == "shared" and name == "clean":
        what = (
            "'clean' needs a model trained with diffusion.times 'evidence'; this one has one shared time, and never "
            "saw a clean variable beside a noisy one. Use 'smc', 'repaint' or 'replace'"
        )
        raise EvidenceError(Problem("conditioning", what))
