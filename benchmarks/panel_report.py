"""Tables of the panel's results."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.panel_generators import generators
from benchmarks.panel_joint import Runs
from benchmarks.panel_missing import MECHANISMS
from benchmarks.panel_results import Results, Unit
from benchmarks.panel_run import GENERATORS, IMPUTERS, METHODS
from benchmarks.panel_scores import mean_and_error, mean_ranks
from benchmarks.tables import DOCS, markdown

LACKING = "not measured"
SIMPLE = ("trees", "neighbours", "linear", "marginal")
Scores = dict[tuple[str, str, str], dict[str, dict[int, dict[str, np.ndarray]]]]
"""By part, table and target, then method, then seed: scores by row."""


def scores_of(results: Results, parts: Sequence[str]) -> Scores:
    """Return the scores of some parts, for the seeds and first test rows that all methods of a task have."""
    found: Scores = {}
    for part in parts:
        for unit, figures in results.of(part):
            for target, scores in figures["scores"].items():
                kept = {name: np.array(values) for name, values in scores.items()}
                task = found.setdefault((part, unit.table, target), {})
                task.setdefault(unit.method, {})[unit.seed] = kept
    for task in found.values():
        common = set.intersection(*(set(seeds) for seeds in task.values()))
        if not common:
            continue
        task.update({method: {seed: seeds[seed] for seed in sorted(common)} for method, seeds in task.items()})
        for seed in common:
            measured = [seeds[seed] for seeds in task.values()]
            fewest = min(len(values) for scores in measured for values in scores.values())
            for scores in measured:
                scores.update({name: values[:fewest] for name, values in scores.items()})
    return found


def figure(value: float) -> str:
    """Format with three significant digits and no exponent."""
    if np.isnan(value) or value == 0:
        return "0" if value == 0 else "nan"
    digits = 2 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{max(digits, 0)}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{max(digits, 0)}f}"


def with_error(values: Sequence[float]) -> str:
    """Format mean and standard error over seeds, or over rows of a single seed."""
    mean, error = mean_and_error(np.array(values))
    return figure(mean) if np.isnan(error) else f"{figure(mean)} ± {figure(error)}"


def _main(scores: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]) -> str:
    """Return the score by which methods are ranked: CRPS of a number, log loss of a category."""
    return "crps" if "crps" in next(iter(next(iter(scores.values())).values())) else "log_loss"


def _mean(task: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]], method: str, score: str) -> float:
    found = [float(rows[score].mean()) for rows in task.get(method, {}).values() if score in rows]
    return float(np.mean(found)) if found else float("nan")


def best_simple(task: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]], score: str) -> str | None:
    """Return the simple method of lowest mean score; None if none was measured."""
    found = {method: _mean(task, method, score) for method in SIMPLE if method in task}
    return min(found, key=lambda method: found[method]) if found else None


def paired(
    task: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]], method: str, other: str, score: str
) -> list[float]:
    """Return differences of two methods' scores: of seeds' means, or of rows if they share one seed only."""
    both = sorted(set(task.get(method, {})) & set(task.get(other, {})))
    rows = [task[method][seed][score] - task[other][seed][score] for seed in both]
    return rows[0].tolist() if len(rows) == 1 else [float(difference.mean()) for difference in rows]


def panel(scores: Scores) -> list[str]:
    """Return tables of scores with mean ranks, and of paired differences from the best simple method."""
    tasks = {key: scores[key] for key in sorted(scores, key=lambda key: ("worlds", "real").index(key[0]))}
    lines, gaps = [], []
    relative: dict[str, list[float]] = {method: [] for method in METHODS[1:]}
    for (_, table, target), task in tasks.items():
        score = _main(task)
        means = {method: _mean(task, method, score) for method in METHODS}
        name = "CRPS" if score == "crps" else "log loss"
        lines.append([table, target, name, *(_cell(means[method], method) for method in METHODS)])
        best = best_simple(task, score)
        if best is None:
            continue
        cells = []
        for method in METHODS[1:]:
            found = paired(task, method, best, score)
            cells.append(LACKING if not found else "best" if method == best else with_error(found))
            if found:
                relative[method].append((means[method] - means[best]) / means["marginal"])
        gaps.append([table, target, f"{best}: {figure(means[best])}", *cells])
    ranked = [method for method in METHODS[1:] if any(method in task for task in tasks.values())]
    values = np.array([[_mean(task, method, _main(task)) for method in ranked] for task in tasks.values()])
    ranks = dict(zip(ranked, mean_ranks(values), strict=True)) if len(values) else {}
    lines.append(["mean rank", "", "", "", *(_cell(ranks.get(method, np.nan), method) for method in METHODS[1:])])
    mean = [f"{with_error([100 * value for value in relative[method]])} %" if relative[method] else LACKING
            for method in METHODS[1:]]  # fmt: skip
    gaps.append(["mean over tasks, share of the marginal's score", "", "", *mean])
    return [
        markdown(["table", "target", "score", *METHODS], lines),
        markdown(["table", "target", "best simple method", *METHODS[1:]], gaps),
    ]


def _cell(value: float, method: str) -> str:
    if not np.isnan(value):
        return figure(value)
    return "" if method == "exact" else LACKING


def shapes(results: Results) -> str:
    """Return the table of the fraction of draws between the two modes, and interval widths by third of age."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for unit, figures in results.of("worlds"):
        if unit.table == "shapes":
            found.setdefault(unit.method, []).append(figures["shapes"])
    lines = []
    for method in METHODS:
        seen = found.get(method, [])
        if not seen:
            lines.append([method, *[LACKING] * 7])
            continue
        widths = [
            figure(float(np.mean([one[f"{target} widths"][third] for one in seen])))
            for target, third in product(("bim", "het"), range(3))
        ]
        lines.append([method, figure(float(np.mean([one["valley"] for one in seen]))), *widths])
    thirds = ("under 48", "48 to 67", "67 and over")
    columns = [f"{target}: {third}" for target, third in product(("bim", "het"), thirds)]
    return markdown(["method", "bim: in the valley", *columns], lines)


