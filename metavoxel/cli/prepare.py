"""``metavoxel prepare``: from native heads to a BIDS derivative that a schema reads as it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from metavoxel.cli.pairs import pairs
from metavoxel.errors import CohortError, Problem

if TYPE_CHECKING:
    from metavoxel.preparation.sources import Failure

_NAMED = 10


def prepare(
    dataset: Annotated[Path, typer.Argument(help="BIDS folder, folder of NIfTI files, or of DICOM series by subject.")],
    output: Annotated[Path, typer.Option(help="BIDS derivative to write, or to continue.")],
    spacing: Annotated[float, typer.Option(min=0.5, max=8, help="Size of the cubic voxels in mm.")] = 1.0,
    extractor: Annotated[
        str, typer.Option(help="Brain extraction: deepbet, hd_bet, given (see --masks), none, or that of a plugin.")
    ] = "deepbet",
    masks: Annotated[
        Path | None, typer.Option(help="Folder of brain masks: BIDS (desc-brain_mask), or named as the scans.")
    ] = None,
    bias: Annotated[bool, typer.Option(help="Correct the bias field (N4).")] = True,
    entities: Annotated[
        list[str], typer.Option(help="NAME=LABEL of the scans in a BIDS folder: suffix=T1w, run=last, acq=mprage.")
    ] = [],  # noqa: B006
    contrast: Annotated[
        list[str],
        typer.Option(help="Further images to register to the T1w of their visit, by BIDS suffix: FLAIR, T2w."),
    ] = [],  # noqa: B006
    series: Annotated[
        str | None, typer.Option(help="Description of the DICOM series to take, where there are several: '*mprage*'.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Run one job per subject on a SLURM cluster, through submitit.")
    ] = False,
    slurm_option: Annotated[
        list[str], typer.Option(help="NAME=VALUE for submitit: timeout_min=30, slurm_partition=short.")
    ] = [],  # noqa: B006
) -> None:
    """Extract brains, correct bias fields and register native heads to MNI space; write a BIDS derivative."""
    from metavoxel.preparation.dataset import FAILURES, QUALITY, prepare_dataset
    from metavoxel.preparation.settings import PrepareSettings
    from metavoxel.runs.bars import show
    from metavoxel.runs.subjects import subject_progress

    settings = PrepareSettings(extractor=extractor, bias=bias, spacing=spacing)
    options = {
        name: int(text) if text.isdecimal() else text for name, text in pairs("--slurm-option", slurm_option).items()
    }
    work = prepare_dataset(
        dataset, output, settings,
        entities=pairs("--entities", entities), masks=masks, contrasts=contrast, series=series,
        workers=workers,
        slurm=options if slurm else None,
    )  # fmt: skip
    summary = show(subject_progress(work))
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{summary.prepared} scans prepared, {summary.finished} already finished: {output}", markup=False)
    for line in summary.left_out:
        console.print(line, markup=False)
    if summary.flagged:
        shown = "; ".join(f"{name} ({reasons[0]})" for name, reasons in list(summary.flagged.items())[:_NAMED])
        console.print(
            f"{len(summary.flagged)} scans are flagged in {QUALITY}: {shown}. Look at them: metavoxel qa {output}",
            markup=False,
        )
    if summary.failures:
        console.print(f"Failed scans are listed in {output / FAILURES}; the others are prepared.", markup=False)
        raise CohortError([_problem(failure) for failure in summary.failures])


def _problem(failure: "Failure") -> Problem:
    where = " ".join(filter(None, (failure.subject, failure.session)))
    return Problem(f"{where} ({failure.source})", failure.problem)
