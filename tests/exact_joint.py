"""Models with the exact denoiser of an oracle in place of a trained network."""

from pathlib import Path

import torch
import yaml
from torch import nn

from metavoxel.inference.model import Model
from metavoxel.network.joint import JointModel
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.runs.run import build_codecs
from metavoxel.schema import load_schema
from metavoxel.testing import MixtureOracle


class ExactJoint(JointModel):
    """Joint model with the exact denoiser of an oracle, which counts the rows that it denoises."""

    def __init__(self, oracle: MixtureOracle) -> None:
        nn.Module.__init__(self)
        self.kernels = {
            name: UniformD3PMKernel() if name in oracle.categories else GaussianKernel() for name in oracle.names
        }
        self.code_shapes = {name: (oracle.categories.get(name, 1),) for name in oracle.names}
        self.time_tags = nn.Parameter(torch.zeros(1, 1))
        self.exact = oracle.denoiser(self.kernels)
        self.rows = 0

    @property
    def with_baseline(self):
        return ()

    def denoise(self, states, times, observed, *, only=None):
        self.rows += len(states[next(iter(self.kernels))])
        return self.exact(states, times)


def exact_model(oracle: MixtureOracle, folder: Path, **scalars: dict) -> Model:
    """Build a model whose codes are the values themselves; ``scalars`` replaces the settings of some variables."""
    plain = {"type": "continuous", "codec": {"type": "linear", "scale": "range", "range": [-1, 1]}}
    variables = {name: scalars.get(name, plain) for name in oracle.scalars}
    for name, classes in oracle.categories.items():
        variables[name] = {"type": "categorical", "categories": [f"{name[0]}{index}" for index in range(classes)]}
    raw = {
        "cohort": {"table": "table.csv", "subject": "id"},
        "variables": variables,
        "backbone": {"type": "transformer", "width": 8, "depth": 1, "heads": 1},
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    schema = load_schema(folder / "schema.yaml")
    return Model(schema, build_codecs(schema), ExactJoint(oracle))


def agreeing_pair(chance: float = 0.9) -> MixtureOracle:
    """Build an oracle of two fair binary variables that agree with some probability, and a dependent scalar."""
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    return MixtureOracle(
        weights=[chance / 2, (1 - chance) / 2, (1 - chance) / 2, chance / 2],
        scalars=("x",),
        means=(first + second).double()[:, None] - 1,
        covariances=torch.full((4, 1, 1), 0.25),
        categories={"a": certain[first], "b": certain[second]},
    )