def further(scores: Scores) -> str:
    """Return the table of RMSE and coverage of numbers, Brier score and error rate of categories, on real tables."""
    lines = []
    for (_, table, target), task in scores.items():
        for name, score in (
            (("RMSE", "squared"), ("90 % covers", "covered"), ("width", "width"))
            if _main(task) == "crps"
            else (("Brier", "brier"), ("error rate", "wrong"))
        ):
            cells = [_mean(task, method, score) for method in METHODS[1:]]
            cells = [np.sqrt(cell) if score == "squared" else cell for cell in cells]
            texts = [_cell(cell, method) for cell, method in zip(cells, METHODS[1:], strict=True)]
            lines.append([table, target, name, *texts])
    return markdown(["table", "target", "figure", *METHODS[1:]], lines)


def few(results: Results) -> str:
    """Return the table of diabetes from a few rows: errors, differences from ridge and from the mean, coverage."""
    task = scores_of(results, ["few"]).get(("few", "diabetes", "target"), {})
    lines = []
    for method in METHODS[1:]:
        if method not in task:
            lines.append([method, *[LACKING] * 5])
            continue
        rmse = {name: {seed: np.sqrt(rows["squared"].mean()) for seed, rows in task[name].items()} for name in task}
        cells = [with_error(list(rmse[method].values()))]
        for other in ("linear", "marginal"):
            both = sorted(set(rmse[method]) & set(rmse.get(other, {})))
            differences = [rmse[method][seed] - rmse[other][seed] for seed in both]
            cells.append("" if method == other else with_error(differences) if both else LACKING)
        for score in ("covered", "crps"):
            cells.append(with_error([float(rows[score].mean()) for rows in task[method].values()]))
        lines.append([method, *cells])
    return markdown(["method", "RMSE", "less ridge's", "less the mean's", "90 % covers", "CRPS"], lines)


def samples(results: Results) -> str:
    """Return the table of accuracies of the forest that separates generated from held-out rows."""
    known = generators(Runs(results.folder))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for unit, figures in results.of("samples"):
        found.setdefault((unit.table, unit.method), []).append(figures)
    lines = []
    for table in dict.fromkeys(table for table, _ in found):
        rows = next(one["rows"] for key, seen in found.items() if key[0] == table for one in seen)
        cells = []
        for method in GENERATORS:
            seen = found.get((table, method), [])
            lacking = LACKING if known[method].installed else "not installed"
            cells.append(with_error([one["accuracy"] for one in seen]) if seen else lacking)
        lines.append([table, rows, *cells])
    versions = sorted({one["version"] for seen in found.values() for one in seen} - {""})
    table = markdown(["table", "rows of each", *GENERATORS], lines)
    return f"{table}\n{', '.join(versions)}\n" if versions else table


def missing(results: Results) -> str:
    """Return tables of errors of removed cells by mechanism, of numbers and of categories."""
    found: dict[tuple[str, str], list[tuple[Unit, dict[str, Any]]]] = {}
    for unit, figures in results.of("missing"):
        found.setdefault((unit.table.partition("-")[2], unit.method), []).append((unit, figures))

    def cell(keys: Sequence[tuple[str, str]]) -> str:
        texts = []
        for kind in ("numbers", "categories"):
            values = [one[kind] for key in keys for _, one in found.get(key, []) if kind in one]
            texts.append(figure(float(np.mean(values))) if values else "")
        return " / ".join(texts) if any(texts) else LACKING

    lines = []
    for name, mechanism in MECHANISMS.items():
        cells = [cell([(name, method)]) for method in IMPUTERS]
        lines.append([mechanism.kind, mechanism.about, *cells])
    for kind in ("MAR", "MNAR"):
        names = [name for name, mechanism in MECHANISMS.items() if mechanism.kind == kind]
        lines.append([kind, "mean", *(cell([(name, method) for name in names]) for method in IMPUTERS)])
    return markdown(["", "cells go missing", *IMPUTERS], lines)


def tables(results: Results) -> dict[str, str]:
    """Return all tables by name."""
    found = panel(scores_of(results, ["worlds", "real"]))
    return {
        "panel": found[0],
        "panel differences": found[1],
        "panel shapes": shapes(results),
        "panel real": further(scores_of(results, ["real"])),
        "panel few": few(results),
        "panel samples": samples(results),
        "panel missing": missing(results),
    }


def publish(found: Mapping[str, str], document: Path = DOCS / "benchmarks.md") -> None:
    """Insert the tables between their markers in the documentation."""
    text = document.read_text(encoding="utf-8")
    for name, table in found.items():
        marks = re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marks.sub(lambda match, table=table: f"{match[1]}{table}{match[2]}", text)
    document.write_text(text, encoding="utf-8")
