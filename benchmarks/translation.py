"""FLAIR from T1w on held-out patients: the joint model compared with a U-Net regression for this one prediction.

python -m benchmarks.translation [--table ../shared/data/lgg_slices/slices.csv] [--output runs/benchmark-lgg]
    [--codec-steps 350 --steps 110 --draw-steps 20 for a few minutes]

The joint model is trained with ``examples/lgg/schema.yaml``. The regression (MONAI's U-Net, mean squared error) is
trained on the same patients with the same augmentation and processor time, and taken at its best step on the validation
patients. Metrics are those of ``metavoxel evaluate``, with intervals over patients, as slices of a patient are
dependent. The joint model also predicts the grade from both images.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from monai.networks.nets import BasicUNet
from PIL import Image
from torch import Tensor, nn

import metavoxel as mv
from benchmarks.tables import figure, markdown
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.evaluation.metrics.similarity import psnr, ssim
from metavoxel.inference.summaries import image_values
from metavoxel.learning.precision import flushed_denormals, resolve_precision
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.rng import Rng
from metavoxel.runs.bars import show
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder
from metavoxel.schema import Schema

DOCS = Path(__file__).resolve().parents[1] / "docs" / "images"
SCHEMA = Path("examples/lgg/schema.yaml")
TABLE = Path("../shared/data/lgg_slices/slices.csv")
SOURCE, TARGET = "T1w", "FLAIR"
BATCH, VALIDATE_EVERY = 16, 50
DRAWS = 3


class Pairs(NamedTuple):
    """Both images of the rows of one part, and their subjects."""

    source: Float[Tensor, "n 1 *s"]
    target: Float[Tensor, "n 1 *s"]
    subjects: list[str]


def pairs(model: mv.Model, folder: RunFolder, part: str) -> Pairs:
    """Return the images of a part, all of whose rows have both."""
    cohort = model.read(part_table(model, folder, part), [SOURCE, TARGET])
    source, target = (cohort.columns[name].read(range(len(cohort))) for name in (SOURCE, TARGET))
    return Pairs(source, target, cohort.subjects)


def regression(
    train: Pairs, validation: Pairs, specs: Mapping[str, AbstractVariableSpec], seconds: float
) -> tuple[nn.Module, int, int]:
    """Train a U-Net of target minus source for a given processor time; return it, its best step and the last."""
    torch.manual_seed(0)
    network = BasicUNet(
        train.source.ndim - 2, out_channels=1, features=(28, 28, 56, 112, 224, 28), upsample="nontrainable"
    )
    for weights in network.final_conv.parameters():
        nn.init.zeros_(weights)  # starts from the source itself
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
    bf16 = resolve_precision("auto", half=True) == "bf16-mixed"
    best, kept, best_step, step, begun = math.inf, network.state_dict(), 0, 0, time.process_time()
    while (used := (time.process_time() - begun) / seconds) < 1:
        rng = Rng.for_rows(BATCH, "regression", step)
        rows = (rng.uniform((BATCH,)) * len(train.subjects)).long()
        source, target = (
            specs[name].augment(images[rows], rng.fork("vary"))
            for name, images in ((SOURCE, train.source), (TARGET, train.target))
        )
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * used)))
        network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            change = network(source)
        (source + change.float() - target).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        step += 1
        if step % VALIDATE_EVERY == 0:
            error = float((regressed(network, validation) - validation.target).square().mean())
            if error < best:
                best, best_step = error, step
                kept = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(kept)
    return network, best_step, step


@torch.inference_mode()
def regressed(network: nn.Module, test: Pairs) -> Float[Tensor, "n 1 *s"]:
    """Return the regression's predictions, with intensities in [0, 1]."""
    return torch.cat([image[None] + network.eval()(image[None]) for image in test.source]).clamp(0, 1)


