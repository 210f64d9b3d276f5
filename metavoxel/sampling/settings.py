"""Settings of sampling: steps, solver, time grid, conditioning method, guidance."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, final, get_args

from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.conditioning import AbstractConditioning, Clean, Replace
from metavoxel.sampling.guidance import guided
from metavoxel.sampling.smc import particle_trajectory
from metavoxel.sampling.solvers import DDIM, AbstractSolver, DPMSolver2M
from metavoxel.sampling.times import GridName
from metavoxel.sampling.trajectory import sample_trajectory
from metavoxel.typing import AnyCode

ConditioningName = Literal["clean", "replace", "repaint", "smc"]
SolverName = Literal["dpmpp_2m", "ddim"]

OF_CONDITIONING: Mapping[str, ConditioningName] = {"particles": "smc", "resamplings": "repaint", "jump": "repaint"}
"""Settings that only one way of conditioning heeds."""


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

    def trajectory(
        self, denoiser: Denoiser, conditional: Conditional, grid: Float64[Tensor, "n"], *, soft_end: bool
    ) -> Iterator[dict[str, AnyCode]]:
        """States along a grid of times, the last at t = 0 (:func:`metavoxel.sampling.trajectory.sample_trajectory`)."""
        solver: AbstractSolver = DDIM(self.eta) if self.solver == "ddim" else DPMSolver2M(self.eta)
        match self.conditioning:
            case "smc":
                many = self.particles
                return particle_trajectory(
                    denoiser, conditional, grid, particles=many, solver=solver, soft_end=soft_end
                )
            case "clean":
                held: AbstractConditioning = Clean()
            case "replace":
                held = Replace()
            case "repaint":
                held = Replace(self.resamplings, self.jump)
        denoiser = guided(denoiser, conditional, self.guidance)
        return sample_trajectory(denoiser, conditional, grid, solver=solver, conditioning=held, soft_end=soft_end)

    @property
    def rows_a_row(self) -> int:
        """Rows that the network sees at once for each row that is asked."""
        if self.conditioning == "smc":
            return self.particles
        return 2 if self.guidance else 1


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
