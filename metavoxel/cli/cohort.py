"""``metavoxel validate`` and ``schema``: looking before training."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.summary import describe, render
from metavoxel.cohort.warnings import cohort_warnings
from metavoxel.registry import load_registry
from metavoxel.schema import load_schema
from metavoxel.schema.json_schema import json_schema


def validate(schema: Annotated[Path, typer.Argument(help="The schema's YAML file.")]) -> None:
    """Check a schema and its cohort before any training: counts, ranges, categories, missing cells, image grids."""
    checked = load_schema(schema)
    cohort = read_cohort(checked.specs, checked.cohort, folder=checked.folder, multiples=checked.multiples())
    Console().print(render(describe(cohort)))
    for problem in cohort_warnings(cohort):
        Console(stderr=True).print(f"Warning: {problem}", soft_wrap=True, markup=False, highlight=False)


def schema() -> None:
    """Print the JSON Schema of the installed types, for editors that complete schema.yaml."""
    typer.echo(json.dumps(json_schema(load_registry()), indent=2))