def joint_answers(model: mv.Model, folder: RunFolder, steps: int) -> dict[str, Float[Tensor, "n 1 *s"]]:
    """Return the joint model's images of the test part, by kind of prediction; ``steps`` are those of draws."""
    table, spec, codec = part_table(model, folder, "test"), model.schema.variables[TARGET].spec, model.codecs[TARGET]
    found = {}
    with torch.inference_mode():
        mean = model.answer(table, TARGET, [SOURCE])
        found["joint model, posterior mean in 4 evaluations"] = torch.stack(
            list(image_values(spec, codec, [mean.means[TARGET]]))
        )
        drawn = model.answer(table, TARGET, [SOURCE], draws=DRAWS, steps=steps)
        codes = [draw.codes[TARGET] for draw in drawn.draws]
        found[f"joint model, mean of {DRAWS} draws of {steps}"] = torch.stack(list(image_values(spec, codec, codes)))
        found["joint model, one draw"] = torch.stack(list(image_values(spec, codec, codes[:1])))
        everything = [name for name in model.names if name != TARGET]
        mean = model.answer(table, TARGET, everything)
        found["joint model, posterior mean, age, sex and grade given too"] = torch.stack(
            list(image_values(spec, codec, [mean.means[TARGET]]))
        )
    return {name: images.float().clamp(0, 1) for name, images in found.items()}


@torch.inference_mode()
def rebuilt(model: mv.Model, images: Float[Tensor, "n 1 *s"]) -> Float[Tensor, "n 1 *s"]:
    """Return reconstructions by the codec, a bound for predictions in code space."""
    codec = model.codecs[TARGET]
    return torch.cat([codec.decode(codec.encode(image[None]).mean) for image in images])


def labels(model: mv.Model, folder: RunFolder) -> list[list[str]]:
    """Return accuracies of grade and sex, and errors of age, by evidence."""
    table = part_table(model, folder, "test")
    truth = model.read(table, ["grade", "sex", "age"])
    rows = []
    for target, given in (("grade", [SOURCE, TARGET]), ("grade", [SOURCE, TARGET, "age", "sex"]),
                          ("sex", [SOURCE, TARGET]), ("age", [SOURCE, TARGET])):  # fmt: skip
        column, spec = truth.columns[target], model.schema.variables[target].spec
        shown = [spec.format(value) for value in column.values]
        predicted = model.predict(table, target, given)[target].tolist()
        train = model.read(part_table(model, folder, "train"), [target]).columns[target].values
        if target == "age":
            right = np.abs(np.array(predicted, float) - np.array(shown, float))
            constant = np.abs(np.array(shown, float) - float(train.median()))
        else:
            right = np.array([a == b for a, b in zip(predicted, shown, strict=True)], float)
            constant = np.array([spec.format(train.mode().values) == b for b in shown], float)
        figures = [str(bootstrap_mean(values, subjects=truth.subjects)) for values in (right, constant)]
        rows.append([f"{target}: {'error in years' if target == 'age' else 'accuracy'}", ", ".join(given), *figures])
    return rows


