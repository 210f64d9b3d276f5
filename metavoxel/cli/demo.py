"""``metavoxel demo``."""

import typer


def demo() -> None:
    """Placeholder until the demo below."""
    raise typer.Exit(1)
