"""Settings of sampling: steps, solver, time grid, conditioning method, guidance."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TypedDict, final, get_args

from jaxtyping import Float64
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.sampling.choices import ConditioningName, GridName, SolverName
from metavoxel.sampling.conditional import Conditional, Denoiser
from metavoxel.sampling.conditioning import AbstractConditioning, Clean, Replace
from metavoxel.sampling.guidance import guided
from metavoxel.sampling.held import MOST_EVALUATIONS
from metavoxel.sampling.smc import particle_trajectory
from metavoxel.sampling.solvers import DDIM, AbstractSolver, DPMSolver2M
from metavoxel.sampling.times import own_grids
from metavoxel.sampling.trajectory import sample_trajectory
from metavoxel.typing import AnyCode

OF_CONDITIONING: Mapping[str, ConditioningName] = {"particles": "smc", "resamplings": "repaint", "jump": "repaint"}
"""Settings that have an effect with one conditioning method only."""


class SamplingOptions(TypedDict, total=False):
    """Keyword arguments that change a model's default :class:`Sampling`; None keeps the default."""

    steps: int | None
    solver: SolverName | None
    eta: float | None
    grid: GridName | None
    conditioning: ConditioningName | None
    resamplings: int | None
    jump: int | None
    particles: int | None
    guidance: float | None


@final
@dataclass(frozen=True)
class Sampling:
    """Settings of sampling.

    Attributes:
        steps: network evaluations per draw. Up to 8, with 'clean', 'log_snr' and a model that has a baseline, the
            network's correction is held between them (:mod:`metavoxel.sampling.held`).
        solver: 'dpmpp_2m' or 'ddim'.
        eta: noise of the steps: 0 deterministic, 1 ancestral (steps of categories are always ancestral).
        grid: time discretisation, 'log_snr' or 'uniform'.
        conditioning: 'clean' (models with a time for each variable), 'replace' (the paper's), 'repaint' or 'smc'.
        resamplings: passes of 'repaint' over each stretch of ``jump`` steps.
        jump: steps of such a stretch.
        particles: particles of 'smc' per draw; the network evaluates as many rows.
        guidance: guidance weight, 'clean' only: 0 is off; above 0 samples are no longer calibrated.
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
        """Return the settings that are unknown, out of range or inconsistent."""
        choices = {"solver": SolverName, "grid": GridName, "conditioning": ConditioningName}
        kinds = {
            **dict.fromkeys(("steps", "resamplings", "jump", "particles"), Integral),
            "eta": Real,
            "guidance": Real,
        }
        wrong = [
            Problem(name, f"must be a {'whole ' if kind is Integral else ''}number, not {getattr(self, name)!r}")
            for name, kind in kinds.items()
            if not isinstance(getattr(self, name), kind) or isinstance(getattr(self, name), bool)
        ]
        if wrong:
            return wrong
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
        """Return those of the ``chosen`` settings that have no effect with the others."""
        problems = [
            Problem(name, f"has no effect with conditioning {self.conditioning!r}: use {method!r}, or omit it")
            for name, method in OF_CONDITIONING.items()
            if name in chosen and method != self.conditioning
        ]
        if "jump" in chosen and self.conditioning == "repaint" and self.resamplings == 1:
            problems.append(Problem("jump", "has no effect with one pass: use resamplings above 1, or omit it"))
        return problems

    def _particle_problems(self) -> list[Problem]:
        if self.conditioning != "smc":
            return []
        problems = []
        if self.particles < 2:
            what = f"conditioning 'smc' needs at least 2 particles (64 are usual), not {self.particles}"
            problems.append(Problem("particles", what))
        if self.eta != 1:
            what = f"conditioning 'smc' weights particles by densities of ancestral steps: use eta 1, not {self.eta}"
            problems.append(Problem("eta", what))
        return problems

    def _guidance_problems(self) -> list[Problem]:
        problems = []
        if not (math.isfinite(self.guidance) and self.guidance >= -1):
            problems.append(Problem("guidance", f"must be at least -1 (the marginal; 0 is off), not {self.guidance}"))
        if self.guidance and self.conditioning != "clean":
            what = f"needs estimates without the evidence, which conditioning {self.conditioning!r} cannot give"
            problems.append(Problem("guidance", f"{what}: use 'clean', or omit guidance"))
        return problems

    def trajectory(
        self, denoiser: Denoiser, conditional: Conditional, grid: Float64[Tensor, "n"], *, soft_end: bool
    ) -> Iterator[dict[str, AnyCode]]:
        """Yield states along a grid of times, the last at t = 0 (:func:`.trajectory.sample_trajectory`, or with 'smc'
        :func:`.smc.particle_trajectory`)."""
        solver: AbstractSolver = DDIM(self.eta) if self.solver == "ddim" else DPMSolver2M(self.eta)
        match self.conditioning:
            case "smc":
                return particle_trajectory(
                    denoiser, conditional, grid, particles=self.particles, solver=solver, soft_end=soft_end
                )
            case "clean":
                method: AbstractConditioning = Clean()
            case "replace":
                method = Replace()
            case "repaint":
                method = Replace(self.resamplings, self.jump)
        denoiser = guided(denoiser, conditional, self.guidance)
        return sample_trajectory(
            denoiser, conditional, grid, solver=solver, conditioning=method, soft_end=soft_end,
            own=own_grids(self.grid, len(grid) - 1, conditional.kernels),
        )  # fmt: skip

    @property
    def holds(self) -> bool:
        """Whether the network's correction of a baseline is held between few evaluations."""
        usual = self.conditioning == "clean" and self.grid == "log_snr" and not self.guidance
        return usual and self.steps <= MOST_EVALUATIONS

    @property
    def rows_per_row(self) -> int:
        """Rows of the network in one call, per row of the conditional."""
        if self.conditioning == "smc":
            return self.particles
        return 2 if self.guidance else 1


def check_conditioning(name: ConditioningName, *, shared_time: bool) -> None:
    """Check that a model's diffusion times allow a conditioning method.

    Raises:
        EvidenceError: 'clean' with a model trained with ``times: shared``.
    """
    if shared_time and name == "clean":
        what = (
            "'clean' needs a model trained with diffusion.times 'evidence'; this one has one shared time, and was not "
            "trained on clean variables beside noisy ones. Use 'smc', 'repaint' or 'replace'"
        )
        raise EvidenceError(Problem("conditioning", what))
