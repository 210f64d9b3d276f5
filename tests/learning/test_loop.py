"""Steps of the optimisers: clipping of the joint gradient norm, and non-finite gradients."""

import os
import signal

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from metavoxel.errors import NumericalError, RunWarning
from metavoxel.learning.loop import REPORTED_SPIKES, Optimisation, Optimiser
from metavoxel.runs.checkpoints import Checkpoints


def optimiser(module, clip=1.0, orthogonal=(), steps=1, rate=1e-2):
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return Optimiser(fabric, module, Optimisation(steps, rate, 0.1, 0, clip, orthogonal=orthogonal))


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8, bias=False), nn.Linear(8, 2))


def gradients(network):
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("orthogonal", [(), ("2.weight",), ("0.weight", "2.weight", "3.weight")])
def test_the_joint_gradient_norm_is_clipped(monkeypatch, orthogonal):
    """Clipping spans all optimisers and preserves the direction of the gradient."""
    network, x = module(), torch.randn(16, 6)
    with torch.enable_grad():
        (1e4 * network(x).square().mean()).backward()
    unclipped = gradients(network)
    norm = torch.sqrt(sum(gradient.double().square().sum() for gradient in unclipped.values()))
    network.zero_grad()
    calls, original = [], torch.optim.AdamW.step

    def step(self, *args, **options):
        calls.append(gradients(network))
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    list(optimiser(network, clip=0.7, orthogonal=orthogonal).run(lambda step: {"a": 1e4 * network(x).square().mean()}))
    (clipped,) = calls
    assert norm > 100 and clipped.keys() == unclipped.keys()
    after = torch.sqrt(sum(gradient.double().square().sum() for gradient in clipped.values()))
    assert after.item() == pytest.approx(0.7, rel=1e-5)
    for name, gradient in clipped.items():
        torch.testing.assert_close(gradient.double(), unclipped[name].double() * 0.7 / norm, rtol=1e-4, atol=1e-9)


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


@pytest.mark.parametrize("layer", [0, 2])
def test_nan_gradients_leave_the_weights_unchanged(layer):
    """Also gradients of a matrix optimised by Muon."""
    network, x = module(), torch.randn(16, 6)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}

    def losses(step):
        weight = dict(network.named_parameters())[f"{layer}.weight"]
        return {"finite": network(x).square().mean() + 0 * _NaNGradient.apply(weight).sum()}

    with pytest.raises(NumericalError, match="training step 1: the gradient is not finite"):
        list(optimiser(network, orthogonal=("2.weight",)).run(losses))
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())


def bad_steps(steps, *bad, kind="loss"):
    """Train for some steps, of which some have a NaN loss or gradient; return the optimiser and its generator."""
    network, x = module(), torch.randn(16, 6)
    found = optimiser(network, steps=steps)

    def losses(step):
        loss = network(x).square().mean()
        if step + 1 not in bad:
            return {"a": loss, "b": loss}
        return {
            "a": loss,
            "b": loss * float("nan") if kind == "loss" else 0 * _NaNGradient.apply(network[0].weight).sum(),
        }

    return found, found.run(losses, lambda step: [f"s{step}", "s9"])


@pytest.mark.parametrize(("kind", "cause"), [("loss", "the loss of b"), ("gradient", "the gradient")])
def test_single_non_finite_steps_are_skipped_and_counted(kind, cause):
    found, steps = bad_steps(8, 2, 3, 6, kind=kind)
    with pytest.warns(RunWarning, match=rf"training step [236]: {cause} is not finite \(subjects s\d, s9\)") as caught:
        done = list(steps)
    assert [step.number for step in done] == list(range(1, 9)) and found.guard.skipped == len(caught) == 3
    assert all("a" in step.losses for step in done) and ("b" in done[1].losses) == (kind == "gradient")


def test_a_skipped_step_changes_nothing_but_the_step(recwarn):
    found, steps = bad_steps(4, 2, 3)
    next(steps)
    before = {name: weight.detach().clone() for name, weight in found.module.named_parameters()}
    average = {name: weight.clone() for name, weight in found.average.items()}
    next(steps), next(steps)
    assert found.step == 3 and found.guard.in_a_row == 2
    assert all(torch.equal(weight, before[name]) for name, weight in found.module.named_parameters())
    assert all(torch.equal(weight, average[name]) for name, weight in found.average.items())
    next(steps)
    assert found.guard.in_a_row == 0


@pytest.mark.filterwarnings("ignore::metavoxel.errors.RunWarning")
def test_three_in_a_row_stop_and_name_the_subjects():
    found, steps = bad_steps(9, 3, 5, 6, 7)
    with pytest.raises(NumericalError) as caught:
        list(steps)
    assert str(caught.value).startswith(
        "training steps 5 to 7: the loss of b is not finite (subjects s6, s9). The state before is kept. Check"
    )
    assert found.step == 4 and found.guard.skipped == 1, "the state before the first of them"


def test_counts_are_part_of_a_checkpoint(tmp_path, recwarn):
    found, steps = bad_steps(6, 2, 3)
    next(steps), next(steps), next(steps)
    found.save(Checkpoints(tmp_path, "joint"), {"best": 1.0})
    again, _ = bad_steps(6)
    assert again.load(Checkpoints(tmp_path, "joint")) == {"best": 1.0}
    assert again.guard == found.guard and again.step == 3


def test_spikes_of_the_loss_are_counted():
    network, x = module(), torch.randn(16, 6)
    found = optimiser(network, steps=80, rate=1e-9)
    with pytest.warns(RunWarning) as caught:
        steps = (10, 55, 60, 65, 70, 75, 78)
        loss = lambda step: {"a": network(x).square().mean() * (50 if step in steps else 1)}  # noqa: E731
        list(found.run(loss, lambda step: [f"s{step}"]))
    assert found.guard.spikes == len(steps) - 1, "not in the first steps"
    lines = [str(one.message) for one in caught]
    assert len(lines) == REPORTED_SPIKES and lines[0].startswith("training step 56: the loss is 2")
    assert "times its average (subjects s55)" in lines[0] and lines[-1].endswith("; further ones are only counted")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_do_not_break_a_save(tmp_path, monkeypatch, number):
    """Both come while the checkpoint is written."""
    found, steps = bad_steps(3)
    next(steps)
    original, caught = os.replace, []

    def interrupted(source, target):
        signal.raise_signal(number)
        signal.raise_signal(number)
        original(source, target)

    def handler(number, frame):
        caught.append((tmp_path / "joint-00000001.safetensors").exists())

    before = signal.signal(number, handler)
    monkeypatch.setattr("metavoxel.storage.atomic.os.replace", interrupted)
    try:
        found.save(Checkpoints(tmp_path, "joint"))
    finally:
        signal.signal(number, before)
    assert caught == [True, True], "the signals arrive after the checkpoint"
