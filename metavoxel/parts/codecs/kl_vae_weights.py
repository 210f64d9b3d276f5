"""Weights of KL autoencoders from files: a run's own codec, or a published ``AutoencoderKL``.

Published files differ in the names of their layers alone:

* ``monai``: MONAI's ``AutoencoderKL``;
* ``generative``: MONAI Generative's (Pinaya et al. 2023, arXiv:2307.15208), as in BrLP (Puglisi et al. 2024) and in the
  brain model of Pinaya et al. 2022 (arXiv:2209.07162), where the convolution after an upsampling is ``conv``;
* ``maisi``: MAISI's (Guo et al. 2024, arXiv:2409.11169), with one more module around every convolution, and with linear
  interpolation in the decoder.

Nothing in a file is executed: safetensors, or torch files of which only tensors are unpickled.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from metavoxel.errors import Problem, RunError

Layout = Literal["monai", "generative", "maisi"]

OWN = "mean_image"
"""Name of a tensor that only a run's codec has."""

PUBLISHED_GROUPS = 32
"""Groups of the normalisation in all published networks. A file does not record them."""

_WRAPPERS = ("state_dict", "unet_state_dict", "autoencoder_state_dict", "model_state_dict", "model")
_UPSAMPLING = re.compile(r"^(decoder\.blocks\.\d+)\.conv\.conv\.(weight|bias)$")
_NESTED = re.compile(r"^((?:en|de)coder\.blocks\.\d+\.(?:\w+\.)?)conv\.(conv\.(?:weight|bias))$")
_SHOWN = 4
_CONVERT = (
    'python -c \'import torch, safetensors.torch; safetensors.torch.save_file(torch.load("FILE", weights_only=False), '
    '"FILE.safetensors")\''
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a safetensors file, or of a torch file without anything else in it.

    State dictionaries inside a checkpoint, and names from data-parallel training (``module.``), are unwrapped.

    Raises:
        RunError: no such file, neither format, or a pickle with objects other than tensors, which could execute code.
    """
    where = f"codec weights {path}"
    try:
        with path.open("rb") as file:
            # Of a path, torch.load would take the suffix for the format.
            is_safetensors = file.read(9)[8:] == b"{"
            file.seek(0)
            found = load_file(path) if is_safetensors else torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"codec weights: no file {path}") from None
    except (SafetensorError, OSError, EOFError) as error:
        raise RunError(Problem(where, f"not a whole safetensors or torch file ({_first(error)})")) from None
    except Exception as error:  # the unpickler's error class is in a module that is never imported here
        raise RunError(Problem(where, _refusal(str(error)))) from None
    for name in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise RunError(Problem(where, "holds no state dictionary (names and tensors)"))
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _refusal(message: str) -> str:
    if "eights only load failed" not in message:
        return f"not a whole safetensors or torch file ({message.splitlines()[0] if message else 'empty'})"
    named = re.search(r"GLOBAL ([\w.]+)", message)
    what = f" (it names {named[1]})" if named else ""
    return (
        f"not a file of tensors alone{what}: reading it could execute code; refused. If you trust its source, convert "
        f"it once, on a machine without your data: {_CONVERT}"
    )


def layout_of(weights: Mapping[str, Tensor]) -> Layout | None:
    """Return the layout of an ``AutoencoderKL``'s names; None if they are of another network."""
    if "quant_conv_mu.conv.weight" not in weights or "encoder.blocks.0.conv.weight" not in {
        monai_name(name, "maisi") for name in weights
    }:
        return None
    if any(".conv1.conv.conv." in name for name in weights):
        return "maisi"
    return "generative" if any(_UPSAMPLING.match(name) for name in weights) else "monai"


def monai_name(name: str, layout: Layout) -> str:
    """Return MONAI's name of a published tensor."""
    if layout == "maisi":
        name = _NESTED.sub(r"\1\2", name)
    return name if layout == "monai" else _UPSAMPLING.sub(r"\1.postconv.conv.\2", name)


class PublishedSettings(NamedTuple):
    """Settings of the ``kl_vae`` codec that build the network of a published file."""

    downsampling: int
    latent_channels: int
    channels: tuple[int, ...]
    residual_blocks: int
    upsampling: Literal["nearest", "linear"]
    linear_path: bool = False
    norm_groups: int = PUBLISHED_GROUPS

    def __str__(self) -> str:
        settings = {**self._asdict(), "channels": list(self.channels), "linear_path": "false"}
        return "{type: kl_vae, weights: ..., " + ", ".join(f"{name}: {value}" for name, value in settings.items()) + "}"


def published_settings(weights: Mapping[str, Tensor], layout: Layout) -> PublishedSettings:
    """Derive the settings from names and shapes of an encoder's tensors."""
    shapes = {monai_name(name, layout): tuple(value.shape) for name, value in weights.items()}
    widths: list[list[int]] = [[]]
    for block in range(sum(name.startswith("encoder.blocks.") for name in shapes)):
        prefix = f"encoder.blocks.{block}"
        if f"{prefix}.conv1.conv.weight" in shapes:
            widths[-1].append(shapes[f"{prefix}.conv1.conv.weight"][0])
        elif f"{prefix}.conv.conv.weight" in shapes:
            widths.append([])
    return PublishedSettings(
        downsampling=2 ** (len(widths) - 1),
        latent_channels=shapes["quant_conv_mu.conv.weight"][0],
        channels=tuple(level[-1] for level in widths if level),
        residual_blocks=max(map(len, widths)),
        upsampling="linear" if layout == "maisi" else "nearest",
    )


def published_weights(
    path: Path, weights: Mapping[str, Tensor], network: Mapping[str, Tensor], chosen: PublishedSettings
) -> dict[str, Tensor]:
    """Return a published file's tensors by MONAI's names.

    Args:
        path: of the file, for messages.
        weights: its tensors.
        network: tensors of the network of the schema.
        chosen: the schema's settings.

    Raises:
        RunError: weights of another architecture, with the settings that would fit them if there are any.
    """
    where, layout = f"codec weights {path}", layout_of(weights)
    if layout is None:
        what = (
            "are of no known layout (a run's codec, or an AutoencoderKL named as in MONAI, MONAI Generative or MAISI)"
        )
        raise RunError(
            Problem(where, f"do not fit this schema's codec and {what}: the file {mismatch(weights, network)}")
        )
    renamed = {monai_name(name, layout): value.float() for name, value in weights.items()}
    found = published_settings(weights, layout)
    differences = mismatch(renamed, network)
    if differences or found._replace(norm_groups=0) != chosen._replace(norm_groups=0):
        difference = f": the file {differences}" if differences else ""
        remedy = f"an AutoencoderKL of this file's layers and layout ({layout}) needs codec: {found}"
        raise RunError(Problem(where, f"do not fit this schema's codec{difference}; {remedy}"))
    if not chosen.norm_groups:
        what = f"the groups of its normalisation are not recorded in a file of this layout ({layout})"
        raise RunError(Problem(where, f"{what}; set 'norm_groups: {PUBLISHED_GROUPS}', that of published networks"))
    return renamed


def mismatch(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """Describe names that are missing or surplus and shapes that differ; None if there are none."""
    lacking = [f"{name} {list(value.shape)}" for name, value in expected.items() if name not in found]
    surplus = [f"{name} {list(value.shape)}" for name, value in found.items() if name not in expected]
    shapes = [
        f"{name} {list(found[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    parts = [_listed("lacks", lacking), _listed("has unexpected", surplus), _listed("has", shapes)]
    return "; ".join(filter(None, parts)) or None


def _listed(word: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{word} {', '.join(names[:_SHOWN])}{more}" if names else ""
