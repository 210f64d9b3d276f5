"""``metavoxel plugins``: list installed types, and run the conformance suite of a plugin."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from metavoxel.plugins.registry import Registry


def plugins(
    check: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run the conformance suite on this plugin; exit 1 if it fails.")
    ] = None,
) -> None:
    """List the installed types with their distribution and version; or check those of one plugin."""
    from metavoxel.plugins.registry import KINDS, load_registry

    registry = load_registry()
    if check is not None:
        _check(registry, check)
        return
    table = Table("kind", "type", "from", box=None)
    for kind in KINDS:
        for name in registry.names(kind):
            table.add_row(kind, name, str(registry.origin(kind, name)))
    console = Console()
    console.print(table)
    for failure in registry.failures:
        console.print(f"Not usable: {failure.origin}: {failure.reason}", style="red", markup=False, soft_wrap=True)


def _check(registry: "Registry", distribution: str) -> None:
    """Print a line for each type, one for each failed check with its message, and the totals."""
    from metavoxel.testing import installed_checks, run_checks

    console = Console(highlight=False, soft_wrap=True)
    results = run_checks(installed_checks(registry, distribution))
    failed = [result for result in results if not result.ok]
    passed = Counter(result.subject for result in results if result.ok)
    for subject, count in passed.items():
        console.print(f"{subject}: {count} passed", markup=False)
    for result in failed:
        console.print(f"FAILED {result.subject}, {result.name}: {result.message}", style="red", markup=False)
    console.print(f"{distribution}: {len(results)} checks, {len(failed)} failed", markup=False)
    if failed:
        raise typer.Exit(1)
