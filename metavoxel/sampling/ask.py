"""Asking a model: batches bounded by memory, answers that do not depend on them."""

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.joint import JointModel
from metavoxel.rng import Rng, stream_key
from metavoxel.sampling.conditioning import AbstractConditioning, Clean, Replace
from metavoxel.sampling.evidence import Given
from metavoxel.sampling.path import Question, denoising_path, read_out
from metavoxel.sampling.solvers import DDIM, AbstractSolver, DPMSolver2M
from metavoxel.sampling.times import GridName, time_grid
from metavoxel.typing import AnyCode

ConditioningName = Literal["clean", "replace", "repaint"]
SolverName = Literal["dpmpp_2m", "ddim"]

CELLS_A_BATCH = 2**21
"""Code cells that one batch may hold, which bounds memory whatever the grid."""


@final
@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        steps: network evaluations a draw.
        solver: 'dpmpp_2m' or 'ddim'.
        eta: DDIM's own noise, 0 to 1.
        grid: 'log_snr' or 'uniform'.
        conditioning: 'clean' (evidence-trained models), 'replace' (the paper's), 'repaint'.
        resamplings: passes of 'repaint' over each stretch of ``jump`` steps.
    """

    steps: int = 50
    solver: SolverName = "dpmpp_2m"
    eta: float = 0.0
    grid: GridName = "log_snr"
    conditioning: ConditioningName = "clean"
    resamplings: int = 10
    jump: int = 1

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
        if self.eta and self.solver != "ddim":
            problems.append(Problem("eta", "is a setting of the solver ddim; choose that, or leave eta out"))
        return problems

    def parts(self) -> tuple[AbstractSolver, AbstractConditioning]:
        """Solver and conditioning of these names."""
        solver: AbstractSolver = DDIM(self.eta) if self.solver == "ddim" else DPMSolver2M()
        match self.conditioning:
            case "clean":
                return solver, Clean()
            case "replace":
                return solver, Replace()
            case "repaint":
                return solver, Replace(self.resamplings, self.jump)


PAPER_SAMPLING = Sampling(steps=50, solver="ddim", grid="uniform", conditioning="replace")
"""The paper's (section 4): DDIM with 50 steps, every 20th time of 1000 for categories, known variables overwritten."""


def row_streams(seed: int, keys: Sequence[str], draw: int) -> Rng:
    """Random streams of rows: of (seed, row key, draw), forked for each variable by its name."""
    return Rng.of([stream_key(seed, key, draw) for key in keys])


def _chunks(model: JointModel, rows: int) -> Iterator[slice]:
    cells = sum(math.prod(shape) for shape in model.code_shapes.values())
    size = max(1, min(4096, CELLS_A_BATCH // cells))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _question(
    model: JointModel, given: Mapping[str, Given], marginal: Collection[str], rng: Rng, rows: slice
) -> Question:
    part = {name: entry._replace(code=entry.code[rows], known=entry.known[rows]) for name, entry in given.items()}
    return Question(model.kernels, model.code_shapes, part, marginal, model.time_tags, rng[rows])


@torch.inference_mode()
def sample_codes(
    model: JointModel,
    given: Mapping[str, Given],
    rng: Rng,
    sampling: Sampling,
    *,
    marginal: Collection[str] = (),
    soft_end: bool = False,
) -> dict[str, AnyCode]:
    """One draw a row of every unknown variable that is not ``marginal``, from p(unknown | given).

    With ``soft_end`` a category is left as the class probabilities that it would be drawn from.
    """
    solver, conditioning = sampling.parts()
    unknown = [kernel for name, kernel in model.kernels.items() if name not in given and name not in marginal]
    grid = time_grid(sampling.grid, sampling.steps, unknown or list(model.kernels.values()))
    model.eval()
    drawn: dict[str, list[AnyCode]] = {name: [] for name in model.kernels}
    for rows in _chunks(model, len(rng)):
        question = _question(model, given, marginal, rng, rows)
        path = denoising_path(
            model.denoise, question, grid, solver=solver, conditioning=conditioning, soft_end=soft_end
        )
        for name, state in deque(path, maxlen=1).pop().items():
            drawn[name].append(state)
    return {name: _joined(parts, model, name) for name, parts in drawn.items()}


@torch.inference_mode()
def posterior_means(
    model: JointModel, given: Mapping[str, Given], rng: Rng, *, evaluations: int
) -> dict[str, Float[Tensor, "b c *s"]]:
    """E[code | given] of every variable's marginal, in ``evaluations`` network evaluations."""
    model.eval()
    found: dict[str, list[AnyCode]] = {name: [] for name in model.kernels}
    for rows in _chunks(model, len(rng)):
        question = _question(model, given, (), rng, rows)
        means = read_out(model.denoise, question, conditioning=Clean(), evaluations=evaluations)
        for name, mean in means.items():
            found[name].append(mean)
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
        raise EvidenceError(
            "conditioning 'clean' needs a model trained with diffusion.times 'evidence'; this one has one shared time, "
            "and never saw a clean variable beside a noisy one. Use conditioning 'replace' or 'repaint'"
        )
