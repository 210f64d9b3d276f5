"""Tables and plot of the results of ``missing.py`` in the documentation."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

DOCS = Path(__file__).resolve().parent.parent / "docs"
Rows = dict[str, Any]
"""Figures of one part by name."""

QUESTIONS: tuple[tuple[str, ...], ...] = ((), ("s2",), ("s3",), ("s2", "s3"))
"""Evidence sets of predictions of s1 that do not contain all variables that determine missingness."""
FILLED = ("complete rows", "IterativeImputer", "MissForest", "mean", "exact")
ANALYTIC = [
    "complete data, all rows",
    "half of s1, all rows",
    "half of s1, complete rows",
    *[f"MAR, {how}" for how in ("all rows", "weighted", *FILLED)],
    *[f"MCAR, {how}" for how in ("all rows", *FILLED)],
    *[f"MNAR, {how}" for how in ("all rows", *FILLED)],
]
REAL = [f"IXI, {how}" for how in ("all rows", "MissForest", "IterativeImputer", "mean")]


def spread(results: Mapping[str, Rows], part: str, *figure: str) -> str:
    """Format the mean over seeds, and the lowest and highest value."""
    found = []
    for key, result in results.items():
        if key.rsplit(" #", 1)[0] == part:
            value: Any = result
            for name in figure:
                value = value.get(name, {}) if isinstance(value, dict) else {}
            if isinstance(value, float):
                found.append(value)
    if not found:
        return ""
    return f"{np.mean(found):.3f}" + (f" [{min(found):.3f}, {max(found):.3f}]" if len(found) > 1 else "")


def markdown(results: Mapping[str, Rows]) -> dict[str, str]:
    """Return the tables of the documentation by name."""

    def table(head: str, rows: list[tuple[str, str]], figures: list[tuple[str, ...]]) -> str:
        lines = [head, "|---" * (len(figures) + 1) + "|"]
        for title, part in rows:
            columns = [spread(results, part, *figure) for figure in figures]
            if any(columns):
                lines.append("| " + " | ".join([title, *columns]) + " |")
        return "\n".join(lines) if len(lines) > 2 else "Not measured yet."

    filled = ("numbers", "categories")
    mechanisms = [(part, part) for part in ANALYTIC[3:]]
    marginal = [(part, part) for part in ANALYTIC if part.endswith(("rows", "weighted"))]
    return {
        "all others": table(
            "| cells, training | `s1`: squared error / exact | `s3`: the same | `five`: error of probabilities |",
            marginal,
            [("s1 from all",), ("s3 from all",), ("five from all",)],
        ),
        "imputation": table(
            "| cells, filled by | numbers: normalised RMSE | categories: error rate |",
            mechanisms,
            [("imputation", kind) for kind in filled],
        ),
        "marginals": table(
            "| cells, training | `s1` given nothing | given `s2` | given `s3` | given `s2`, `s3` | `five`: TV |",
            marginal,
            [*[(f"s1 given {' '.join(given) or 'nothing'}",) for given in QUESTIONS], ("five given nothing",)],
        ),
        "ixi": table(
            "| filled by | numbers: normalised RMSE | categories: error rate |",
            [(part.partition(", ")[2], part) for part in REAL],
            [("imputation", kind) for kind in filled],
        ),
    }


def plot(results: Mapping[str, Rows], path: Path) -> None:
    """Plot errors of imputed cells, of marginals, and on the real table."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)

    def bars(axis: Any, parts: Mapping[str, list[str]], figure: tuple[str, ...], title: str) -> None:
        names = list(dict.fromkeys(name for found in parts.values() for name in found))
        for place, name in enumerate(names):
            heights = [spread(results, f"{group}, {name}", *figure).split(" ")[0] for group in parts]
            at = [index + 0.8 * place / len(names) for index, height in enumerate(heights) if height]
            axis.bar(at, [float(height) for height in heights if height], 0.8 / len(names), label=name)
        axis.set_xticks([index + 0.35 for index in range(len(parts))], list(parts))
        axis.set_title(title, fontsize=10)
        axis.set_ylim(top=1.4 * axis.get_ylim()[1])  # room above the bars
        axis.legend(fontsize=7)

    ways = ["all rows", "complete rows", "IterativeImputer", "MissForest", "mean", "exact"]
    mechanisms = ("MCAR", "MAR", "MNAR")
    title = "analytic joint: missing numbers, normalised RMSE"
    bars(axes[0], dict.fromkeys(mechanisms, ways), ("imputation", "numbers"), title)
    trainings = ["all rows", "weighted", "complete rows"]
    title = "analytic joint: error of the mean of s1"
    bars(axes[1], dict.fromkeys(mechanisms, trainings), ("s1 given nothing",), title)
    axes[1].axhline(0.02, color="black", linewidth=0.7, linestyle=":")
    title = "IXI: removed numbers, normalised RMSE"
    bars(axes[2], {"IXI": [part.partition(", ")[2] for part in REAL]}, ("imputation", "numbers"), title)
    figure.savefig(path, dpi=110)


def write(results: Mapping[str, Rows]) -> None:
    """Insert the tables between their markers in the documentation, and write the plot."""
    document = DOCS / "how-to" / "missing-data.md"
    text = document.read_text(encoding="utf-8")
    for name, table in markdown(results).items():
        marks = re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marks.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)
    document.write_text(text, encoding="utf-8")
    plot(results, DOCS / "images" / "missing.png")
