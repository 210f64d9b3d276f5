"""Run folders: their files, and loading the trained model."""

import importlib.metadata
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from filelock import FileLock, Timeout

from metavoxel.errors import Problem, RunError, SchemaError
from metavoxel.inference.model import Model
from metavoxel.network.joint import JointModel
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.plugins.hookspecs import API_VERSION
from metavoxel.plugins.registry import KNOWN_PLUGINS, Origin, Registry, attribute_errors, load_registry
from metavoxel.preparation.cohort_record import CohortPreparation, read_preparations
from metavoxel.runs.checkpoint import load_module
from metavoxel.schema import Schema, load_schema
from metavoxel.storage.atomic import located, write_text


@final
class RunFolder:
    """Paths of a run folder, and its record ``run.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema = path / "schema.yaml"
        self.record = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "model.safetensors"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.safetensors"
        self.events = path / "events"
        self.cache = path / "cache"
        self.lock = self.checkpoints / "training.lock"

    def codec(self, name: str) -> Path:
        """Path of the weights of a fitted codec."""
        return self.path / "codecs" / f"{name}.safetensors"

    def codes(self, name: str, key: str) -> Path:
        """Folder of cached codes; ``key`` changes with the codec's weights and the cohort."""
        return self.cache / f"{name}-codes-{key}"

    def claim(self, *, resume: bool) -> None:
        """Create the folder, or check that it contains a run to ``resume``.

        Raises:
            RunError: it contains another run or a file that would be overwritten, has no run to resume, or cannot be
                created.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; choose another `output`")
        if self.record.exists() and not resume:
            what = "holds a run already. Continue it with `resume=True`, or choose another `output`"
            raise RunError(f"{self.path}: {what}")
        if resume and not self.record.exists():
            raise RunError(f"{self.path}: no run to resume; omit `resume` to start one")
        if self.schema.exists() and not resume:
            raise RunError(f"{self.schema}: would be overwritten, and is not a run's; choose another `output`")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be made ({error.strerror}); choose another `output`") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise RunError(f"{self.path}: is read-only; make it writable, or choose another `output`")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the existing folder against training by another process, and remove what a crash left half written.

        Raises:
            RunError: another process holds the lock, or the folder cannot be written.
        """
        lock = FileLock(self.lock, timeout=0)
        with located(self.lock):
            self.lock.parent.mkdir(exist_ok=True)
            try:
                lock.acquire()
            except Timeout:  # an OSError too, but no failure of writing
                raise RunError(
                    f"{self.path}: is being trained by another process. Wait for it, or choose another `output`"
                ) from None
        try:
            for folder in (self.path, self.checkpoints, self.path / "codecs"):
                for leftover in (*folder.glob(".*.partial"), *folder.glob(".tmp*")):  # the latter by safetensors
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def read_record(self) -> dict[str, Any]:
        """Read ``run.json``.

        Raises:
            RunError: not a run folder.
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.path}: not a run folder (it has no run.json)") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{self.record}: not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise RunError(f"{self.record}: not the record of a run")
        return record

    def preparations(self) -> dict[str, CohortPreparation]:
        """Read how the training images were prepared, by variable; empty if that was not recorded.

        Raises:
            RunError: not a run folder, or a damaged record.
        """
        return read_preparations(self.read_record(), self.record)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace ``run.json`` atomically.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        write_text(self.record, json.dumps(record, indent=2) + "\n")


def check_api(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Refuse a run whose weights are of networks that this version does not build.

    Raises:
        RunError: it was trained with another plugin API.
    """
    trained = record.get("plugin_api", 1)
    if trained != API_VERSION:
        version = record.get("versions", {}).get("metavoxel", "unknown")
        raise RunError(
            f"{folder.path}: was trained with plugin API {trained} (metavoxel {version}), whose networks have other "
            f"parts than those of API {API_VERSION}. Load it with the version that trained it, or train it again from "
            "its schema.yaml"
        )


def versions(schema: Schema, registry: Registry) -> dict[str, str]:
    """Collect the versions of metavoxel, torch and every plugin that a schema uses."""
    used: set[Origin] = {registry.origin("backbones", schema.backbone.type)}
    for variable in schema.variables.values():
        used.add(registry.origin("variables", variable.spec.type))
        used.add(registry.origin("codecs", variable.parts.codec.type))
        used.add(registry.origin("kernels", variable.parts.kernel.type))
        used.add(registry.origin("adapters", variable.parts.adapter.type))
    found = {"torch": torch.__version__, "metavoxel": importlib.metadata.version("metavoxel")}
    return found | {origin.distribution: origin.version for origin in sorted(used)}


