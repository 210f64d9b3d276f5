"""``metavoxel sample`` and ``metavoxel predict``: asking a trained model."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas
import torch
import typer
from torch import Tensor

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.table import Table, read_table
from metavoxel.errors import EvidenceError, Problem, RunError
from metavoxel.images.files import read_grid
from metavoxel.learning.run import RunFolder, load
from metavoxel.model import Model
from metavoxel.variables.image import ImageSpec

RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]
Seed = Annotated[int, typer.Option(help="Seed; the same seed gives the same answers.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Network evaluations a draw (50).")]
Solver = Annotated[str | None, typer.Option(help="dpmpp_2m or ddim.")]
Eta = Annotated[float | None, typer.Option(min=0, max=1, help="Noise of ddim's own: 0 none, 1 ancestral.")]
Conditioning = Annotated[str | None, typer.Option(help="clean, replace (the paper's) or repaint.")]

CHOICES = {"solver": ("dpmpp_2m", "ddim"), "conditioning": ("clean", "replace", "repaint"), "point": ("mean", "median")}


def _sampling(**settings: Any) -> dict[str, Any]:
    for name, choices in CHOICES.items():
        if settings.get(name) is not None and settings[name] not in choices:
            raise EvidenceError(Problem(f"--{name}", f"{settings[name]!r} is not one of {', '.join(choices)}"))
    return settings


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    problems = [
        Problem(option, f"{text!r} must be NAME=VALUE") for text, pair in zip(texts, pairs, strict=True) if not pair[1]
    ]
    names = [name.strip() for name, _, _ in pairs]
    problems += [
        Problem(option, f"{name!r} is given twice") for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if problems:
        raise EvidenceError(problems)
    return {name: value.strip() for name, (_, _, value) in zip(names, pairs, strict=True)}


def _masks(model: Model, texts: dict[str, str], given: dict[str, str]) -> dict[str, Tensor]:
    masks: dict[str, Tensor] = {}
    problems = []
    for name, path in texts.items():
        spec = model.schema.specs.get(name)
        if not isinstance(spec, ImageSpec):
            images = [other for other, one in model.schema.specs.items() if isinstance(one, ImageSpec)]
            problems.append(Problem("--mask", f"{name!r} is not an image. Images: {', '.join(images) or 'none'}"))
            continue
        try:
            masks[name] = spec.parse_mask(path)
            if name in given:
                _check_alignment(spec, path, given[name])
        except (ValueError, OSError) as error:
            problems.append(Problem(f"--mask {name}", str(error)))
    if problems:
        raise EvidenceError(problems)
    return masks


def _check_alignment(spec: ImageSpec, mask: str, image: str) -> None:
    """Refuse a mask that would mark other voxels than the user sees marked."""
    same_place = np.allclose(spec.grid(mask).affine, spec.grid(image).affine, atol=0.05)
    if not same_place or not torch.equal(spec.inside(mask), spec.inside(image)):
        raise ValueError(
            f"{mask}: is {read_grid(mask)}, and lies on other voxels than {image}, which is {read_grid(image)}; "
            "draw the mask on the image itself"
        )


def _claim_folder(folder: Path) -> None:
    """Make it, before anything is computed for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None


def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many draws.")] = 8,
    given: Annotated[
        list[str], typer.Option(help="NAME=VALUE of a known variable: age=30, sex=F, T1w=scan.nii.gz.")
    ] = [],  # noqa: B006
    mask: Annotated[
        list[str], typer.Option(help="NAME=FILE: 1 where a given image is known, 0 where to fill in.")
    ] = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="Folder; by default RUN/samples.")] = None,
    seed: Seed = 0,
    steps: Steps = None,
    solver: Solver = None,
    eta: Eta = None,
    conditioning: Conditioning = None,
) -> None:
    """Draw subjects from p(all variables | what is given): samples.tsv, and a file for every image."""
    model = load(run)
    known = _pairs("--given", given)
    settings = _sampling(steps=steps, solver=solver, eta=eta, conditioning=conditioning)
    masks = _masks(model, _pairs("--mask", mask), known)
    folder = output or run / "samples"
    _claim_folder(folder)
    drawn = model.sample(n, known, masks, seed=seed, **settings)
    rows = []
    for index in range(n):
        row: dict[str, object] = {"sample": index + 1}
        for name, values in drawn.items():
            spec = model.schema.variables[name].spec
            like = known.get(name) if isinstance(spec, ImageSpec) else None
            row.update(spec.write(name, values[index], folder=folder, stem=f"sample-{index + 1:03d}", like=like))
        rows.append(row)
    table = folder / "samples.tsv"
    pandas.DataFrame(rows).to_csv(table, sep="\t", index=False)
    typer.echo(f"{n} samples: {table}")


