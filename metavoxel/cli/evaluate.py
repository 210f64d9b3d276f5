"""``metavoxel evaluate``: a run's tables, figures and report, from its held-out rows."""

from pathlib import Path
from typing import Annotated

import typer

from metavoxel.cli.options import Device, RunArgument, Seed, load_on, names
from metavoxel.cli.output import claim_folder


def evaluate(
    run: RunArgument,
    output: Annotated[Path | None, typer.Option(help="Folder; by default RUN/evaluation.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Variables of Table 1, separated by commas; by default all scalars.")
    ] = None,
    table2: Annotated[
        str | None,
        typer.Option(help="Variable of Table 2, from every subset of the others; by default the first number."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Draws for intervals and spreads; by default 20, in the paper's mode 3.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Network evaluations per draw.")] = 50,
    sample_steps: Annotated[int, typer.Option(min=1, help="Network evaluations per generated scan.")] = 50,
    samples: Annotated[int, typer.Option(min=0, help="Generated scans for image quality; 0 omits this.")] = 100,
    features: Annotated[
        str | None,
        typer.Option(
            help="Features of FID: scattering, radimagenet (weights that torch.hub has stored), or a file of weights; "
            "by default scattering, if there are enough scans."
        ),
    ] = None,
    rows: Annotated[
        int,
        typer.Option(min=0, help="Generated rows of numbers and labels, at most as many as test rows; 0 omits them."),
    ] = 1000,
    copies: Annotated[
        bool, typer.Option(help="Check generated scans and rows for copies of training subjects.")
    ] = True,
    by: Annotated[
        str | None,
        typer.Option(help="Further columns of the table by which errors are broken down, separated by commas."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Evaluate a run on its held-out test part: report.html, table1.csv, table2.csv and figures."""
    from metavoxel.evaluation.evaluating import REPORT, evaluating
    from metavoxel.evaluation.metrics.features.choose import choose_features
    from metavoxel.evaluation.settings import Settings
    from metavoxel.runs.bars import show
    from metavoxel.runs.run import RunFolder

    network = choose_features(features or "scattering")
    settings = Settings(
        targets=names(target) or (), flexible=table2, draws=draws, steps=steps, sample_steps=sample_steps,
        samples=samples, rows=rows, copies=copies, by=names(by) or (), seed=seed, fid=features is not None,
    )  # fmt: skip
    model = load_on(run, device)
    folder = output or run / "evaluation"
    settings.checked(model.schema)
    claim_folder(folder)
    results = show(evaluating(model, RunFolder(run), folder, settings, network))
    for note in results.notes:
        typer.echo(note, err=True)
    typer.echo(f"{len(results.held_out)} test rows: {folder / REPORT}")
