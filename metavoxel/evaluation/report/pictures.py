"""Figures of images: denoising trajectories, samples, inpainting, and sweeps over a number."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.samples import Samples, sample_files, sample_images
from metavoxel.inference.model import Model
from metavoxel.inference.plot import Picture, Row
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.sample import row_streams
from metavoxel.sampling.times import time_grid

SHOWN = 6
SHEET_ROWS = 4
TIMES = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.15, 0.0)
TRAJECTORIES = 3


def caption(model: Model, values: Mapping[str, object]) -> str:
    """Scalars of a subject, at most four: numbers with three significant digits, labels unchanged."""
    words = []
    for name, value in values.items():
        if not model.schema.variables[name].spec.data_shape:
            words.append(f"{value:.3g}" if isinstance(value, float) else str(value))
    return " ".join(words[:4])


def denoising(model: Model, image: str, *, steps: int, seed: int) -> list[Row]:
    """Decoded states of unconditional trajectories from t = 1 to 0, with their scalars (the paper's Figure 2)."""
    sampling = model.default_sampling(steps=steps)
    grid = time_grid(sampling.grid, sampling.steps, list(model.joint.kernels.values()))
    rng = row_streams(seed, [f"draw {number}" for number in range(TRAJECTORIES)], 0)
    question = Conditional(model.joint.kernels, model.joint.code_shapes, {}, (), model.joint.time_tags, rng)
    wanted = {int((grid - time).abs().argmin()): None for time in TIMES}
    rows: list[list[Picture]] = [[] for _ in range(TRAJECTORIES)]
    with torch.inference_mode():
        states = [
            question.prior(question.streams()),
            *sampling.trajectory(model.joint.denoise, question, grid, soft_end=False),
        ]
        for index in wanted:
            shown = {name: model.codecs[name].decode(code).cpu() for name, code in states[index].items()}
            for number, row in enumerate(rows):
                words = caption(model, _cells(model, {name: values[number] for name, values in shown.items()}))
                row.append(Picture(shown[image][number], f"t = {float(grid[index]):.2f}\n{words}"))
    return [Row(f"trajectory {number}", row) for number, row in enumerate(rows, start=1)]


def sampled(model: Model, image: str, samples: Samples) -> list[Row]:
    """Generated images with their scalars (the paper's Figure B.1)."""
    files = sample_files(samples, image, SHOWN * SHEET_ROWS)
    spec = model.schema.variables[image].spec
    cells = samples.table.to_dict("records")
    pictures = [
        Picture(one, caption(model, {name: _number(row[name]) for name in model.names if name in row}))
        for one, row in zip(sample_images(files, spec), cells, strict=False)
    ]
    lines = [pictures[start : start + SHOWN] for start in range(0, len(pictures), SHOWN)]
    return [Row("generated" if number == 0 else "", line) for number, line in enumerate(lines)]


def inpainted(held_out: HeldOut, image: str, rows: Sequence[int], *, steps: int, seed: int) -> list[Row]:
    """Held-out scans with one half (along the first axis) given and the other drawn (the paper's Figure B.2)."""
    model, column = held_out.model, held_out.cohort.columns[image]
    truth = [column.read([row])[0] for row in rows]
    half = torch.zeros_like(truth[0], dtype=torch.bool)
    half[:, : half.shape[1] // 2] = True
    filled = [
        model.sample(1, {image: one}, {image: half}, seed=seed + row, steps=steps)[image][0]
        for row, one in zip(rows, truth, strict=True)
    ]
    return [
        Row("held out", [Picture(one, held_out.subjects[row]) for row, one in zip(rows, truth, strict=True)]),
        Row("given", [Picture(torch.where(half, one, 0.0), "") for one in truth]),
        Row("inpainted", [Picture(one, "") for one in filled]),
    ]


def sweep(held_out: HeldOut, image: str, number: str, row: int, *, steps: int, seed: int) -> list[Row]:
    """One draw at increasing values of a number, with a subject's labels and fixed noise, and the differences."""
    model = held_out.model
    fixed = {name: cell for name in model.labels if (cell := held_out.truth(name)[row]) is not None}
    known = held_out.numbers(number)
    low, high = np.quantile(known[np.isfinite(known)], [0.02, 0.98]).tolist()
    values = np.linspace(low, high, SHOWN)
    drawn: list[Float[Tensor, 1 * s]] = [
        model.sample(1, {**fixed, number: float(value)}, seed=seed, steps=steps)[image][0] for value in values
    ]
    words = " ".join(map(str, fixed.values()))
    first = drawn[0]
    scale = max(float(torch.stack([(one - first).abs().max() for one in drawn]).max()), 1e-6)
    return [
        Row(f"{number} given", [
            Picture(one, f"{value:.3g} {words}") for one, value in zip(drawn, values, strict=True)
        ]),
        Row(f"minus the first\n(± {scale:.2g})", [Picture(0.5 + (one - first) / (2 * scale), "") for one in drawn]),
    ]  # fmt: skip


def _cells(model: Model, values: Mapping[str, Tensor]) -> dict[str, object]:
    specs = model.schema.specs
    return {name: specs[name].format(value) for name, value in values.items() if not specs[name].data_shape}


def _number(cell: object) -> object:
    try:
        return float(str(cell))
    except ValueError:
        return cell
