"""Draws in few evaluations: steps of the network alone, and its correction held along the baseline's trajectory.

python -m benchmarks.held [--rows 1500]

The denoiser is exact, that of the analytic joint distribution of six variables (``metavoxel.testing.oracle``); so there
is no training, and all errors are those of sampling. Its baseline is the Gaussian with the same moments, which is wrong
in shape: three components, heteroscedastic. The error is that of the spread: the mean difference between the frequency
of draws below an exact quantile and its level.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.evaluations import LEVELS
from benchmarks.tables import markdown
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import JointDenoiser
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.held import AbstractCorrectedDenoiser
from metavoxel.sampling.sample import sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.testing.oracle import MixtureOracle

ORACLE = MixtureOracle.default()
QUESTIONS: Sequence[tuple[tuple[str, ...], str]] = ((("s1",), "s3"), (("s2", "five"), "s1"), (("s1", "s3"), "s4"))
"""Evidence and target of the draws; other variables are integrated out."""
STEPS = (1, 2, 4, 8, 50)


class Exact:
    """The exact denoiser."""

    def __init__(self, oracle: MixtureOracle) -> None:
        self.kernels: dict[str, AbstractKernel] = {name: GaussianKernel() for name in oracle.scalars}
        self.kernels |= {name: UniformD3PMKernel() for name in oracle.categories}
        self.code_shapes = {name: (oracle.categories.get(name, 1),) for name in oracle.names}
        self.device = torch.device("cpu")
        self._denoiser = oracle.denoiser(self.kernels)

    def denoise(self, states: dict[str, Tensor], times: dict[str, Tensor], observed: object) -> dict[str, Tensor]:
        """Return posterior means."""
        return self._denoiser(states, times)


class WithBaseline(Exact, AbstractCorrectedDenoiser):
    """The exact denoiser as a correction of another oracle's."""

    def __init__(self, oracle: MixtureOracle, baseline: MixtureOracle) -> None:
        super().__init__(oracle)
        self._baseline = baseline.denoiser(self.kernels)

    @property
    def with_baseline(self) -> list[str]:
        """All variables."""
        return list(self.kernels)

    def denoise_baseline(  # type: ignore[override]
        self, states: dict[str, Tensor], times: dict[str, Tensor], observed: object
    ) -> dict[str, Tensor]:
        """Return the baseline's posterior means."""
        return self._baseline(states, times)


def gaussian(rows: int) -> MixtureOracle:
    """Return the Gaussian with the moments of many rows, and their class frequencies."""
    drawn = ORACLE.sample(Rng.for_rows(rows, "moments"))
    scalars = torch.stack([drawn[name] for name in ORACLE.scalars], 1)
    tables = {
        name: (torch.bincount(drawn[name].long(), minlength=classes) / rows)[None]
        for name, classes in ORACLE.categories.items()
    }
    return MixtureOracle(
        weights=[1.0],
        scalars=ORACLE.scalars,
        means=scalars.mean(0, keepdim=True),
        covariances=scalars.T.cov()[None],
        categories=tables,
    )


def spread_error(model: JointDenoiser, steps: int, rows: int) -> float:
    """Return the error of the spread, a mean over questions and levels."""
    test, found = ORACLE.sample(Rng.for_rows(rows, "held", "test")), []
    for names, target in QUESTIONS:
        evidence = {name: test[name] for name in names}
        codes = ORACLE.codes(evidence)
        given = {name: Evidence(code.float(), torch.ones(rows, 1, dtype=torch.bool)) for name, code in codes.items()}
        rng, others = Rng.for_rows(rows, "held", target), [name for name in ORACLE.names if name != target]
        drawn = sample_codes(model, given, rng, Sampling(steps=steps), marginal=others)[target][:, 0].double()
        exact = ORACLE.given(evidence)
        found += [abs(float((drawn < exact.quantile(target, level)).double().mean()) - level) for level in LEVELS]
    return float(np.mean(found))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500)
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    models = {"steps of the network": Exact(ORACLE), "held correction": WithBaseline(ORACLE, gaussian(100_000))}
    lines = []
    for name, model in models.items():
        lines.append([name, *(f"{spread_error(model, steps, rows):.4f}" for steps in STEPS)])
        print(lines[-1], flush=True)
    print(f"{rows} rows; sampling error alone is about {0.3 / rows**0.5:.4f}")
    print(markdown(["network evaluations", *map(str, STEPS)], lines))


if __name__ == "__main__":
    main()
