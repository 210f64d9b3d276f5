"""Writing and reading weights and training state, as safetensors: nothing is ever unpickled."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metavoxel.errors import RunError


def save_weights(path: Path, weights: Mapping[str, Tensor], numbers: Mapping[str, float] = {}) -> None:
    """Write tensors, and a few numbers beside them, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(tensors, temporary, metadata={"numbers": json.dumps(dict(numbers))})
    temporary.replace(path)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Read what ``save_weights`` wrote.

    Raises:
        RunError: no such file, or not a whole one.
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
    """Fill a module from a file; the numbers beside the weights.

    Raises:
        RunError: the file does not fit the module.
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
    """Weights, their average, and the optimisers' moments in one file."""
    tensors = {f"module/{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for place, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{place}/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    save_weights(path, tensors, numbers)


def load_training_state(
    path: Path, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: dict[str, Tensor]
) -> dict[str, float]:
    """Restore what ``save_training_state`` wrote; the numbers beside it.

    Raises:
        RunError: no such file, or one of another model.
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
        average[name] = _laid_out_as(average[name], tensor)
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, tensor in parts["optimizer"].items():
        place, index, key = name.split("/")
        states[int(place)].setdefault(int(index), {})[key] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for weight, moments in optimizer.state.items():
            for key, moment in moments.items():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    moments[key] = _laid_out_as(weight, moment)
    return numbers


def _laid_out_as(like: Tensor, tensor: Tensor) -> Tensor:
    """The same numbers in the memory order of ``like``, on its device.

    A file has all tensors in one order. The fused AdamW takes weight and moments for one another by their place in
    memory, so moments in the file's order would belong to other entries of a weight whose channels come last.
    """
    return torch.empty_like(like, dtype=tensor.dtype, memory_format=torch.preserve_format).copy_(tensor)
