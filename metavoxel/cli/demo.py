"""``metavoxel demo``: a phantom cohort, a model of it, and its predictions beside the ground truth."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the cohort, the run and the pictures.")] = Path("runs/demo"),
    subjects: Annotated[int, typer.Option(min=40, help="Phantom subjects.")] = 480,
) -> None:
    """Write a phantom cohort, train on it, and compare predictions with the ground truth."""
    from metavoxel.cli.demonstration import demonstrate

    demonstrate(output, subjects)