def predict(
    run: RunArgument,
    table: Annotated[
        Path | None, typer.Argument(help="CSV or TSV table or BIDS folder; by default the run's own cohort.")
    ] = None,
    target: Annotated[str, typer.Option(help="Variables to predict, separated by commas.")] = "",
    given: Annotated[
        str | None, typer.Option(help="Variables to predict from, separated by commas; by default all others.")
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="0: posterior mean; more: samples, with sd and quantiles.")] = 0,
    evaluations: Annotated[int, typer.Option(min=1, help="Network evaluations of the posterior mean.")] = 4,
    point: Annotated[str | None, typer.Option(help="mean or median of a number's draws.")] = None,
    vote: Annotated[bool, typer.Option("--vote", help="Labels by majority of the draws, as in the paper.")] = False,
    part: Annotated[str | None, typer.Option(help="Of the run's own cohort, only train, validation or test.")] = None,
    output: Annotated[Path, typer.Option(help="Table to write.")] = Path("predictions.tsv"),
    seed: Seed = 0,
    steps: Steps = None,
    solver: Solver = None,
    eta: Eta = None,
    conditioning: Conditioning = None,
) -> None:
    """Predict variables of every row of a table from the others: one row each, in order."""
    model = load(run)
    if output.is_dir():
        raise RunError(f"{output}: is a folder; choose another --output")
    _claim_folder(output.parent)
    rows = _rows(model, RunFolder(run), table, part)
    frame = model.predict(
        rows,
        [name.strip() for name in target.split(",") if name.strip()],
        None if given is None else [name.strip() for name in given.split(",") if name.strip()],
        draws=draws,
        evaluations=evaluations,
        seed=seed,
        vote=vote,
        **_sampling(steps=steps, solver=solver, eta=eta, conditioning=conditioning, point=point),
    )
    frame.to_csv(output, sep="\t", index=False)
    typer.echo(f"{len(frame)} rows: {output}")


def _rows(model: Model, folder: RunFolder, path: Path | None, part: str | None) -> Table:
    if part is not None:
        if path is not None:
            raise EvidenceError(Problem("--part", "is of the run's own cohort: leave the table out"))
        return part_table(model, folder, part)
    return _read(model, path) if path is not None else _own_table(model)


def _read(model: Model, source: Path) -> Table:
    return read_bids(source, model.schema.specs) if source.is_dir() else read_table(source)


def _own_table(model: Model) -> Table:
    settings = model.schema.cohort
    return _read(model, model.schema.folder / (settings.table or settings.bids or ""))


def part_table(model: Model, folder: RunFolder, part: str) -> Table:
    """Rows of a run's own cohort that are in a part of its split.

    Raises:
        EvidenceError: no such part.
        RunError: the cohort no longer holds them all.
    """
    split = folder.read_record()["split"]
    if part not in split:
        raise EvidenceError(Problem("--part", f"{part!r} is not one of {', '.join(split)}"))
    table = _own_table(model)
    wanted = set(split[part])
    known = model.read(table, [name for name, spec in model.schema.specs.items() if spec.lazy]).row_keys
    missing = sorted(wanted - set(known))
    if missing:
        raise RunError(f"{table.source}: has no row {missing[0]!r}, which the run's split names; it has changed")
    chosen = [row for row, key in enumerate(known) if key in wanted]
    frame = table.frame.iloc[chosen].reset_index(drop=True)
    return replace(table, frame=frame, places=[table.places[row] for row in chosen])
