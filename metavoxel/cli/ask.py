"""``metavoxel sample`` and ``metavoxel predict``: draw from a trained model, and predict with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metavoxel.cli.options import (
    Conditioning,
    Device,
    Eta,
    Grid,
    Guidance,
    Jump,
    Particles,
    Prepare,
    Resamplings,
    RunArgument,
    Seed,
    Solver,
    Steps,
    base_rates,
    chosen,
    load_on,
    names,
)
from metavoxel.cli.output import ROW_IMAGES, SAMPLES, claim_files, claim_own_folder, clear_own_folder
from metavoxel.cli.pairs import pairs
from metavoxel.errors import EvidenceError, Problem

if TYPE_CHECKING:
    from torch import Tensor

    from metavoxel.cohort.table import Table
    from metavoxel.inference.model import Model
    from metavoxel.runs.run import RunFolder


def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of draws.")] = 8,
    given: Annotated[
        list[str], typer.Option(help="NAME=VALUE of a known variable: age=30, age=30±2, sex=F, T1w=scan.nii.gz.")
    ] = [],  # noqa: B006
    mask: Annotated[
        list[str], typer.Option(help="NAME=FILE: 1 where a given image is known, 0 where to inpaint.")
    ] = [],  # noqa: B006
    prepare: Prepare = False,
    check: Annotated[bool, typer.Option(help="Warn of scans that do not look like the training scans.")] = True,
    output: Annotated[Path | None, typer.Option(help="Folder for the draws alone; by default RUN/samples.")] = None,
    seed: Seed = 0,
    steps: Steps = None,
    solver: Solver = None,
    eta: Eta = None,
    grid: Grid = None,
    conditioning: Conditioning = None,
    resamplings: Resamplings = None,
    jump: Jump = None,
    particles: Particles = None,
    guidance: Guidance = None,
    device: Device = "auto",
) -> None:
    """Draw subjects from p(all variables | given values); write samples.tsv, and a file for every image."""
    from metavoxel.cli.notices import unlike_scans
    from metavoxel.inference.samples import write_samples
    from metavoxel.runs.run import RunFolder

    model = load_on(run, device)
    known = pairs("--given", given)
    settings = chosen(
        steps=steps, solver=solver, eta=eta, grid=grid, conditioning=conditioning, resamplings=resamplings, jump=jump,
        particles=particles, guidance=guidance,
    )  # fmt: skip
    marked = pairs("--mask", mask)
    folder, specs = output or run / "samples", model.schema.specs
    preparations, prepared = RunFolder(run).preparations(), None
    if prepare:
        from metavoxel.cli.new_scans import native_values  # its registration takes a second to import

        if marked:
            raise EvidenceError(Problem("--mask", "is drawn on a prepared image: prepare it first (metavoxel prepare)"))
        prepared = folder.with_name(f"{folder.name}_prepared")
        known = native_values(model, preparations, known, prepared)
    masks = _masks(model, marked, known)
    like = {name: file for name, file in known.items() if name in specs and specs[name].spatial}
    claim_own_folder(folder, SAMPLES, read=[*like.values(), *marked.values()])
    drawn = model.sample(n, known, masks, seed=seed, **settings)
    clear_own_folder(folder, SAMPLES)
    table = write_samples(folder, specs, drawn, like=like)
    typer.echo(f"{n} samples: {table}")
    images = {name: file for name, file in like.items() if name in preparations and name not in marked}
    if check and images:
        row = model.read([{model.schema.cohort.subject: "given", **images}], list(images))
        for line in unlike_scans(model, preparations, row, prepared):
            typer.echo(line, err=True)


def predict(
    run: RunArgument,
    table: Annotated[
        Path | None, typer.Argument(help="CSV or TSV table or BIDS folder; by default the run's own cohort.")
    ] = None,
    target: Annotated[str, typer.Option(help="Variables to predict, separated by commas.")] = "",
    given: Annotated[
        str | None, typer.Option(help="Variables to predict from, separated by commas; by default all others.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Draws for each row; with 0, the posterior mean without draws.")
    ] = 0,
    order: Annotated[
        str | None,
        typer.Option(help="Order in which targets are drawn (the schema's), separated by commas, or 'together'."),
    ] = None,
    prior: Annotated[
        list[str], typer.Option(help="Class frequencies in the population of these rows: sex=F:0.5,M:0.5.")
    ] = [],  # noqa: B006
    log_likelihood: Annotated[
        bool,
        typer.Option(
            "--log-likelihood", help="Write log p of each value given the others of its row, instead of predictions."
        ),
    ] = False,
    evaluations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Network evaluations; by default 1 or 4 (by the kernels) for posterior means, 32 for log-likelihoods.",
        ),
    ] = None,
    point: Annotated[str | None, typer.Option(help="Point estimate of numbers from draws: mean or median.")] = None,
    vote: Annotated[
        bool, typer.Option("--vote", help="Labels by majority vote of the draws, as in the paper.")
    ] = False,
    write_draws: Annotated[
        Path | None, typer.Option(help="File for the draws themselves, one row for each subject and draw.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            help="Warn of given values that are improbable under the model, and of scans unlike the training scans."
        ),
    ] = True,
    prepare: Prepare = False,
    part: Annotated[
        str | None, typer.Option(help="Predict this part of the run's own cohort: train, validation or test.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Table to write.")] = Path("predictions.tsv"),
    seed: Seed = 0,
    steps: Steps = None,
    solver: Solver = None,
    eta: Eta = None,
    grid: Grid = None,
    conditioning: Conditioning = None,
    resamplings: Resamplings = None,
    jump: Jump = None,
    particles: Particles = None,
    guidance: Guidance = None,
    device: Device = "auto",
) -> None:
    """Predict variables of every row of a table from the others; write one row each, in order."""
    from metavoxel.cli.notices import notices, unlike_scans
    from metavoxel.inference.arguments import refuse_without_draws
    from metavoxel.runs.run import RunFolder

    model = load_on(run, device)
    settings = chosen(
        steps=steps, solver=solver, eta=eta, grid=grid, conditioning=conditioning, resamplings=resamplings, jump=jump,
        particles=particles, guidance=guidance,
    )  # fmt: skip
    summary = {**chosen(point=point), "vote": vote or None}
    drawing = {**settings, **summary, "write-draws": write_draws}
    claim_files({"--output": output, "--write-draws": write_draws}, read=table)
    targets, conditions = names(target) or [], names(given)
    preparations, prepared = RunFolder(run).preparations(), None
    if prepare:
        from metavoxel.cli.new_scans import native_rows  # its registration takes a second to import

        prepared = output.with_name(f"{output.stem}_prepared")

    def rows_of(variables: list[str] | None) -> "Table":
        if prepared is None:
            return _rows(model, RunFolder(run), table, part, variables)
        return native_rows(model, preparations, None if part else table, variables or model.names, prepared)

    if log_likelihood:
        _refuse_sampling_options({**drawing, "draws": draws or None, "order": order, "prior": prior or None})
        needed = targets + conditions if targets and conditions is not None else None
        rows = rows_of(needed)
        frame = model.log_likelihood(rows, targets or None, conditions, evaluations=evaluations, seed=seed)
        frame.to_csv(output, sep="\t", index=False)
        typer.echo(f"{len(frame)} rows: {output}")
        return
    refuse_without_draws(draws, drawing)
    others = [name for name in model.names if name not in targets]
    rows = rows_of(others if conditions is None else conditions)
    images = _image_folder(model, targets, output, rows)
    answer = model.answer(
        rows, targets, conditions,
        draws=draws, order=names(order), prior=base_rates(prior, model.labels), evaluations=evaluations, seed=seed,
        **settings,
    )  # fmt: skip
    if images is not None:
        clear_own_folder(images, ROW_IMAGES)
    frame = answer.table(point=summary["point"] or "mean", vote=vote, images=images)
    frame.to_csv(output, sep="\t", index=False)
    if write_draws is not None:
        answer.long_table().to_csv(write_draws, sep="\t", index=False)
    note = f" ({answer.question.description})" if answer.question.description else ""
    typer.echo(f"{len(frame)} rows: {output}{note}")
    if check and answer.given is not None:
        lines = [*notices(model, answer.given, seed=seed)]
        # Scans of the run's own cohort were looked at before training.
        lines += [] if table is None else unlike_scans(model, preparations, answer.given.cohort, prepared)
        for line in lines:
            typer.echo(line, err=True)


def _refuse_sampling_options(settings: dict[str, object]) -> None:
    """Refuse options of prediction under ``--log-likelihood``.

    Raises:
        EvidenceError: such options are given.
    """
    options = [f"--{name}" for name, value in settings.items() if value is not None]
    if options:
        what = "scores observed values and predicts none: leave out"
        raise EvidenceError(Problem("--log-likelihood", f"{what} {', '.join(options)}"))


def _image_folder(model: "Model", targets: list[str], output: Path, rows: "Table") -> Path | None:
    """Claim the folder beside the table for predicted images, if any image is a target."""
    specs = model.schema.specs
    if not any(name in specs and specs[name].spatial for name in targets):
        return None
    folder = output.parent / f"{output.stem}_images"
    columns = set(rows.frame.columns)
    present = {name: spec for name, spec in specs.items() if spec.spatial and spec.required_columns(name) <= columns}
    cells = [{str(column): cell for column, cell in row.items()} for row in rows.frame.to_dict("records")]
    files = [spec.locate(name, row, rows.folder) for name, spec in present.items() for row in cells]
    claim_own_folder(folder, ROW_IMAGES, read=[file for file in files if file])
    return folder


def _masks(model: "Model", texts: dict[str, str], given: dict[str, str]) -> "dict[str, Tensor]":
    masks: dict[str, Tensor] = {}
    problems = []
    for name, path in texts.items():
        spec = model.schema.specs.get(name)
        if spec is None or not spec.spatial:
            images = [other for other, one in model.schema.specs.items() if one.spatial]
            problems.append(Problem("--mask", f"{name!r} is not an image. Images: {', '.join(images) or 'none'}"))
            continue
        try:
            masks[name] = spec.parse_mask(path, image=given.get(name))
        except (ValueError, OSError) as error:
            problems.append(Problem(f"--mask {name}", str(error)))
    if problems:
        raise EvidenceError(problems)
    return masks


def _rows(
    model: "Model", folder: "RunFolder", path: Path | None, part: str | None, variables: list[str] | None
) -> "Table":
    """Read the table to predict; of a BIDS folder only files of these variables, or of all if None."""
    from metavoxel.runs.part import own_table, part_table, read_source

    if part is not None:
        if path is not None:
            raise EvidenceError(Problem("--part", "selects rows of the run's own cohort: leave the table out"))
        return part_table(model, folder, part)
    return read_source(model, path, variables) if path is not None else own_table(model)
