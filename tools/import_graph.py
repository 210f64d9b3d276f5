"""Print the units of the package with their imports, lowest layer first: ``python tools/import_graph.py``.

A unit is a module or package directly under ``metavoxel``. Each line has the unit's layer, its name, and the units that
it imports, wherever in a file the import stands. Units of layer 0 import no others; a unit's layer is one above the
highest that it imports. The source is parsed, not imported.
"""

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "metavoxel"
ROOTS = ("__init__", "__main__")
"""Modules above all layers."""


class _Imports(ast.NodeVisitor):
    """Dotted names that a module imports."""

    def __init__(self, path: Path) -> None:
        self.names: list[str] = []
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def visit_Import(self, node: ast.Import) -> None:
        self.names += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.names += [f"{node.module}.{alias.name}" for alias in node.names]


def import_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return the units that each unit imports."""
    paths = {path: path.relative_to(package).with_suffix("").parts[0] for path in sorted(package.rglob("*.py"))}
    graph: dict[str, set[str]] = {unit: set() for unit in paths.values() if unit not in ROOTS}
    for path, unit in paths.items():
        if unit in graph:
            own = [name.split(".")[1] for name in _Imports(path).names if name.startswith(f"{package.name}.")]
            graph[unit] |= set(own) & graph.keys() - {unit}
    return graph


def lines(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield one line per unit, lowest layer first. Raises ``graphlib.CycleError`` if imports are circular."""
    sorter, layer = TopologicalSorter(graph), 0
    sorter.prepare()
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        yield from (f"{layer:2d}  {unit:11s}  {', '.join(sorted(graph[unit]))}".rstrip() for unit in ready)
        sorter.done(*ready)
        layer += 1


if __name__ == "__main__":
    print("\n".join(lines(import_graph())))
