"""Tables of results: as CSV with one number per cell, as text with intervals in brackets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pandas

from metavoxel.evaluation.metrics.bootstrap import Estimate

DASH = "—"
"""Text of a missing value."""

Cell = Estimate | float | int | str | None


@final
@dataclass(frozen=True)
class ResultTable:
    """Rows of cells; the columns are those of all rows, in order of first appearance."""

    rows: Sequence[Mapping[str, Cell]]

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def frame(self) -> pandas.DataFrame:
        """Data frame with one number per cell; the bounds of an interval follow its estimate."""
        estimates = {
            name for row in self.rows for name, cell in row.items() if isinstance(cell, Estimate)
        }  # fmt: skip
        rows = []
        for row in self.rows:
            cells: dict[str, object] = {}
            for name in self.columns:
                cell = row.get(name)
                if name in estimates:
                    estimate = cell if isinstance(cell, Estimate) else Estimate(*[math.nan] * 3)
                    named = {name: estimate.value, f"{name} low": estimate.low, f"{name} high": estimate.high}
                    cells |= {key: _written(value) for key, value in named.items()}
                else:
                    cells[name] = _written(cell)
            rows.append(cells)
        return pandas.DataFrame(rows)

    def write(self, path: Path) -> None:
        """Save as CSV."""
        self.frame().to_csv(path, index=False)

    def shown(self) -> list[list[str]]:
        """Cells as formatted text."""
        return [[shown(row.get(name)) for name in self.columns] for row in self.rows]


def write_frame(frame: pandas.DataFrame, path: Path) -> None:
    """Save a table as CSV, with cells formatted as in :class:`ResultTable`."""
    frame.to_csv(path, index=False, float_format="%.6g", na_rep=DASH)


def shown(cell: Cell) -> str:
    """Format a cell: three significant digits, an interval in brackets, a dash where missing."""
    if isinstance(cell, Estimate):
        if not math.isfinite(cell.value):
            return DASH
        bounds = f"[{digits(cell.low)}, {digits(cell.high)}]" if math.isfinite(cell.low) else ""
        return f"{digits(cell.value)} {bounds}".strip()
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return DASH
    return cell if isinstance(cell, str) else digits(cell)


def digits(value: float) -> str:
    """Format a number with three significant digits, integers and large values as whole numbers."""
    if isinstance(value, int) or (abs(value) >= 1000 and math.isfinite(value)):
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 4)}f}"


def _written(cell: object) -> object:
    """Value of a CSV cell: six significant digits, or a dash."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return DASH
    return float(f"{cell:.6g}") if isinstance(cell, float) else cell
