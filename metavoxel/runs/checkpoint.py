"""Save and load weights and training state as safetensors with a checksum, without pickle."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metavoxel.errors import RunError
from metavoxel.storage.atomic import replaced

_NUMBER = re.compile(r"os error (\d+)")
"""Number of the system's error in a message of safetensors."""


class DamagedError(RunError):
    """A file of weights that is truncated, or whose content differs from its checksum."""


def save_weights(path: Path, weights: Mapping[str, Tensor], numbers: Mapping[str, float] = {}) -> None:
    """Write tensors, and a few numbers as metadata, atomically and with a checksum.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    written = json.dumps(dict(numbers))
    with replaced(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"numbers": written, "checksum": _checksum(tensors, written)})
        except SafetensorError as error:
            number = _NUMBER.search(str(error))
            raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))) from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Read a file written by ``save_weights``.

    Raises:
        DamagedError: a truncated or damaged file.
        RunError: no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        numbers = json.loads(metadata.get("numbers", "{}"))
        tensors = load_file(path)
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except (SafetensorError, ValueError) as error:
        raise DamagedError(f"{path}: not a whole safetensors file ({error})") from None
    checksum = metadata.get("checksum")
    if checksum is not None and checksum != _checksum(tensors, metadata.get("numbers", "{}")):
        raise DamagedError(f"{path}: damaged: its content differs from its checksum")
    return tensors, numbers


def _checksum(tensors: Mapping[str, Tensor], numbers: str) -> str:
    digest = hashlib.blake2b(numbers.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return digest.hexdigest()


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


def training_state(
    module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Collect weights, their moving average and the optimisers' moments as named tensors."""
    tensors = {f"module/{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


def restore_training_state(
    tensors: Mapping[str, Tensor],
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: dict[str, Tensor],
) -> None:
    """Restore the tensors of ``training_state``.

    Raises:
        RunError: they are those of another model.
    """
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, rest = name.split("/", 1)
        parts[part][rest] = tensor
    try:
        module.load_state_dict(parts["module"])
    except RuntimeError as error:
        raise RunError(f"the checkpoint belongs to another schema: {error}") from None
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


def _in_layout_of(like: Tensor, tensor: Tensor) -> Tensor:
    """Copy a tensor into the memory layout of ``like``, on its device.

    A file stores all tensors in one layout. The fused AdamW pairs weights and moments by memory offset, so moments in
    the file's layout would belong to other entries of a channels-last weight.
    """
    return torch.empty_like(like, dtype=tensor.dtype, memory_format=torch.preserve_format).copy_(tensor)