def build_codecs(schema: Schema) -> dict[str, AbstractCodec]:
    """Build unfitted codecs of all variables."""
    codecs = {}
    for name, (spec, parts) in schema.variables.items():
        with attribute_errors(parts.codec, f"variables.{name}.codec"):
            codecs[name] = parts.codec.build(spec.data_shape)
    return codecs


def build_joint(schema: Schema, codecs: Mapping[str, AbstractCodec]) -> JointModel:
    """Build an untrained joint network for these codecs."""
    shapes = {name: codec.code_shape for name, codec in codecs.items()}
    return JointModel(
        schema.variables, shapes, schema.backbone,
        shared_time=schema.diffusion.shared_time, factors=schema.diffusion.factors,
        bands={name: codec.bands for name, codec in codecs.items() if codec.bands is not None},
    )  # fmt: skip


def resolved_device(device: object, where: str) -> str:
    """Return a device that computes here; 'auto' is cuda if available.

    Raises:
        RunError: an unavailable device, named as ``where``.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.zeros(1, device=device, dtype=torch.float64).device)  # type: ignore[call-overload]
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        what = f"not a device of this machine ({str(error).splitlines()[0]}); use auto"
        raise RunError(Problem(where, what)) from None


def load(path: Path | str, *, registry: Registry | None = None, device: str = "cpu") -> Model:
    """Load the model of a run folder. Nothing in the folder is executed or unpickled.

    Raises:
        RunError: not a finished run, or a required plugin is not installed.
    """
    folder = RunFolder(Path(path))
    registry = registry or load_registry()
    record = folder.read_record()
    check_api(folder, record)
    if not folder.weights.exists():
        raise RunError(
            f"{path}: its training has not finished; continue it with: metavoxel train SCHEMA --output {path} --resume"
        )
    _check_plugins(folder, record, registry)
    try:
        schema = load_schema(folder.schema, registry)
        codecs = build_codecs(without_initial_weights(schema))
    except SchemaError as error:
        raise RunError(
            [Problem(f"{folder.schema}: {problem.where}", problem.what) for problem in error.problems]
        ) from error
    joint = build_joint(schema, codecs)
    for name, codec in codecs.items():
        load_module(codec, folder.codec(name))
        codec.to(device)
    load_module(joint, folder.weights)
    return Model(schema, codecs, joint.to(device))


def without_initial_weights(schema: Schema) -> Schema:
    """Unset every codec's initial ``weights``, a file outside the run: the run contains the fitted weights."""
    variables = {}
    for name, variable in schema.variables.items():
        codec = variable.parts.codec
        if "weights" in type(codec).model_fields:
            codec = codec.model_copy(update={"weights": None})
        variables[name] = variable._replace(parts=variable.parts._replace(codec=codec))
    return replace(schema, variables=variables)


def _printable(text: str) -> str:
    """Replace characters that could end a message or begin a command; shorten long texts."""
    return re.sub(r"[^\w.+-]", "?", text)[:80]


def _check_plugins(folder: RunFolder, record: Mapping[str, Any], registry: Registry) -> None:
    core = {"torch", "metavoxel"}
    installed = {origin.distribution: origin for entries in registry.entries.values() for _, origin in entries.values()}
    problems = []
    for distribution, version in record.get("versions", {}).items():
        distribution, version = (_printable(str(name)) for name in (distribution, version))
        if distribution in core:
            continue
        if distribution not in installed:
            # Names in a record may be a stranger's: only the project's own become part of a command to paste.
            known = distribution in KNOWN_PLUGINS.values()
            remedy = f": pip install {distribution}" if known else "; install it if you trust its authors"
            what = f"needs the plugin {distribution} {version}, which is not installed{remedy}"
            problems.append(Problem(str(folder.path), what))
        elif installed[distribution].version.split(".")[0] != version.split(".")[0]:
            what = f"was made with {distribution} {version}, and {installed[distribution].version} is installed"
            problems.append(Problem(str(folder.path), f"{what}; install the version that made it"))
    if problems:
        raise RunError(problems)
