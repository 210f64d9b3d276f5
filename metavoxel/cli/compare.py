"""``metavoxel compare``: other methods on the cohort and split of a run."""

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table

from metavoxel.cli.options import RunArgument, names
from metavoxel.errors import EvidenceError, Problem
from metavoxel.evaluation.choices import MethodName, Size


def compare(
    run: RunArgument,
    methods: Annotated[
        str | None,
        typer.Option(help=f"Any of {', '.join(get_args(MethodName))}, separated by commas; by default all applicable."),
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Variables to predict, separated by commas; by default every number and label.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help=f"Size of the networks: {', '.join(get_args(Size))}; by default from the cohort's size."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps of a network; by default 60 epochs.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Number of subjects drawn by ldm and continuous_sex.")] = 100,
    accelerator: Annotated[str, typer.Option(help="Kind of device: auto, cpu, cuda, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Arithmetic: auto, 32-true, bf16-mixed, 16-mixed.")] = "auto",
) -> None:
    """Train other methods on a run's cohort and split, and write their predictions for its test subjects."""
    from metavoxel.evaluation.comparisons import FOLDER, ComparisonSettings
    from metavoxel.evaluation.comparisons import compare as compare_methods
    from metavoxel.runs.bars import show

    if size is not None and size not in get_args(Size):
        raise EvidenceError(Problem("--size", f"{size!r} is not one of {', '.join(get_args(Size))}"))
    settings = ComparisonSettings(size, steps, samples, accelerator, precision)  # type: ignore[arg-type]
    records = show(compare_methods(run, names(methods), names(targets), settings))
    console = Console(soft_wrap=True)
    table = Table("method", "predicts", "failed", box=None)
    for name, record in records.items():
        failures = "; ".join(f"{job}: {message}" for job, message in record.failures.items())
        table.add_row(name, ", ".join(record.targets), failures)
    console.print(table)
    console.print(f"Predictions for the test subjects: {Path(run) / FOLDER}", markup=False)
    if any(record.failures for record in records.values()):
        raise typer.Exit(1)
