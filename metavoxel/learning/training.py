"""Training from a schema to a run folder: fit codecs, cache codes, train the joint model."""

import hashlib
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from safetensors.torch import save
from torch import Tensor

from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.warnings import cohort_warnings
from metavoxel.errors import CohortWarning, Problem, RunError
from metavoxel.learning.buildable import check_buildable
from metavoxel.learning.codec_training import fit_codec
from metavoxel.learning.contracts import check_codec, check_joint
from metavoxel.learning.joint_training import train_joint
from metavoxel.learning.latent_cache import LatentCache, bank, encode_column, load_bank, save_bank
from metavoxel.learning.missingness_weights import check_missing_weights
from metavoxel.learning.precision import flushed_denormals, resolve_precision
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.plugins.registry import Registry, attribute_errors, load_registry
from metavoxel.runs.checkpoint import load_module, load_weights, save_weights
from metavoxel.runs.metrics import MetricsWriter
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder, build_codecs, build_joint, versions
from metavoxel.schema import Schema

VARIED_IMAGES = 1000
VERSIONS_OF_AN_IMAGE = (2, 6)
"""Codes of a training image that are cached, the fewest and the most: its own and varied ones, as many as make about
``VARIED_IMAGES`` of a cohort, for the smaller it is, the more it needs them."""


def training(
    schema: Schema,
    output: Path,
    *,
    resume: bool = False,
    devices: int = 1,
    precision: str = "auto",
    accelerator: str = "auto",
    registry: Registry | None = None,
    split: Mapping[str, Sequence[str]] | None = None,
) -> Generator[Progress, None, None]:
    """Train, yielding progress; what is in ``output`` afterwards can be loaded. Stopping early loses nothing.

    Args:
        schema: what to train.
        output: run folder. Codecs that are in it already are taken as they are.
        resume: continue the run in it.
        devices, precision, accelerator: as Fabric has them; 'auto' finds what is there.
        registry: types that the schema names; by default all that are installed.
        split: keys of the rows of each part, as another run recorded them, instead of the schema's split.

    Raises:
        RunError: ``output`` holds another run, one to be continued with ``resume``, or one that is being trained; or a
            precision that the schema's optimiser does not go with.
        SchemaError: codecs, adapters or a backbone that cannot be built, or are too large for this machine.
        CohortError: all that is wrong with the cohort, before any training.
    """
    registry = registry or load_registry()
    check_buildable(schema)
    if schema.training.optimiser == "muon" and precision == "16-mixed":
        what = "'muon' does not go with precision 16-mixed, whose scale is of one optimiser alone"
        raise RunError(Problem("training.optimiser", f"{what}; use --precision bf16-mixed or 32-true, or 'adamw'"))
    with flushed_denormals():
        # Tables are as fast without, and numbers need their digits: 8 bits of a scalar are a noise of their own.
        half = any(spec.spatial for spec in schema.specs.values())
        fabric = start_fabric(accelerator, devices, precision, half=half)
        fabric.launch()
        folder = RunFolder(output)
        folder.claim(resume=resume)
        with folder.held() if fabric.is_global_zero else nullcontext():
            yield from _stages(schema, folder, fabric, registry, split, resume=resume)


def _stages(
    schema: Schema,
    folder: RunFolder,
    fabric: Fabric,
    registry: Registry,
    split: Mapping[str, Sequence[str]] | None,
    *,
    resume: bool,
) -> Generator[Progress, None, None]:
    """Read, encode and train, in a folder that is this training's own."""
    fabric.barrier()  # no process may take what another has just begun for a run of old
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
    if schema.diffusion.times == "shared":
        cohort, dropped = _without_incomplete(cohort)
    schema = schema.with_specs(cohort.variables)
    check_buildable(schema)
    torch.manual_seed(schema.training.seed)
    codecs = build_codecs(schema)
    record = _begin(folder, schema, cohort, registry, fabric, dropped, resume)
    yield Progress("cohort", 1, 1, {"rows": len(cohort), "dropped": dropped})
    writer = MetricsWriter(folder, fabric)
    banks: dict[str, LatentCache] = {}
    for name, codec in codecs.items():
        with attribute_errors(schema.variables[name].parts.codec, f"variables.{name}.codec"):
            yield from _codec(name, codec, cohort, folder, fabric, writer, schema.training.seed)
            check_codec(name, schema, codec, cohort)
    for name, codec in codecs.items():
        with attribute_errors(schema.variables[name].parts.codec, f"variables.{name}.codec"):
            yield from _codes(name, codec, cohort, folder, fabric, banks, schema.training.seed)
    torch.manual_seed(schema.training.seed)
    joint = build_joint(schema, codecs)
    check_joint(schema, joint, {name: bank.mean[bank.present.nonzero()[:3, 0], 0] for name, bank in banks.items()})
    best = yield from train_joint(joint, schema, cohort, banks, folder, fabric, writer)
    fabric.barrier()
    if fabric.is_global_zero:
        weights, numbers = load_weights(folder.best)
        save_weights(folder.weights, weights, numbers)
        folder.write_record({**record, "state": "finished", **best})
    fabric.barrier()