def picture(test: Pairs, shown: Mapping[str, Float[Tensor, "n 1 *s"]], path: Path) -> None:
    """Write a picture of some patients, one per row: source, truth and predictions."""
    columns = {f"{SOURCE}, given": test.source, f"{TARGET}, true": test.target, **shown}
    chosen = [test.subjects.index(subject) + 1 for subject in dict.fromkeys(test.subjects)][:4]
    board, axes = figure(len(columns))
    for axis, (title, images) in zip(axes, columns.items(), strict=True):
        axis.imshow(np.concatenate([np.rot90(images[row, 0]) for row in chosen]), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=8)
        axis.set_axis_off()
    board.set_size_inches(1.5 * len(columns), 6.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    board.savefig(path, dpi=80)
    with Image.open(path) as drawn:
        drawn.convert("L").save(path, optimize=True)


def with_steps(schema: Schema, codec: int | None, joint: int | None) -> Schema:
    """Return the schema with other numbers of optimiser steps."""
    variables = dict(schema.variables)
    for name in (SOURCE, TARGET) if codec is not None else ():
        parts = variables[name].parts
        parts = parts._replace(codec=parts.codec.model_copy(update={"steps": codec}))
        variables[name] = variables[name]._replace(parts=parts)
    training = schema.training
    if joint is not None:
        training = training.model_copy(update={"steps": joint, "warm_up": joint // 10, "validate_every": joint})
    return replace(schema, variables=variables, training=training)


def trained(schema: Schema, run: Path, table: Path) -> float:
    """Train the joint model unless trained; return its processor seconds."""
    times = run.parent / "seconds.json"
    if not RunFolder(run).weights.exists():
        cohort = schema.cohort.model_copy(update={"table": table.resolve()})
        before = json.loads(times.read_text(encoding="utf-8")) if times.exists() else 0.0
        begun = time.process_time()
        try:
            show(mv.training(replace(schema, cohort=cohort), run, resume=RunFolder(run).record.exists()))
        finally:
            times.parent.mkdir(parents=True, exist_ok=True)
            times.write_text(json.dumps(before + time.process_time() - begun), encoding="utf-8")
    return float(json.loads(times.read_text(encoding="utf-8")))


def main() -> None:
    """Train both unless trained, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schema", type=Path, default=SCHEMA)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-lgg"))
    parser.add_argument("--codec-steps", type=int, help="training steps of an autoencoder; default: the schema's")
    parser.add_argument("--steps", type=int, help="training steps of the joint network; default: the schema's")
    parser.add_argument("--draw-steps", type=int, default=50, help="network evaluations per draw")
    parser.add_argument(
        "--minutes", type=float, help="processor time of the regression; default: that of the joint model"
    )
    parser.add_argument("--pictures", type=Path, default=DOCS / "translation.png")
    arguments = parser.parse_args()
    run = arguments.output / "joint"
    schema = with_steps(mv.load_schema(arguments.schema), arguments.codec_steps, arguments.steps)
    seconds = trained(schema, run, arguments.table)
    model, folder = mv.load(run), RunFolder(run)
    train, validation, test = (pairs(model, folder, part) for part in ("train", "validation", "test"))
    with flushed_denormals():
        network, best, last = regression(
            train, validation, model.schema.specs, 60 * arguments.minutes if arguments.minutes else seconds
        )
    sizes = {
        "joint network": model.joint,
        "codecs": nn.ModuleList([model.codecs[name] for name in (SOURCE, TARGET)]),
        "regression": network,
    }
    for name, module in sizes.items():
        print(f"{name}: {sum(weight.numel() for weight in module.parameters()) / 1e6:.2f} M parameters")
    print(f"joint model: {seconds / 60:.1f} processor minutes; regression: best step {best} of {last}")
    answers = {
        "reconstruction by the codec": rebuilt(model, test.target),
        **joint_answers(model, folder, arguments.draw_steps),
        "U-Net regression": regressed(network, test),
        f"{SOURCE} itself": test.source,
        "mean training image": train.target.mean(0).expand_as(test.target),
    }
    inside = torch.ones(test.target.shape[1:], dtype=torch.bool)
    rows, ratios = [], {}
    for name, images in answers.items():
        both = list(zip(images, test.target, strict=True))
        ratios[name] = np.array([psnr(image, truth, inside) for image, truth in both])
        similarity = np.array([ssim(image, truth) for image, truth in both])
        rows.append(
            [name, *(str(bootstrap_mean(values, subjects=test.subjects)) for values in (ratios[name], similarity))]
        )
    print(f"\n{len(test.subjects)} slices of {len(set(test.subjects))} patients")
    print(markdown([f"{TARGET} from {SOURCE}", "PSNR (dB)", "SSIM"], rows))
    mean = ratios["joint model, posterior mean in 4 evaluations"]
    print(f"posterior mean less regression, paired: "
          f"{bootstrap_mean(mean - ratios['U-Net regression'], subjects=test.subjects)} dB")  # fmt: skip
    print(markdown(["target", "given", "joint model", "constant"], labels(model, folder)))
    shown = {
        "posterior mean": answers["joint model, posterior mean in 4 evaluations"],
        "one draw": answers["joint model, one draw"],
        "regression": answers["U-Net regression"],
        "codec alone": answers["reconstruction by the codec"],
    }
    picture(test, shown, arguments.pictures)


if __name__ == "__main__":
    main()
