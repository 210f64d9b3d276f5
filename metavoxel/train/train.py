"""Training from a schema to a run folder: fit codecs, cache codes, train the joint model."""

import hashlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from safetensors.torch import save
from torch import Tensor, nn

from metavoxel.codecs.base import AbstractCodec
from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.read import read_cohort
from metavoxel.errors import Problem, RunError
from metavoxel.joint import JointModel
from metavoxel.registry import Registry, load_registry
from metavoxel.rng import Rng, stream_key
from metavoxel.schema import Schema
from metavoxel.train.checkpoint import load_module, load_weights, save_weights
from metavoxel.train.codecs import fit_codec
from metavoxel.train.codes import CodeBank, bank, encode_column, load_bank, save_bank
from metavoxel.train.loop import Optimisation, Optimiser, whole
from metavoxel.train.metrics import MetricsWriter
from metavoxel.train.objective import corrupt, loss_sums, ratio
from metavoxel.train.precision import resolve_precision
from metavoxel.train.run import RunFolder, build_codecs, build_joint, versions
from metavoxel.train.times import evidence_times, shared_times
from metavoxel.train.validate import relative_errors

VERSIONS_OF_AN_IMAGE = 6
"""How many varied codes of a training image are cached."""


class Progress(NamedTuple):
    """How far one stage is: 'cohort', 'codec T1w', 'codes T1w' or 'joint'. ``metrics`` are of the last step."""

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float]


def training(
    schema: Schema,
    output: Path,
    *,
    resume: bool = False,
    devices: int = 1,
    precision: str = "auto",
    accelerator: str = "auto",
    registry: Registry | None = None,
) -> Generator[Progress, None, None]:
    """Train, yielding progress; what is in ``output`` afterwards can be loaded. Stopping early loses nothing.

    Raises:
        RunError: ``output`` holds another run, or one to be continued with ``resume``.
        CohortError: all that is wrong with the cohort, before any training.
    """
    registry = registry or load_registry()
    # Backward passes through flat background meet denormal numbers, which are up to ten times slower on many CPUs.
    torch.set_flush_denormal(True)
    fabric = _fabric(accelerator, devices, precision)
    fabric.launch()
    folder = RunFolder(output)
    folder.claim(resume=resume)
    fabric.barrier()  # no process may take what another has just begun for a run of old
    cohort = read_cohort(
        schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples(), cache=folder.cache
    )
    dropped = 0
    if schema.diffusion.times == "shared":
        cohort, dropped = _without_incomplete(cohort)
    schema = schema.with_specs(cohort.variables)
    torch.manual_seed(schema.training.seed)
    codecs = build_codecs(schema)
    record = _begin(folder, schema, cohort, registry, fabric, dropped, resume)
    yield Progress("cohort", 1, 1, {"rows": len(cohort), "dropped": dropped})
    writer = MetricsWriter(folder, fabric)
    for name, codec in codecs.items():
        yield from _codec(name, codec, cohort, folder, fabric, writer, schema.training.seed)
    banks: dict[str, CodeBank] = {}
    for name, codec in codecs.items():
        yield from _codes(name, codec, cohort, folder, fabric, banks, schema.training.seed)
    torch.manual_seed(schema.training.seed)
    joint = build_joint(schema, codecs)
    best = yield from _joint(joint, schema, cohort, banks, folder, fabric, writer)
    fabric.barrier()
    if fabric.is_global_zero:
        weights, numbers = load_weights(folder.best)
        save_weights(folder.weights, weights, numbers)
        folder.write_record({**record, "state": "finished", **best})
    fabric.barrier()


