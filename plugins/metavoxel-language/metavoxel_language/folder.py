"""A folder with a pretrained model, in the format of transformers: ``config.json`` and safetensors.

Nothing of it is executed or unpickled, and no other file is read.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from metavoxel.errors import Problem, RunError
from metavoxel.storage.digests import FileDigests
from metavoxel_language.config import LlamaConfig

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
EMBEDDINGS = "embed_tokens.weight"
"""Name of the word embeddings, without prefix."""
FREQUENT = 4096
"""Number of the first word embeddings, those of the most frequent pieces, whose size is measured."""

_PREFIX = "model."
"""First part of the names of tensors where the file is of a model with its head."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CONVERT = (
    "python -c 'from transformers import AutoModelForCausalLM as M; "
    'M.from_pretrained("FOLDER").save_pretrained("NEW_FOLDER")\''
)
_LFS = b"version https://git-lfs"
_FLOATS = ("F64", "F32", "F16", "BF16")
_SHOWN = 3


@final
class ModelFolder:
    """The weights of a Llama-type decoder. All problems of a folder are reported by ``problems``.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def config(self) -> LlamaConfig:
        """Read the architecture.

        Raises:
            OSError, ValueError: no such file, or another architecture.
        """
        return LlamaConfig.model_validate(json.loads((self.path / CONFIG).read_text(encoding="utf-8")))

    def digest(self) -> str | None:
        """Return a digest of the contents of all files that are used; None if one cannot be read."""
        try:
            names = [CONFIG, *([INDEX] if self._indexed else []), *sorted(set(self._files().values()))]
        except (OSError, ValueError):
            return None
        files = FileDigests(None)
        content = [[name, files.of(str(self.path / name))] for name in names]
        whole = all(digest is not None for _, digest in content)
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest() if whole else None

    def problems(self, layers: int | None) -> Iterator[str]:
        """Yield the reasons why the first ``layers`` layers (None: all) cannot be read, without reading weights."""
        if not self.path.is_dir():
            yield self._no_folder()
            return
        config = None
        try:
            config = self.config()
        except FileNotFoundError:
            yield f"folder {self.path} has no {CONFIG}; give the folder of a model in the format of transformers"
        except ValidationError as error:
            yield from _other_architecture(self.path / CONFIG, error)
        except (OSError, ValueError) as error:
            yield f"{self.path / CONFIG} cannot be read ({_first(error)})"
        if config is not None and layers is not None and layers > config.num_hidden_layers:
            yield f"layers {layers} are more than the {config.num_hidden_layers} of {self.path}; choose fewer"
            return
        try:
            found = dict(self._shapes())
        except FileNotFoundError:
            yield self._no_weights()
            return
        except (OSError, ValueError) as error:
            yield str(error)
            return
        if config is not None:
            yield from self._misfits(config, layers or config.num_hidden_layers, found)

    def _no_folder(self) -> str:
        if self.path.exists():
            if self.path.suffix == ".gguf":
                return f"{self.path} is a GGUF file; convert it: python -m metavoxel_language.convert FILE FOLDER"
            return f"{self.path} is a file; give a folder with {CONFIG} and {WEIGHTS}"
        return f"no folder {self.path}; give a folder with {CONFIG} and {WEIGHTS} of a model of type llama"

    def _no_weights(self) -> str:
        pickled = sorted(file.name for pattern in _PICKLED for file in self.path.glob(pattern))
        if pickled:
            return (
                f"folder {self.path} has pickled weights alone ({', '.join(pickled[:_SHOWN])}): reading them could "
                f"execute code; refused. If you trust their source, convert them once, on a machine without your data: "
                f"{_CONVERT}"
            )
        return f"folder {self.path} has no {WEIGHTS}; give the folder of a model in the format of transformers"

    def _misfits(self, config: LlamaConfig, layers: int, found: Mapping[str, tuple[tuple[int, ...], str]]) -> list[str]:
        """Describe tensors that ``config.json`` needs, and the files do not have."""
        wrong = []
        needed = [*config.tensors(layers), (EMBEDDINGS, (config.vocab_size, config.hidden_size))]
        for name, shape in needed:
            if name not in found:
                wrong.append(f"{name} is missing")
            elif found[name][0] != shape:
                wrong.append(f"{name} has shape {list(found[name][0])}, not {list(shape)}")
            elif found[name][1] not in _FLOATS:
                wrong.append(f"{name} is {found[name][1]}, not one of {', '.join(_FLOATS)}")
        if not wrong:
            return []
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        what = f"{'; '.join(wrong[:_SHOWN])}{more}"
        return [f"the weights of {self.path} are of another architecture than its {CONFIG}: {what}"]

    @property
    def _indexed(self) -> bool:
        """Whether the weights are in several files."""
        return (self.path / INDEX).is_file() and not (self.path / WEIGHTS).is_file()

    def _files(self) -> dict[str, str]:
        """Return the file of each tensor in several files; of all tensors, under the name '', in one.

        Raises:
            ValueError: an index that is no JSON, or names a file outside the folder.
        """
        if not self._indexed:
            return {"": WEIGHTS}
        try:
            files: Any = json.loads((self.path / INDEX).read_text(encoding="utf-8"))["weight_map"]
            names = {str(tensor): str(file) for tensor, file in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{self.path / INDEX} has no 'weight_map' of tensors to files") from None
        for file in names.values():
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise ValueError(f"{self.path / INDEX} names {file!r}, which is no safetensors file of its folder")
        return names

    def _shapes(self) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
        """Yield name (without prefix), shape and type of all tensors, from the headers.

        Raises:
            FileNotFoundError: no weights.
            ValueError: a damaged file.
        """
        for file in sorted(set(self._files().values())):
            with _opened(self.path / file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    part = tensors.get_slice(name)
                    yield name.removeprefix(_PREFIX), (tuple(part.get_shape()), part.get_dtype())

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield tensors by name, without prefix.

        Raises:
            RunError: numbers that are not finite.
            OSError, ValueError: a damaged file.
        """
        for file in sorted(set(self._files().values())):
            with _opened(self.path / file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    bare = name.removeprefix(_PREFIX)
                    if bare in names:
                        yield bare, self._finite(bare, tensors.get_tensor(name))

    def embeddings(self, row: int) -> tuple[Float[Tensor, "h"], float]:
        """Return one word embedding, and the root mean square of those of frequent pieces."""
        ((_, table),) = self.read([EMBEDDINGS])
        frequent = table[:FREQUENT].float()
        return table[row].float(), float(frequent.square().mean().sqrt())

    def _finite(self, name: str, tensor: Tensor) -> Tensor:
        if not bool(torch.isfinite(tensor).all()):
            what = f"{name} of {self.path} has numbers that are not finite; copy the folder again from its source"
            raise RunError(Problem("backbone", what))
        return tensor


def _opened(path: Path) -> Any:
    """Open a safetensors file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file.
    """
    try:
        return safe_open(path, "pt")
    except FileNotFoundError:
        if path.name == WEIGHTS:
            raise
        raise ValueError(f"{path}, which {INDEX} names, is missing; copy the folder again") from None
    except SafetensorError as error:
        with path.open("rb") as file:
            pointer = file.read(len(_LFS)) == _LFS
        what = "a pointer of Git LFS, not the file itself: git lfs pull" if pointer else f"damaged ({_first(error)})"
        raise ValueError(f"{path} is {what}") from None


def _other_architecture(path: Path, error: ValidationError) -> Iterator[str]:
    """Describe the settings of a model that this decoder is not; of another type, the type alone."""
    details = error.errors()
    for detail in details:
        if detail["loc"] == ("model_type",):
            given = "no type" if detail["type"] == "missing" else f"type {str(detail['input'])[:80]!r}"
            yield f"{path} is of a model of {given}; type 'llama' is read (Llama, SmolLM2, TinyLlama)"
            return
    for detail in details:
        name = ".".join(str(step) for step in detail["loc"]) or "the file"
        if detail["type"] == "missing":
            yield f"{path} has no {name}"
        elif detail["type"] in ("literal_error", "none_required"):
            yield f"{path} is of another architecture: {name} is {str(detail['input'])[:80]!r} ({detail['msg']})"
        else:
            yield f"{path}: {name}: {detail['msg'].removeprefix('Value error, ')}"


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
