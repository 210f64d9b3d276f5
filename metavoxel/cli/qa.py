"""``metavoxel qa``: the page for visual quality control of a derivative."""

from pathlib import Path
from typing import Annotated

import typer


def qa(
    derivative: Annotated[Path, typer.Argument(help="Derivative of metavoxel prepare.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8321,
) -> None:
    """Serve a local page to look at prepared scans, worst first; decisions are written to qa.tsv."""
    from metavoxel.preparation.qa.server import serve

    where = f"http://127.0.0.1:{port} (stop with Ctrl-C); decisions: {derivative / 'qa.tsv'}"
    serve(derivative, port=port, ready=lambda: typer.echo(where))