def start_fabric(accelerator: str, devices: int, precision: str, *, half: bool) -> Fabric:
    """Devices and arithmetic of a training; 'auto' is half precision only where it would do (``half``).

    Raises:
        RunError: what this machine does not have, or computes wrongly.
    """
    # A U-Net whose scalars are all painted leaves its fusion unused.
    strategy = "ddp_find_unused_parameters_true" if devices > 1 else "auto"
    arithmetic: Any = resolve_precision(precision, half=half, accelerator=accelerator)
    try:
        return Fabric(accelerator=accelerator, strategy=strategy, devices=devices, precision=arithmetic)
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        where = f"accelerator {accelerator}, devices {devices}, precision {precision}"
        raise RunError(Problem(where, str(error))) from error


def _without_incomplete(cohort: Cohort) -> tuple[Cohort, int]:
    """Rows that miss a variable leave the parts: one shared time has no way to say that a datum is absent."""
    complete = torch.stack([column.present for column in cohort.columns.values()]).all(0)
    parts = {part: rows[complete[rows]] for part, rows in cohort.parts.items()}
    empty = [part for part, rows in parts.items() if len(cohort.parts[part]) and not len(rows)]
    if empty:
        raise RunError(
            f"diffusion.times 'shared' needs complete rows, and no row of {' and '.join(empty)} is. Use 'evidence'"
        )
    dropped = sum(len(cohort.parts[part]) - len(rows) for part, rows in parts.items())
    return replace(cohort, parts=parts), dropped


def _begin(
    folder: RunFolder,
    schema: Schema,
    cohort: Cohort,
    registry: Registry,
    fabric: Fabric,
    dropped: int,
    resume: bool,
) -> dict[str, Any]:
    text = schema.to_yaml(folder.path.resolve())
    if resume:
        record = folder.read_record()
        if folder.schema.read_text(encoding="utf-8") != text:
            raise RunError(
                f"{folder.path}: was started with another schema; resume with that, or choose another --output"
            )
        if record["cohort"] != cohort.fingerprint:
            raise RunError(f"{folder.path}: the cohort has changed since it was started; start a new run")
        return record
    record = {
        "state": "training",
        "versions": versions(schema, registry),
        "cohort": cohort.fingerprint,
        "precision": str(fabric._precision.precision),
        "devices": fabric.world_size,
        "dropped_incomplete_rows": dropped,
        "split": {part: [cohort.row_keys[row] for row in rows.tolist()] for part, rows in cohort.parts.items()},
    }
    if fabric.is_global_zero:
        folder.schema.write_text(text, encoding="utf-8")
        folder.write_record(record)
    fabric.barrier()
    return record


def _codec(
    name: str, codec: AbstractCodec, cohort: Cohort, folder: RunFolder, fabric: Fabric, writer: MetricsWriter, seed: int
) -> Iterator[Progress]:
    path, stage = folder.codec(name), f"codec {name}"
    fitted = path.exists()
    fabric.barrier()  # no process may see the file that another has just written
    if fitted:
        load_module(codec, path)
        codec.to(fabric.device).eval()
        return
    for step in fit_codec(name, codec, cohort, fabric, seed=seed, checkpoint=folder.codec_state(name)):
        if step.number % 50 == 0 or step.number == step.total:
            writer.write(stage, step.number, step.losses)
        yield Progress(stage, step.number, step.total, step.losses)
    if fabric.is_global_zero:
        save_weights(path, codec.state_dict())
        folder.codec_state(name).unlink(missing_ok=True)
    fabric.barrier()


def _codes(
    name: str,
    codec: AbstractCodec,
    cohort: Cohort,
    folder: RunFolder,
    fabric: Fabric,
    banks: dict[str, LatentCache],
    seed: int,
) -> Iterator[Progress]:
    weights = save({key: tensor.cpu().contiguous() for key, tensor in codec.state_dict().items()})
    fewest, most = VERSIONS_OF_AN_IMAGE
    count = max(fewest, min(most, VARIED_IMAGES // max(len(cohort.parts["train"]), 1)))
    content = [cohort.fingerprint.encode(), weights, str((seed, count)).encode()]
    key = hashlib.blake2b(b"".join(content), digest_size=8).hexdigest()
    path = folder.codes(name, key)
    if not path.exists():
        tensors: dict[str, Tensor] = {}
        for done, total, encoded in encode_column(
            name,
            cohort,
            codec,
            versions=count,
            varied=cohort.parts["train"].tolist(),
            seed=seed,
            device=str(fabric.device),
        ):
            tensors = encoded
            yield Progress(f"codes {name}", done, total, {})
        if fabric.is_global_zero:
            save_bank(tensors, path)
        banks[name] = bank(tensors)
    else:
        banks[name] = load_bank(path)
    fabric.barrier()
