"""``metavoxel validate`` and ``metavoxel schema``: checks before training."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def validate(schema: Annotated[Path, typer.Argument(help="The schema's YAML file.")]) -> None:
    """Check a schema, its model and its cohort before training: counts, ranges, cells, image grids."""
    from metavoxel.cohort.read import read_cohort
    from metavoxel.cohort.summary import describe, render
    from metavoxel.cohort.warnings import cohort_warnings
    from metavoxel.learning.buildable import check_buildable
    from metavoxel.learning.forecast import image_code_lines, training_lines
    from metavoxel.learning.missingness_weights import check_missing_weights
    from metavoxel.schema import load_schema

    checked = load_schema(schema)
    check_buildable(checked)
    multiples = checked.multiples()
    cohort = read_cohort(checked.specs, checked.cohort, folder=checked.folder, multiples=multiples, check=True)
    check_missing_weights(checked, cohort)
    resolved = checked.with_specs(cohort.variables)
    check_buildable(resolved)
    Console().print(render(describe(cohort)))
    for line in (*image_code_lines(resolved, cohort), *training_lines(resolved, cohort)):
        Console().print(line, soft_wrap=True, markup=False, highlight=False)
    for problem in cohort_warnings(cohort, images=True):
        Console(stderr=True).print(f"Warning: {problem}", soft_wrap=True, markup=False, highlight=False)


def schema() -> None:
    """Print the JSON Schema of the installed types, for completion of schema.yaml in editors."""
    from metavoxel.plugins.registry import load_registry
    from metavoxel.schema.json_schema import json_schema

    typer.echo(json.dumps(json_schema(load_registry()), indent=2))
