"""Train the model of a schema and write its run folder: fit codecs, cache codes, train the joint model."""

import hashlib
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import save

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.warnings import cohort_warnings
from metavoxel.errors import CohortWarning, Problem, RunError, RunWarning
from metavoxel.learning.buildable import check_buildable
from metavoxel.learning.codec_training import fit_codec
from metavoxel.learning.contracts import check_codec, check_joint
from metavoxel.learning.devices import start_fabric
from metavoxel.learning.joint_training import train_joint
from metavoxel.learning.latent_cache import LatentCache, codes_per_image, encode_column, load_cache, remove_damaged
from metavoxel.learning.missingness_weights import check_missing_weights
from metavoxel.learning.precision import flushed_denormals
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.plugins.hookspecs import API_VERSION
from metavoxel.plugins.registry import Registry, attribute_errors, load_registry
from metavoxel.preparation.cohort_record import RUN_KEY, record_preparations
from metavoxel.runs.checkpoint import DamagedError, load_module, load_weights, save_weights
from metavoxel.runs.checkpoints import MINUTES, Checkpoints
from metavoxel.runs.metrics import MetricsWriter
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder, build_codecs, build_joint, check_api, versions
from metavoxel.schema import Schema
from metavoxel.schema.differences import differing_settings
from metavoxel.schema.settings import TrainingSettings
from metavoxel.storage.atomic import write_text


def training(
    schema: Schema,
    output: Path,
    *,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "ddp",
    precision: str = "auto",
    accelerator: str = "auto",
    checkpoint_minutes: float = MINUTES,
    registry: Registry | None = None,
    split: Mapping[str, Sequence[str]] | None = None,
) -> Generator[Progress, None, None]:
    """Train a model into a run folder, yielding progress. An interrupted training can be resumed.

    Training continues from the last checkpoint, and ends with the same weights, bit for bit, as without interruption.

    Args:
        schema: schema to train.
        output: run folder. Codecs that it contains are not fitted again.
        resume: continue the run in ``output``.
        devices, nodes, strategy, precision, accelerator: see ``start_fabric``; 'auto' detects the hardware.
        checkpoint_minutes: time between checkpoints, of which a crash costs at most one interval.
        registry: types that the schema may name; by default all installed.
        split: row keys of each part, as recorded by another run; by default the schema's split.

    Raises:
        RunError: ``output`` holds another run, one that requires ``resume``, or one being trained; the precision is
            incompatible with the optimiser; or a device is missing, or has no equal share of the batch.
        SchemaError: codecs, adapters or backbone cannot be built, or exceed the memory of this machine.
        CohortError: the cohort is invalid; lists all problems, before any training.
    """
    registry = registry or load_registry()
    check_buildable(schema)
    if schema.training.optimiser == "muon" and precision == "16-mixed":
        what = "'muon' does not support precision 16-mixed, whose loss scale applies to a single optimiser"
        raise RunError(Problem("training.optimiser", f"{what}; use `precision=bf16-mixed` or 32-true, or 'adamw'"))
    with flushed_denormals():
        # Tables gain no speed from half precision, and 8-bit significands would add rounding noise to scalars.
        half = any(spec.spatial for spec in schema.specs.values())
        fabric = start_fabric(accelerator, devices, precision, half=half, nodes=nodes, strategy=strategy)
        size, processes = schema.training.batch_size, fabric.world_size
        if size is not None and size % processes:
            what = f"{size} rows cannot be shared equally by {processes} devices; use a multiple of {processes}"
            raise RunError(Problem("training.batch_size", f"{what}, such as {-(-size // processes) * processes}"))
        fabric.launch()
        folder = RunFolder(output)
        folder.claim(resume=resume)
        with folder.held() if fabric.is_global_zero else nullcontext():
            yield from _stages(schema, folder, fabric, registry, split, checkpoint_minutes, resume=resume)


