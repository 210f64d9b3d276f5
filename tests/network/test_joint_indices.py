"""A joint model of codes held as indices is that of their one-hot codes."""

import pytest
import torch

from metavoxel.network.joint import JointModel
from metavoxel.parts.adapters.sequence import SequenceAdapterSpec
from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.conformance.modules import at_generic_weights
from metavoxel.parts.indices import one_hot
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.variables.base import Parts
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.rng import Rng
from metavoxel.schema.schema import Variable

ROWS, CLASSES, GRID = 4, 5, (2, 3)


class Indices(OneHotSpec):
    """Settings of a codec of indices."""

    indexed = True


def model(codec):
    spec = ContinuousSpec()
    variables = {
        "tokens": Variable(spec, Parts(codec, UniformD3PMKernel(), SequenceAdapterSpec())),
        "number": Variable(spec, spec.parts()),
    }
    torch.manual_seed(0)
    shapes = {"tokens": (CLASSES, *GRID), "number": (1,)}
    backbone = TransformerSpec(width=16, heads=2, depth=1, dropout=0.0)
    return at_generic_weights(JointModel(variables, shapes, backbone, shared_time=False))


@pytest.mark.parametrize("takes_indices", [True, False])
def test_estimates_of_both_forms_are_the_same(takes_indices, monkeypatch):
    """Also under an adapter that takes no indices, which gets one-hot codes."""
    monkeypatch.setattr("metavoxel.parts.adapters.sequence.SequenceAdapter.takes_indices", takes_indices)
    rng, cells = Rng.for_rows(ROWS, "indices"), (ROWS, 1, *GRID)
    index = (rng.uniform(cells) * CLASSES).long()
    times = {"tokens": torch.where(rng.uniform(cells) < 0.3, 1.0, 0.4).double(), "number": torch.full((ROWS,), 0.6)}
    times["number"] = times["number"].double()
    observed = {"tokens": rng.uniform(cells) < 0.2, "number": torch.zeros(ROWS, 1, dtype=torch.bool)}
    number = rng.normal((ROWS, 1))
    found = [
        model(codec).denoise({"tokens": code, "number": number}, times, observed)
        for codec, code in ((Indices(), index), (OneHotSpec(), one_hot(index[:, 0], CLASSES)))
    ]
    assert found[0]["tokens"].shape == (ROWS, CLASSES, *GRID)
    for name, estimate in found[0].items():
        torch.testing.assert_close(estimate, found[1][name])


def test_kernels_are_bound_to_the_form_of_their_codec():
    assert model(Indices()).kernels["tokens"].indexed and not model(OneHotSpec()).kernels["tokens"].indexed
    prior = (
        model(Indices())
        .kernels["tokens"]
        .prior((ROWS, CLASSES, *GRID), rng=Rng.for_rows(ROWS, "prior"), like=torch.zeros(()))
    )
    assert prior.shape == (ROWS, 1, *GRID) and prior.dtype == torch.int64 and prior.max() < CLASSES
