"""``tools/import_graph.py`` prints every unit once, above the units that it imports."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "import_graph.py"


@pytest.fixture(scope="module")
def printed() -> list[tuple[int, str, list[str]]]:
    """(layer, unit, imported units) of every line."""
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [(int(row[0]), row[1], row[2].split(", ") if len(row) > 2 else []) for row in rows]


def test_every_unit_is_printed_once(printed, package):
    units = {name.split(".")[1] for name in package if name not in ("metavoxel", "metavoxel.__main__")}
    assert sorted(unit for _, unit, _ in printed) == sorted(units)


def test_units_import_lower_layers_only(printed):
    layers = {unit: layer for layer, unit, _ in printed}
    assert [layer for layer, _, _ in printed] == sorted(layers.values())
    for layer, unit, imported in printed:
        assert all(layers[one] < layer for one in imported), unit
        assert layer == max((layers[one] + 1 for one in imported), default=0), unit
