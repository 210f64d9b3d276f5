"""Memory of a training step on its device, from shapes alone: a step is traced on the meta device.

Held throughout are each weight with its gradient, two moments and moving average, and the buffers of the Gaussian
baseline. In a step there is in addition the larger of

    the batch, all tensors that autograd keeps for the backward pass, and gradients as large as ``GRADIENTS`` times
    the largest of these;
    the batch, and the work space of the residual fields: matrices of all frequencies, and maps of the batch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metavoxel.learning.objective import Corrupted
from metavoxel.network.baseline.baseline import BaselineOutputs
from metavoxel.network.joint import JointModel
from metavoxel.typing import AnyCode, AnyMask, AnyTime

COPIES = 5
"""Tensors held per weight: the weight, its gradient, two moments and the moving average."""
GRADIENTS = 3
MAPS = 12
"""Maps of a batch that the conjugate gradients of a residual field hold, in single precision."""


class DeviceMemory(NamedTuple):
    """Bytes of the weights with their optimiser and of the baseline, and those of one step of training."""

    weights: int
    baseline: int
    step: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.weights + self.baseline + self.step


def device_memory(joint: JointModel, rows: int, token_rows: int) -> DeviceMemory:
    """Forecast the memory of training a model, whose baseline is replaced: it is of no further use.

    Args:
        joint: model on the meta device.
        rows: rows per step and device that pass through the whole network.
        token_rows: further ones, of tokens alone.
    """
    weights = COPIES * sum(weight.nbytes for weight in joint.parameters())
    baseline = sum(buffer.nbytes for buffer in joint.buffers())
    matrices = sum(buffer.nbytes for field in joint.baseline.fields.values() for buffer in field.buffers())
    batch = len(Corrupted._fields) * sum(
        (rows + token_rows) * _state(joint, name, 1).nbytes for name in joint.code_shapes
    )
    fields = matrices + MAPS * batch // len(Corrupted._fields) if matrices else 0
    kept = _kept(joint, rows, token_rows)
    return DeviceMemory(weights, baseline, batch + max(sum(kept) + GRADIENTS * max(kept, default=0), fields))


def _state(joint: JointModel, name: str, rows: int) -> Tensor:
    """Return states of zeros of one variable, of the right shape and type."""
    shape = joint.code_shapes[name]
    if joint.kernels[name].indexed:
        return torch.zeros(rows, 1, *shape[1:], dtype=torch.int64)
    return torch.zeros(rows, *shape)


class _Zeros(nn.Module):
    """A baseline of the right shapes whose values are not computed, as they depend on no weight. Final."""

    def __init__(self, joint: JointModel) -> None:
        super().__init__()
        self._sizes = {name: context.expected for name, context in joint.contexts.items()}
        self._outputs = {
            name: (context.features.outputs, *context.code_shape[1:])
            for name, context in joint.contexts.items()
            if context.features is not None
        }

    def forward(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> BaselineOutputs:
        """Return zeros."""
        rows = len(next(iter(states.values())))
        expected = {name: torch.zeros(rows, size) for name, size in self._sizes.items()}
        outputs = {name: torch.zeros(rows, *self._outputs[name]) if name in self._outputs else None for name in states}
        return BaselineOutputs(expected, outputs)


def _kept(joint: JointModel, rows: int, token_rows: int) -> list[int]:
    """Return the sizes of all tensors that autograd keeps in a step, without the weights."""
    weights = {weight.untyped_storage()._cdata for weight in joint.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor  # held, so that no other storage gets its address
        return tensor

    joint.baseline = _Zeros(joint)  # type: ignore[assignment]
    joint.train()
    with torch.device("meta"), torch.enable_grad():
        total = rows + token_rows
        states = {name: _state(joint, name, total) for name in joint.code_shapes}
        times = {name: torch.zeros(total, dtype=torch.float64) for name in states}
        observed = {
            name: torch.zeros(total, 1, *shape[1:], dtype=torch.bool) for name, shape in joint.code_shapes.items()
        }
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            predictions = joint(states, times, observed, grid_rows=rows if token_rows else None)
            torch.stack([prediction.square().sum() for prediction in predictions.values()]).sum()
    return [tensor.untyped_storage().nbytes() for tensor in kept.values()]
