"""Adapters and features of one kind, evaluated together, return the results of each alone."""

from pathlib import Path

import pytest
import torch

from metavoxel.parts.adapters.base import AdapterInputs, BackboneOutputs
from metavoxel.parts.conformance.modules import at_generic_weights
from metavoxel.parts.stacking import FEWEST_STACKED
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import parse_schema

ROWS = 5
SCAN = {"type": "image", "codec": "identity", "shape": [4, 6], "adapter": {"type": "grid_summary", "components": 2}}
RAW = {
    "cohort": {"table": "subjects.csv"},
    "variables": {
        "first": {"type": "continuous", "adapter": {"type": "token", "baseline": False}},
        **{f"number{place}": {"type": "continuous"} for place in range(FEWEST_STACKED)},
        "scan": SCAN,
        **{f"label{place}": {"type": "categorical", "categories": ["a", "b"]} for place in range(FEWEST_STACKED)},
        "last": {"type": "categorical", "categories": ["a", "b", "c"]},
    },
    "backbone": {"type": "unet", "channels": [8, 16], "head_channels": 8, "token_width": 16},
}


@pytest.fixture(scope="module", params=[False, True], ids=["own layers", "alike"])
def model(request):
    torch.manual_seed(0)
    adapter = {"adapter": {"type": "token", "alike": request.param}}
    many = {name: {**settings, **adapter} for name, settings in RAW["variables"].items() if name[-1].isdigit()}
    schema = parse_schema({**RAW, "variables": {**RAW["variables"], **many}}, folder=Path())
    joint = at_generic_weights(build_joint(schema, build_codecs(schema))).eval()
    codes = inputs(joint)[0]
    joint.baseline.fit(codes, {name: torch.ones(ROWS, dtype=torch.bool) for name in codes})
    return joint


def inputs(joint):
    rng, states, times, observed = Rng.for_rows(ROWS, "stacked"), {}, {}, {}
    for name, kernel in joint.kernels.items():
        stream, shape = rng.fork(name), joint.code_shapes[name]
        states[name] = kernel.prior((ROWS, *shape), rng=stream, like=torch.zeros(()))
        known = stream.uniform((ROWS,)) < 0.3
        times[name] = torch.where(known, 0.0, stream.uniform((ROWS,), dtype=torch.float64))
        observed[name] = known.reshape(ROWS, 1, *[1] * (len(shape) - 1)).expand(ROWS, 1, *shape[1:])
    return states, times, observed


def results(joint, stacks, monkeypatch, **options):
    for bank, some in zip((joint._bank, joint.baseline._bank), stacks, strict=True):
        monkeypatch.setattr(bank, "stacks", some)
    joint.zero_grad()
    predictions = joint(*inputs(joint), **options)
    sum(prediction.square().sum() for prediction in predictions.values()).backward()
    gradients = {name: weight.grad.clone() for name, weight in joint.named_parameters() if weight.grad is not None}
    return predictions, gradients


@pytest.mark.parametrize("options", [{}, {"grid_rows": 2}], ids=["grids", "some rows without"])
def test_together_equals_one_by_one(model, monkeypatch, options):
    assert [len(names) for bank in (model._bank, model.baseline._bank) for names, _ in bank.stacks] == [
        FEWEST_STACKED
    ] * 4
    assert len(model.common) in (0, 2), "numbers share one module, and labels another"
    (ours, gradients), (theirs, expected) = (
        results(model, stacks, monkeypatch, **options)
        for stacks in ((model._bank.stacks, model.baseline._bank.stacks), ([], []))
    )
    assert list(ours) == list(theirs) and gradients.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, atol=1e-5, rtol=1e-4)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_together_without_gradients(model, monkeypatch, dtype):
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        ours = model(*inputs(model))
        monkeypatch.setattr(model._bank, "stacks", [])
        monkeypatch.setattr(model.baseline._bank, "stacks", [])
        theirs = model(*inputs(model))
    for name, prediction in theirs.items():
        close = {"atol": 1e-5, "rtol": 1e-4} if dtype is None else {"atol": 0.1, "rtol": 0.1}
        torch.testing.assert_close(ours[name], prediction, **close)


def test_weights_stay_with_their_adapters(model):
    assert not [name for name, _ in model.named_parameters() if "stack" in name]
    assert len(list(model.adapters)) == len(RAW["variables"])


def test_dropout_differs_between_stacked_adapters():
    raw = {**RAW, "variables": {name: {"type": "continuous", "adapter": {"type": "token", "dropout": 0.5}}
                                for name in ("a", "b", "c", "d")}, "backbone": {"type": "transformer"}}  # fmt: skip
    schema = parse_schema(raw, folder=Path())
    joint = at_generic_weights(build_joint(schema, build_codecs(schema))).train()
    for name in ("b", "c", "d"):
        joint.adapter(name).load_state_dict(joint.adapter("a").state_dict())
    entered = joint.adapter("a").embed(
        AdapterInputs(torch.ones(3, 1), torch.ones(3), torch.zeros(3, 1).bool(), torch.zeros(3, 1))
    )
    (_, stack), *_ = joint._bank.stacks
    outputs = stack.head([BackboneOutputs({}, {}, entered.tokens)] * 4)
    assert not torch.equal(outputs[0], outputs[1])


def test_alike_variables_differ_by_their_tags():
    raw = {**RAW, "variables": {name: {"type": "continuous", "adapter": {"type": "token", "alike": True, "baseline": False}}
                                for name in ("a", "b")}, "backbone": {"type": "transformer"}}  # fmt: skip
    schema = parse_schema(raw, folder=Path())
    torch.manual_seed(0)
    joint = at_generic_weights(build_joint(schema, build_codecs(schema)))
    same = AdapterInputs(torch.ones(3, 1), torch.full((3,), 0.5), torch.zeros(3, 1).bool(), torch.zeros(3, 0))
    one, other = (joint.adapter(name).embed(same).tokens for name in ("a", "b"))
    torch.testing.assert_close(one - other, (joint.adapter("a").tag - joint.adapter("b").tag).expand(3, 1, -1))
    assert not [name for name, _ in joint.adapter("a").named_parameters() if name != "tag"]