def _stages(
    schema: Schema,
    folder: RunFolder,
    fabric: Fabric,
    registry: Registry,
    split: Mapping[str, Sequence[str]] | None,
    minutes: float,
    *,
    resume: bool,
) -> Generator[Progress, None, None]:
    """Run the stages of training in a claimed run folder: cohort, codecs, codes, joint model."""
    fabric.barrier()  # claim the folder in all processes before any writes to it
    cohort = read_cohort(
        schema.specs,
        schema.cohort,
        folder=schema.folder,
        multiples=schema.multiples(),
        cache=folder.cache,
        parts=split,
    )
    if fabric.is_global_zero:
        for problem in cohort_warnings(cohort):
            warnings.warn(str(problem), CohortWarning, stacklevel=2)
    check_missing_weights(schema, cohort)
    dropped = 0
    if schema.diffusion.shared_time:
        cohort, dropped = _without_incomplete(cohort)
    schema = schema.with_specs(cohort.variables)
    check_buildable(schema)
    torch.manual_seed(schema.training.seed)
    codecs = build_codecs(schema)
    record = _start_run(folder, schema, cohort, registry, fabric, dropped, resume)
    yield Progress("cohort", 1, 1, {"rows": len(cohort), "dropped": dropped})
    writer = MetricsWriter(folder, fabric)
    caches: dict[str, LatentCache] = {}
    for name, codec in codecs.items():
        with attribute_errors(schema.variables[name].parts.codec, f"variables.{name}.codec"):
            checkpoints = Checkpoints(folder.checkpoints, f"codec-{name}", minutes)
            yield from _fit_or_load(name, codec, cohort, folder, fabric, writer, checkpoints, schema.training.seed)
            check_codec(name, schema, codec, cohort)
    scalars = [name for name in codecs if not cohort.variables[name].spatial]
    for name, codec in codecs.items():
        encoded = False
        with attribute_errors(schema.variables[name].parts.codec, f"variables.{name}.codec"):
            for done, total in _encode_or_load(name, codec, cohort, folder, fabric, caches, schema.training):
                encoded = True
                if name not in scalars:
                    yield Progress(f"codes {name}", done, total, {})
        if encoded and name in scalars:  # one stage for all: a table may have hundreds of columns
            yield Progress("codes of the table", scalars.index(name) + 1, len(scalars), {})
    torch.manual_seed(schema.training.seed)
    joint = build_joint(schema, codecs)
    check_joint(schema, joint, {name: cache.first(cache.present.nonzero()[:3, 0]) for name, cache in caches.items()})
    checkpoints = Checkpoints(folder.checkpoints, "joint", minutes)
    best = yield from train_joint(joint, schema, cohort, caches, folder, fabric, writer, checkpoints)
    fabric.barrier()
    if fabric.is_global_zero:
        weights, numbers = load_weights(folder.best)
        save_weights(folder.weights, weights, numbers)
        folder.write_record({**record, "state": "finished", **best})
    fabric.barrier()


def _without_incomplete(cohort: Cohort) -> tuple[Cohort, int]:
    """Drop rows with missing variables, which one shared time cannot represent; return the number dropped."""
    complete = torch.stack([column.present for column in cohort.columns.values()]).all(0)
    parts = {part: rows[complete[rows]] for part, rows in cohort.parts.items()}
    empty = [part for part, rows in parts.items() if len(cohort.parts[part]) and not len(rows)]
    if empty:
        raise RunError(
            f"diffusion.times 'shared' requires complete rows, and {' and '.join(empty)} have none. Use 'evidence'"
        )
    dropped = sum(len(cohort.parts[part]) - len(rows) for part, rows in parts.items())
    return replace(cohort, parts=parts), dropped


