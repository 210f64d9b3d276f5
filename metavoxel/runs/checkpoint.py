"""Save and load weights and training state as safetensors, without pickle."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metavoxel.errors import RunError


def save_weights(path: Path, weights: Mapping[str, Tensor], numbers: Mapping[str, float] = {}) -> None:
    """Write tensors, and a few numbers as metadata, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(tensors, temporary, metadata={"numbers": json.dumps(dict(numbers))})
    temporary.replace(path)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Read a file written by ``save_weights``.

    Raises:
        RunError: no such file, or a truncated or damaged one.
    """
    try:
        with safe_open(path, "pt") as file:
            numbers = json.loads((file.metadata() or {}).get("numbers", "{}"))
        return load_file(path), numbers
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise RunError(f"{path}: not a whole safetensors file ({error})") from None


def load_module(module: nn.Module, path: Path) -> dict[str, float]:
    """Load the weights of a module from a file; return the numbers stored with them.

    Raises:
        RunError: the file does not match the module.
    """
    weights, numbers = load_weights(path)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit the schema beside it: {error}") from None
    return numbers


def save_training_state(
    path: Path,
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: Mapping[str, Tensor],
    numbers: Mapping[str, float],
) -> None:
    """Write weights, their moving average and the optimisers' moments to one file."""
    tensors = {f"module/{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    save_weights(path, tensors, numbers)


def load_training_state(
    path: Path, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: dict[str, Tensor]
) -> dict[str, float]:
    """Restore a file written by ``save_training_state``; return the numbers stored with it.

    Raises:
        RunError: no such file, or a file of another model.
    """
    tensors, numbers = load_weights(path)
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, rest = name.split("/", 1)
        parts[part][rest] = tensor
    try:
        module.load_state_dict(parts["module"])
    except RuntimeError as error:
        raise RunError(f"{path} belongs to another schema: {error}") from None
    for name, tensor in parts["average"].items():
        average[name] = _in_layout_of(average[name], tensor)
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, tensor in parts["optimizer"].items():
        number, index, key = name.split("/")
        states[int(number)].setdefault(int(index), {})[key] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for weight, moments in optimizer.state.items():
            for key, moment in moments.items():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    moments[key] = _in_layout_of(weight, moment)
    return numbers


def _in_layout_of(like: Tensor, tensor: Tensor) -> Tensor:
    """Copy a tensor into the memory layout of ``like``, on its device.

    A file stores all tensors in one layout. The fused AdamW pairs weights and moments by memory offset, so moments in
    the file's layout would belong to other entries of a channels-last weight.
    """
    return torch.empty_like(like, dtype=tensor.dtype, memory_format=torch.preserve_format).copy_(tensor)
