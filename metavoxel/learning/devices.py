"""Devices, processes and nodes that a training runs on."""

import os
from collections.abc import Iterator
from typing import Any, Literal, final

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import (
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.utilities.exceptions import MisconfigurationException

from metavoxel.errors import Problem, RunError
from metavoxel.learning.precision import resolve_precision

_UNSHARDED = (
    "is not supported: the moving average of the weights, checkpoints and the orthogonalised steps of 'muon' need "
    "whole tensors, and a model of this package fits on each device, since its memory is mostly that of a step. Use "
    "`strategy=ddp`; a smaller training.batch_size lowers the memory of a step, which `metavoxel validate` forecasts"
)


@final
class MixedPrecisionOfExactInputs(MixedPrecision):
    """Automatic mixed precision that leaves the inputs of a module as they are.

    Fabric's own rounds them: in bf16, times above .998 become 1, and states with little noise get rounding noise.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the inputs of a forward pass unchanged."""
        return data


def start_fabric(
    accelerator: str, devices: int, precision: str, *, half: bool, nodes: int = 1, strategy: str = "ddp"
) -> Fabric:
    """Configure devices and precision; 'auto' precision is bf16 only if that suffices (``half``).

    Processes are those of torchrun, or of ``srun`` with one task per device; on one node, without either, they are
    started here.

    Args:
        accelerator: 'auto', 'cpu', 'cuda' or 'mps'.
        devices: number of devices, and of processes, of each node.
        precision: as in Lightning Fabric, or 'auto'.
        half: whether half precision suffices.
        nodes: number of machines.
        strategy: 'ddp', every device with the whole model.

    Raises:
        RunError: a device or precision that this machine lacks, several nodes without a launcher, an unsupported
            strategy, or bf16 whose gradients it computes wrongly.
    """
    if problems := [*_problems(accelerator, devices, nodes, strategy)]:
        raise RunError(problems)
    # The fusion parameters of a U-Net are unused if all scalars are painted.
    several = "ddp_find_unused_parameters_true" if devices * nodes > 1 else "auto"
    resolved = resolve_precision(precision, half=half, accelerator=accelerator)
    try:
        plugins, given = _precision(resolved, accelerator)
        return Fabric(
            accelerator=accelerator,
            strategy=several,
            devices=devices,
            num_nodes=nodes,
            precision=given,
            plugins=plugins,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        where = f"accelerator {accelerator}, devices {devices}, nodes {nodes}, precision {precision}"
        raise RunError(Problem(where, str(error))) from error


def _precision(resolved: Any, accelerator: str) -> tuple[list[Any], Any]:
    """Return the plugins and the precision that Fabric is given, of which it takes one only."""
    names: dict[Any, Literal["16-mixed", "bf16-mixed"]] = {"16-mixed": "16-mixed", "bf16-mixed": "bf16-mixed"}
    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = "cuda" if cuda else "mps" if accelerator == "mps" else "cpu"
    if resolved not in names or (resolved == "16-mixed" and not cuda):
        return [], resolved
    return [MixedPrecisionOfExactInputs(names[resolved], device)], None


def _problems(accelerator: str, devices: int, nodes: int, strategy: str) -> Iterator[Problem]:
    for name, count in {"devices": devices, "nodes": nodes}.items():
        if not isinstance(count, int) or count < 1:
            yield Problem(name, f"must be a whole number from 1, not {count!r}")
            return
    if strategy == "fsdp":
        yield Problem("strategy fsdp", _UNSHARDED)
    elif strategy != "ddp":
        yield Problem(f"strategy {strategy}", "must be 'ddp', every device with the whole model")
    cuda = accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())
    existing, noun = (torch.cuda.device_count(), "GPU") if cuda else (os.cpu_count() or 1, "processor core")
    if existing and devices > existing:
        found = f"this machine has {existing} {noun}{'s' * (existing > 1)}"
        yield Problem(
            f"devices {devices}", f"{found}; use `devices={existing}` or fewer, and `nodes` for more machines"
        )
    launchers = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
    if nodes > 1 and not any(launcher.detect() for launcher in launchers):
        what = "need a launcher that starts a process per device on each: srun in a SLURM job with --ntasks-per-node"
        yield Problem(f"nodes {nodes}", f"{what}={devices}, or torchrun --nnodes {nodes} --nproc-per-node {devices}")
    started = int(os.environ.get("WORLD_SIZE", "1")) if TorchElasticEnvironment.detect() else devices * nodes
    if started != devices * nodes:
        what = f"torchrun has started {started} processes, and `devices` times `nodes` is {devices * nodes}"
        yield Problem("devices, nodes", f"{what}: use the numbers that torchrun has, --nproc-per-node and --nnodes")