def _start_run(
    folder: RunFolder,
    schema: Schema,
    cohort: Cohort,
    registry: Registry,
    fabric: Fabric,
    dropped: int,
    resume: bool,
) -> dict[str, Any]:
    text = schema.to_yaml(folder.path.resolve())
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    if resume:
        record = folder.read_record()
        check_api(folder, record)
        started = folder.schema.exists()
        if started and (differences := differing_settings(folder.schema.read_text(encoding="utf-8"), text)):
            what = "another value than in the run; resume with the run's schema, or choose another `output`"
            raise RunError(
                [Problem(f"{folder.schema}, {setting}", f"{what} ({values})") for setting, values in differences]
            )
        if not started and record.get("schema") != digest:
            raise RunError(f"{folder.path}: was started with another schema; choose another `output`")
        if record["cohort"] != cohort.fingerprint:
            raise RunError(f"{folder.path}: the cohort has changed since it was started; start a new run")
    else:
        record = {
            "state": "training",
            "versions": versions(schema, registry),
            "plugin_api": API_VERSION,
            "schema": digest,
            "cohort": cohort.fingerprint,
            "precision": str(fabric._precision.precision),
            "devices": fabric.world_size,
            "dropped_incomplete_rows": dropped,
            RUN_KEY: _preparations(cohort, fabric),
            "split": {part: [cohort.row_keys[row] for row in rows.tolist()] for part, rows in cohort.parts.items()},
        }
        started = False
    fabric.barrier()  # check in all processes before one writes
    if fabric.is_global_zero and not started:
        # The record comes first: without the schema beside it the run can be resumed, without the record it is none.
        folder.write_record(record)
        write_text(folder.schema, text)
    fabric.barrier()
    return record


def _preparations(cohort: Cohort, fabric: Fabric) -> dict[str, Any]:
    """How the images were prepared, by variable; warns where they were prepared differently."""
    found, problems = record_preparations(cohort)
    if fabric.is_global_zero:
        for problem in problems:
            warnings.warn(str(problem), CohortWarning, stacklevel=2)
    return {name: one.model_dump(mode="json") for name, one in found.items()}


def _fit_or_load(
    name: str,
    codec: AbstractCodec,
    cohort: Cohort,
    folder: RunFolder,
    fabric: Fabric,
    writer: MetricsWriter,
    checkpoints: Checkpoints,
    seed: int,
) -> Iterator[Progress]:
    path, stage = folder.codec(name), f"codec {name}"
    fitted = path.exists() and _is_loaded(codec, path)
    fabric.barrier()  # all processes check the file before one writes it
    if fitted:
        codec.to(fabric.device).eval()
        return
    for step in fit_codec(name, codec, cohort, fabric, seed=seed, checkpoints=checkpoints):
        if step.number % 50 == 0 or step.number == step.total:
            writer.write(stage, step.number, step.losses)
        yield Progress(stage, step.number, step.total, step.losses)
    if fabric.is_global_zero:
        save_weights(path, codec.state_dict())
        checkpoints.clear()
    fabric.barrier()
    if not fabric.is_global_zero:
        load_module(codec, path)  # to the last bit, as the names of cached codes depend on the weights


def _is_loaded(codec: AbstractCodec, path: Path) -> bool:
    """Load the weights of a fitted codec; a damaged file is reported, and the codec fitted anew."""
    try:
        load_module(codec, path)
    except DamagedError as error:
        warnings.warn(f"{error}; the codec is fitted again", RunWarning, stacklevel=2)
        return False
    return True


def _encode_or_load(
    name: str,
    codec: AbstractCodec,
    cohort: Cohort,
    folder: RunFolder,
    fabric: Fabric,
    caches: dict[str, LatentCache],
    settings: TrainingSettings,
) -> Iterator[tuple[int, int]]:
    """Encode one variable, or load its codes; yield the rows done and their number."""
    weights = save({key: tensor.cpu().contiguous() for key, tensor in codec.state_dict().items()})
    count = codes_per_image(len(cohort.parts["train"]))
    half = settings.cache_precision == "bfloat16" and cohort.variables[name].spatial
    content = [cohort.fingerprint.encode(), weights, str((settings.seed, count, half)).encode()]
    content += [b"indices"] if codec.indexed else []
    key = hashlib.blake2b(b"".join(content), digest_size=8).hexdigest()
    if fabric.is_global_zero:
        remove_damaged(folder.codes(name, key))
    fabric.barrier()
    yield from encode_column(
        name,
        cohort,
        codec,
        folder.codes(name, key),
        augmentations=count,
        augmented=cohort.parts["train"].tolist(),
        seed=settings.seed,
        device=str(fabric.device),
        precision=torch.bfloat16 if half else torch.float32,
    )
    caches[name] = load_cache(folder.codes(name, key), cohort.columns[name].present)
    fabric.barrier()
