"""``metavoxel train``: fit a model to a schema's cohort."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def train(
    schema: Annotated[Path, typer.Argument(help="The schema's YAML file.")],
    output: Annotated[Path | None, typer.Option(help="Run folder; by default runs/ and the schema's name.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted training of this run folder.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="GPUs of each machine; processes, on CPUs.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; several need srun or torchrun.")] = 1,
    strategy: Annotated[str, typer.Option(help="Parallel training: ddp, a copy of the model on every device.")] = "ddp",
    precision: Annotated[
        str,
        typer.Option(
            help="Arithmetic: auto, 32-true, bf16-mixed, 16-mixed; auto is bf16-mixed for images where supported."
        ),
    ] = "auto",
    accelerator: Annotated[str, typer.Option(help="Kind of device: auto, cpu, cuda, mps.")] = "auto",
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between checkpoints; a crash costs at most one interval.")
    ] = 10,
) -> None:
    """Fit codecs, cache codes and train the joint model."""
    from metavoxel.learning.missingness_weights import missing_lines
    from metavoxel.learning.training import training
    from metavoxel.learning.training_warnings import training_warnings
    from metavoxel.learning.validation import validation_lines
    from metavoxel.runs.bars import show
    from metavoxel.runs.run import RunFolder
    from metavoxel.schema import load_schema

    folder = output or Path("runs") / schema.stem
    show(
        training(
            load_schema(schema),
            folder,
            resume=resume,
            devices=devices,
            nodes=nodes,
            strategy=strategy,
            precision=precision,
            accelerator=accelerator,
            checkpoint_minutes=checkpoint_minutes,
        )
    )
    record = RunFolder(folder).read_record()
    for line in missing_lines(record.get("missing", {})):
        Console().print(line, soft_wrap=True, markup=False)
    for line in validation_lines(record.get("validation", {})):
        Console().print(line, soft_wrap=True, markup=False)
    for line in training_warnings(record):
        Console(stderr=True).print(f"Warning: {line}", soft_wrap=True, markup=False, highlight=False)
    Console().print(
        f"Trained: {folder} (best step {record['best_step']:.0f}; held-out denoising loss at most "
        f"{record['best_score']:.3f} of that of a prediction of zero). "
        f"Predict: metavoxel predict {folder} TABLE --target VARIABLE",
        soft_wrap=True,
        markup=False,
    )