def _fabric(accelerator: str, devices: int, precision: str) -> Fabric:
    # A U-Net whose scalars are all painted leaves its fusion unused.
    strategy = "ddp_find_unused_parameters_true" if devices > 1 else "auto"
    arithmetic: Any = resolve_precision(precision)
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
    banks: dict[str, CodeBank],
    seed: int,
) -> Iterator[Progress]:
    weights = save({key: tensor.cpu().contiguous() for key, tensor in codec.state_dict().items()})
    content = [cohort.fingerprint.encode(), weights, str((seed, VERSIONS_OF_AN_IMAGE)).encode()]
    key = hashlib.blake2b(b"".join(content), digest_size=8).hexdigest()
    path = folder.codes(name, key)
    if not path.exists():
        tensors: dict[str, Tensor] = {}
        for done, total, encoded in encode_column(
            name,
            cohort,
            codec,
            versions=VERSIONS_OF_AN_IMAGE,
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


def _joint(
    joint: JointModel,
    schema: Schema,
    cohort: Cohort,
    banks: Mapping[str, CodeBank],
    folder: RunFolder,
    fabric: Fabric,
    writer: MetricsWriter,
) -> Generator[Progress, None, dict[str, float]]:
    settings, shared = schema.training, schema.diffusion.times == "shared"
    train_rows = cohort.parts["train"]
    for name in joint.kernels:
        seen = train_rows[banks[name].present[train_rows]]
        joint.adapter(name).fit(lambda name=name, seen=seen: [banks[name].mean[seen, 0]])  # type: ignore[misc]
    default = schema.backbone.default_plan()
    steps = settings.steps or default.steps
    plan = Optimisation(
        steps,
        settings.learning_rate or default.learning_rate,
        settings.weight_decay,
        settings.warm_up,
        settings.clip,
        settings.ema,
        settings.seed,
    )
    optimiser = Optimiser(fabric, joint, plan)
    best: dict[str, float] = {"best_score": float("inf"), "best_step": 0, "validated_step": 0}
    if folder.state.exists():
        best |= optimiser.load(folder.state)
    per_device = max(1, (settings.batch_size or default.batch_size) // fabric.world_size)
    weights = {name: variable.spec.weight for name, variable in schema.variables.items()}
    present = torch.stack([banks[name].present for name in joint.kernels], 1)

    def losses(step: int) -> dict[str, Tensor]:
        rng = Rng.for_rows(per_device, settings.seed, "joint", fabric.global_rank, step)
        first = (step * fabric.world_size + fabric.global_rank) * per_device
        rows = _shuffled(train_rows, first, per_device, settings.seed)
        times = rng.fork("times")
        row_times = shared_times(len(rows), len(weights), times) if shared else evidence_times(present[rows], times)
        corrupted = corrupt(joint, banks, rows, row_times, rng, device=fabric.device, partial=not shared)
        predictions = optimiser.wrapped(corrupted.states, corrupted.times, corrupted.observed)
        terms = {}
        for name, (total, count) in loss_sums(joint, predictions, corrupted).items():
            # Gradients are averaged over devices: dividing by the mean count makes that the ratio of sums.
            shared_count = fabric.all_reduce(count.float(), reduce_op="mean") if fabric.world_size > 1 else count
            terms[name] = weights[name] * ratio(total, torch.as_tensor(shared_count))
        return terms

    running: dict[str, float] = {}

    def validated(step: int) -> dict[str, float]:
        """Judge the averaged weights, keep them if they are the best so far, and leave a checkpoint."""
        errors = _validate(joint, optimiser, banks, cohort, shared, settings.seed)
        score = sum(errors.values()) / max(len(errors), 1)
        found = {**best, "validated_step": step}
        with whole():
            if score < best["best_score"]:
                found |= {"best_score": score, "best_step": step}
                if fabric.is_global_zero:
                    save_weights(folder.best, {**joint.state_dict(), **optimiser.average}, found)
            named = {f"validation/{name}": value for name, value in errors.items()}
            writer.write("joint", step, {**running, **named, "score": score})
            optimiser.save(folder.state, found)
        return found

    try:
        if optimiser.step and _is_due(optimiser.step, settings.validate_every, steps, best):
            best = validated(optimiser.step)  # the program was stopped before it came to this
        for step in optimiser.run(losses):
            for name, value in step.losses.items():
                running[name] = running.get(name, value) * 0.98 + value * 0.02
            if _is_due(step.number, settings.validate_every, steps, best):
                best = validated(step.number)
            yield Progress("joint", step.number, steps, running)
    finally:
        # Also when the user stops the program: the next run continues here.
        if best["validated_step"] < steps:
            optimiser.save(folder.state, best)
    return {name: best[name] for name in ("best_score", "best_step")}


def _is_due(step: int, every: int, last: int, best: Mapping[str, float]) -> bool:
    """Whether a step is one to validate at, and has not been."""
    return (step % every == 0 or step == last) and best["validated_step"] < step


def _shuffled(rows: Tensor, first: int, count: int, seed: int) -> Tensor:
    """``count`` rows from place ``first`` on in an endless walk that shuffles the rows anew each time round."""
    chosen = []
    for place in range(first, first + count):
        epoch, index = divmod(place, len(rows))
        chosen.append((epoch, index))
    orders = {
        epoch: torch.randperm(
            len(rows), generator=torch.Generator().manual_seed(abs(stream_key(seed, "epoch", epoch)) % 2**63)
        )
        for epoch in {epoch for epoch, _ in chosen}
    }
    return rows[torch.stack([orders[epoch][index] for epoch, index in chosen])]


@torch.no_grad()
def _validate(
    joint: JointModel,
    optimiser: Optimiser,
    banks: Mapping[str, CodeBank],
    cohort: Cohort,
    shared: bool,
    seed: int,
) -> dict[str, float]:
    """Errors of the averaged weights, which are put in for as long as it takes."""
    current = {name: weight.detach().clone() for name, weight in joint.named_parameters()}
    try:
        _put(joint, optimiser.average)
        return relative_errors(
            joint, banks, cohort.parts["validation"], cohort.parts["train"], shared=shared, seed=seed
        )
    finally:
        # Also when the user stops the program here: what is saved then has to be the weights.
        _put(joint, current)
        joint.train()


@torch.no_grad()
def _put(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, weight in module.named_parameters():
        weight.copy_(weights[name])
