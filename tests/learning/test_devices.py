"""Devices, nodes and strategies: what is missing is an error, and launchers of several processes are used."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tiny_cohorts import TABLE, write_schema, write_table
from tiny_runs import command, refused

from metavoxel.errors import RunError
from metavoxel.learning.devices import start_fabric
from metavoxel.runs.metrics import read_metrics
from metavoxel.runs.run import RunFolder


def problems(accelerator="cpu", devices=1, **options):
    with pytest.raises(RunError) as caught:
        start_fabric(accelerator, devices, "32-true", half=False, **options)
    return [str(problem) for problem in caught.value.problems]


def test_all_that_is_missing_is_reported(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    found = problems(devices=8, nodes=3, strategy="fsdp")
    assert len(found) == 3
    assert found[0].startswith("strategy fsdp: is not supported: the moving average of the weights")
    assert found[1].startswith("devices 8: this machine has 4 processor cores; use `devices=4` or fewer")
    assert found[2].startswith("nodes 3: need a launcher") and "torchrun --nnodes 3 --nproc-per-node 8" in found[2]
    assert problems(strategy="dp") == ["strategy dp: must be 'ddp', every device with the whole model"]
    assert problems(devices=0) == ["devices: must be a whole number from 1, not 0"]
    assert problems(nodes=-1) == ["nodes: must be a whole number from 1, not -1"]


class Recorder(torch.nn.Module):
    """Keeps what its forward pass received."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, states, times):
        self.layer(states["x"])
        return {"inputs": (states["x"], times)}


def test_mixed_precision_keeps_states_and_times():
    """A state and a time that bf16 would round are those of the caller; only operations are in half precision."""
    fabric = start_fabric("cpu", 1, "bf16-mixed", half=False)
    module = Recorder()
    wrapped, _ = fabric.setup(module, torch.optim.SGD(module.parameters()))
    x, times = torch.tensor([[1.001, -0.3333]]), torch.tensor([0.9991], dtype=torch.float64)
    seen = {}
    module.layer.register_forward_hook(lambda _, inputs, output: seen.update(operation=output.dtype))
    module.register_forward_hook(lambda _, inputs, output: seen.update(zip(("x", "t"), output["inputs"], strict=True)))
    wrapped({"x": x}, times)
    assert torch.equal(seen["x"], x) and torch.equal(seen["t"], times)
    assert seen["x"].dtype == torch.float32 and seen["t"].dtype == torch.float64
    assert seen["operation"] == torch.bfloat16


def test_more_gpus_than_exist(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert problems("cuda", 2)[0].startswith("devices 2: this machine has 1 GPU; use `devices=1` or fewer")


def test_numbers_other_than_those_of_torchrun(monkeypatch):
    variables = {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "0"}
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    (found,) = problems(devices=2)
    assert found.startswith("devices, nodes: torchrun has started 4 processes, and `devices` times `nodes` is 2")


def test_a_batch_that_devices_cannot_share(study, monkeypatch):
    monkeypatch.setattr("metavoxel.learning.training.start_fabric", lambda *_, **__: SimpleNamespace(world_size=3))
    schema = write_schema(study, TABLE, training={"batch_size": 8})
    message = refused(RunError, schema, study / "run")
    assert message == (
        "training.batch_size: 8 rows cannot be shared equally by 3 devices; use a multiple of 3, such as 9"
    )
    assert not (study / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_processes_of_a_launcher_have_the_loss_curve_of_one(tmp_path, launcher):
    """Two processes that torchrun starts on one node, or that have the environment of two nodes of SLURM."""
    raw = {**TABLE, "backbone": {**TABLE["backbone"], "dropout": 0.0}}
    write_table(tmp_path)
    schema = write_schema(tmp_path, raw, training={"steps": 8, "validate_every": 4})
    start, environment = command(tmp_path)
    options = ["--accelerator", "cpu", "--precision", "32-true"]
    arguments = ["train", str(schema), "--output"]
    subprocess.run([*start, *arguments, str(tmp_path / "one"), *options], env=environment, check=True, timeout=600)
    if launcher == "torchrun":
        program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
        options += ["--devices", "2"]
        run = [*program, "metavoxel", *arguments, str(tmp_path / "two"), *options]
        subprocess.run(run, env=environment, check=True, timeout=600)
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options += ["--nodes", "2"]
        job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "test"}
        job |= {"SLURM_JOB_ID": "1", "SLURM_LOCALID": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        tasks = [
            subprocess.Popen(
                [*start, *arguments, str(tmp_path / "two"), *options],
                env={**environment, **job, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)},
            )
            for rank in range(2)
        ]
        assert [task.wait(timeout=600) for task in tasks] == [0, 0]
    assert json.loads((tmp_path / "two" / "run.json").read_text())["devices"] == 2
    one, two = (read_metrics(RunFolder(tmp_path / name)) for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two] == [0, 4, 8]
    for first, second in zip(one, two, strict=True):
        for name in first.keys() - {"stage", "seconds"}:
            assert second[name] == pytest.approx(first[name], rel=1e-5, abs=1e-6), name
