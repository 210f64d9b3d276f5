"""``metavoxel phantom``: write a phantom cohort and a schema for it, and print the Bayes errors."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from metavoxel.cli.options import names
from metavoxel.cli.output import claim_folder
from metavoxel.errors import CohortError, Problem

if TYPE_CHECKING:
    from metavoxel.cohort.phantoms import Bounds
    from metavoxel.cohort.phantoms.reports import ReportBounds

_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "missing": "--missing-columns",
        "missing.rule": "--missing",
        "missing.fraction": "--missing-share",
        "missing.columns": "--missing-columns",
    }
)
"""Options by setting."""

SPACING = 4.0
"""Spacing of brains without options, in mm."""


def phantom(
    output: Annotated[Path, typer.Option(help="BIDS folder: new, empty, or with phantoms of the same settings.")],
    subjects: Annotated[int, typer.Option(help="Number of subjects; a larger cohort starts with the smaller.")] = 200,
    spacing: Annotated[float, typer.Option(help="Size of the cubic voxels in mm.")] = SPACING,
    noise: Annotated[float, typer.Option(help="Sd of the noise, as a share of white matter's intensity.")] = 0.03,
    disease: Annotated[
        bool,
        typer.Option(
            "--disease", help="Add a diagnosis, more probable with age: atrophy of both medial temporal lobes."
        ),
    ] = False,
    second_contrast: Annotated[
        bool, typer.Option("--second-contrast", help="Add a T2w-like image of each brain.")
    ] = False,
    site: Annotated[
        bool, typer.Option("--site", help="Add two scanner sites; B has flatter contrast and more noise.")
    ] = False,
    missing: Annotated[
        str | None, typer.Option(help="Missingness mechanism: mcar or mar_by_age (probability rises with age).")
    ] = None,
    missing_share: Annotated[
        float | None, typer.Option(help="Mean share of missing cells per column; by default 0.1.")
    ] = None,
    missing_columns: Annotated[
        str | None,
        typer.Option(help="Columns with missing cells: age, sex, diagnosis, site, T1w, T2w; by default sex,T1w."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    reports: Annotated[
        bool, typer.Option("--reports", help="Write pictures of heads with reports instead, as a table.")
    ] = False,
    pixels: Annotated[
        int | None, typer.Option(help="Rows and columns of the pictures of --reports, from 32 to 64; by default 64.")
    ] = None,
) -> None:
    """Write phantom brains with a known joint distribution as a BIDS folder, with a schema to train on.

    With --reports, write pictures whose factors are described by reports of a grammar with known probabilities.
    """
    if reports:
        brains = {
            "--spacing": spacing != SPACING, "--disease": disease, "--second-contrast": second_contrast,
            "--site": site, "--missing": missing is not None, "--missing-share": missing_share is not None,
            "--missing-columns": missing_columns is not None,
        }  # fmt: skip
        if wrong := [Problem(name, "is for brains; omit it with --reports") for name, given in brains.items() if given]:
            raise CohortError(wrong)
        chosen = {"subjects": subjects, "noise": noise, "seed": seed, "pixels": pixels}
        return _reports(output, {name: value for name, value in chosen.items() if value is not None})
    if pixels is not None:
        raise CohortError(Problem("--pixels", "is for pictures with reports; add --reports, or choose --spacing"))
    from metavoxel.cohort.phantoms import phantom_settings, read_truth, write_phantom, write_schema
    from metavoxel.runs.bars import show
    from metavoxel.runs.subjects import phantom_progress

    values: dict[str, object] = {
        "subjects": subjects, "spacing": spacing, "noise": noise, "disease": disease, "site": site, "seed": seed,
        "second_contrast": second_contrast, "missing": _missing(missing, missing_share, names(missing_columns)),
    }  # fmt: skip
    settings = phantom_settings(values, _option)
    claim_folder(output)
    show(phantom_progress(write_phantom(output, settings)))
    schema = write_schema(output, settings)
    console = Console(soft_wrap=True)
    console.print(_table(read_truth(output).bounds))
    console.print(f"Train on it: metavoxel train {schema} --output runs/phantom", markup=False)


def _missing(rule: str | None, share: float | None, columns: list[str] | None) -> dict[str, object] | None:
    chosen: dict[str, object] = {"fraction": share, "columns": columns}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if rule is None and chosen:
        raise CohortError(Problem("--missing", "choose the rule by which cells are missing: mcar or mar_by_age"))
    return None if rule is None else {"rule": rule, **chosen}


def _option(setting: str) -> str:
    return _OPTIONS.get(setting, f"--{setting.replace('_', '-')}" if setting else "")


def _reports(output: Path, values: Mapping[str, object]) -> None:
    """Write pictures with reports and their schema, and print the expected errors."""
    from metavoxel.cohort.phantoms.reports import (
        read_report_truth,
        report_settings,
        write_report_phantom,
        write_report_schema,
    )
    from metavoxel.runs.bars import show
    from metavoxel.runs.subjects import phantom_progress

    settings = report_settings(values, _option)
    claim_folder(output)
    show(phantom_progress(write_report_phantom(output, settings)))
    schema = write_report_schema(output)
    console = Console(soft_wrap=True)
    console.print(_report_table(read_report_truth(output).bounds))
    console.print("The schema needs the variable type text: pip install metavoxel-text", markup=False)
    console.print(f"Train on it: metavoxel train {schema} --output runs/reports", markup=False)


def _report_table(bounds: "ReportBounds") -> Table:
    table = Table("", "from picture", "from report", "from both", box=None)
    table.title = "Bayes errors in the population: bounds for any prediction"
    given = ("image", "report", "both")
    errors = bounds._asdict()
    table.add_row("age: mean absolute error (years)", *(f"{errors[f'age_mae_given_{one}']:.3f}" for one in given))
    table.add_row("sex: accuracy", f"{bounds.sex_accuracy_given_image:.3f}", "0.500", "as from picture")
    table.add_row("same facts in another subject: probability", f"{bounds.same_facts:.3f}", "", "")
    return table


def _table(bounds: "Bounds") -> Table:
    """Table of the Bayes errors in the population."""
    table = Table("", "from the factors", "from the factors and the others", box=None)
    table.title = "Bayes errors in the population given the factors: bounds for any prediction from the images"
    rows = {
        "age: mean absolute error (years)": (bounds.age_mae, bounds.age_mae_given_others),
        "sex: accuracy": (bounds.sex_accuracy, bounds.sex_accuracy_given_others),
        "diagnosis: accuracy": (bounds.diagnosis_accuracy, bounds.diagnosis_accuracy_given_others),
        "diagnosis: AUC": (bounds.diagnosis_auc, bounds.diagnosis_auc_given_others),
    }
    for name, (from_factors, from_all) in rows.items():
        if from_factors is not None and from_all is not None:
            table.add_row(name, f"{from_factors:.3f}", f"{from_all:.3f}")
    return table
