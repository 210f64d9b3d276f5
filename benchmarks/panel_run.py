"""Measurements of the panel, each a function of a table, a method and a seed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas

from benchmarks.imputation import Classes, imputation_errors, iterative, miss_forest, simple
from benchmarks.panel_generators import AbstractGenerator, generators, told_apart
from benchmarks.panel_joint import Joint, Runs, imputed
from benchmarks.panel_methods import AbstractMethod, Exact, Marginal, Neighbours
from benchmarks.panel_missing import MECHANISMS, removed
from benchmarks.panel_regressions import Linear, Trees
from benchmarks.panel_results import Unit
from benchmarks.panel_scores import label_scores, number_scores, share_between, width_ratios
from benchmarks.panel_tables import Question, Task, Training, few_task, real_tables, real_task, world_task
from benchmarks.panel_worlds import WORLDS, shapes_mode

PARTS = ("worlds", "real", "few", "samples", "missing")
METHODS = ("exact", "metavoxel", "trees", "neighbours", "linear", "marginal")
GENERATORS = ("real", "metavoxel", "ctgan", "tvae", "forestdiffusion")
IMPUTERS = ("metavoxel", "iterative", "missforest", "mean")
SAMPLED = ("shapes", "counts", "diabetes", "wine", "cancer", "ixi")
IMPUTED = ("diabetes", "wine", "ixi", "cancer")
"""Tables for imputation: the first three available ones."""
QUICK, QUICK_MECHANISMS = ("diabetes",), ("mcar", "mnar_self")
OLD, THIRDS = 65, (48, 67)
"""Ages in the world ``shapes``: its two modes are well separated above the first; the others are terciles."""
Figures = dict[str, Any]
Work = tuple[Unit, Callable[[], Figures]]


@final
@dataclass(frozen=True)
class Panel:
    """Settings of the panel.

    Args:
        folder: of the models.
        seeds: each of a sample or split, and a fit.
        rows, test_rows: of a world.
        draws: per row.
        subsets: of diabetes, of ``few`` rows each.
        trees: of the forest that separates samples.
        table: of IXI.
        quick: minimal sizes, as a test that everything runs.
    """

    folder: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    rows: int = 500
    test_rows: int = 2000
    draws: int = 20
    subsets: int = 12
    few: int = 20
    trees: int = 100
    table: Path = Path("../shared/data/ixi_tabular/ixi.csv")
    quick: bool = False

    def settings(self) -> dict[str, object]:
        """Settings common to all measurements in a folder."""
        names = ("rows", "draws", "few", "trees", "quick")
        return {name: getattr(self, name) for name in names}

    @property
    def runs(self) -> Runs:
        """Joint models."""
        return Runs.quick(self.folder / "models") if self.quick else Runs(self.folder / "models")

    def method(self, name: str, table: str) -> AbstractMethod:
        """Return a method by name; the exact one is that of the table's world."""
        if name == "exact":
            return Exact(WORLDS[table])
        found = (Joint(self.runs), Trees(quick=self.quick), Neighbours(), Linear(), Marginal())
        return {method.name: method for method in found}[name]

    def tables(self) -> dict[str, tuple[pandas.DataFrame, Classes]]:
        """Return the real tables; one in a quick panel."""
        found = real_tables(self.table)
        return {name: found[name] for name in QUICK} if self.quick else found

    def _size(self, task: Task) -> Task:
        return task.cut(self.rows, self.test_rows) if self.quick else task

    def work(self, part: str, methods: Sequence[str]) -> Iterator[Work]:
        """Yield the units of a part, with the function that measures each."""
        return {
            "worlds": self._worlds,
            "real": self._real,
            "few": self._few,
            "samples": self._samples,
            "missing": self._missing,
        }[part](methods)

    def _worlds(self, methods: Sequence[str]) -> Iterator[Work]:
        for seed in self.seeds:
            for name in WORLDS:
                task = self._size(world_task(name, seed, self.rows, self.test_rows))
                for method in (method for method in METHODS if method in methods):
                    yield Unit("worlds", name, method, seed), self._asked(task, method)

    def _real(self, methods: Sequence[str]) -> Iterator[Work]:
        for seed in self.seeds:
            for name, (rows, classes) in self.tables().items():
                task = self._size(real_task(name, rows, classes, seed))
                for method in (method for method in METHODS[1:] if method in methods):
                    yield Unit("real", name, method, seed), self._asked(task, method)

    def _few(self, methods: Sequence[str]) -> Iterator[Work]:
        for subset in range(self.subsets):
            for method in (method for method in METHODS[1:] if method in methods):
                task = self._size(few_task(subset, self.few))
                yield Unit("few", "diabetes", method, subset), self._asked(task, method)

    def _asked(self, task: Task, method: str) -> Callable[[], Figures]:
        return lambda: judged(self.method(method, task.table), task, self.draws)

    def _samples(self, methods: Sequence[str]) -> Iterator[Work]:
        real, known = self.tables(), generators(self.runs, quick=self.quick)
        for seed in self.seeds:
            for name in SAMPLED:
                if name not in WORLDS and name not in real:
                    continue
                task = (
                    world_task(name, seed, self.rows, self.test_rows)
                    if name in WORLDS
                    else real_task(name, *real[name], seed)
                )
                for method in (method for method in GENERATORS if method in methods):
                    yield Unit("samples", name, method, seed), _separated(known[method], self._size(task), self.trees)

    def _missing(self, methods: Sequence[str]) -> Iterator[Work]:
        real = self.tables()
        for seed in self.seeds:
            for table in [name for name in IMPUTED if name in real][:3]:
                rows, classes = real[table]
                rows = rows.head(self.rows) if self.quick else rows
                for place, mechanism in enumerate(QUICK_MECHANISMS if self.quick else MECHANISMS):
                    for method in (method for method in IMPUTERS if method in methods):
                        name = f"{table}-{mechanism}"
                        work = _filled(rows, classes, mechanism, method, seed, place, self.runs, name)
                        yield Unit("missing", name, method, seed), work


def judged(method: AbstractMethod, task: Task, draws: int) -> Figures:
    """Return the scores of every prediction by row and, for the world ``shapes``, measures of its two shapes."""
    start, found = time.perf_counter(), {}
    shapes: Figures = {}
    for place, question in enumerate(task.questions):
        test = task.test[task.test[question.target].notna()]
        given, truth = test[list(question.predictors)].reset_index(drop=True), test[question.target].to_numpy()
        random = np.random.default_rng((task.training.seed, place, 9))
        if question.target in task.training.classes:
            chances = method.fit_label(task.training, question).probabilities(given)
            found[question.target] = label_scores(chances, truth.astype(int))
            continue
        fitted = method.fit_number(task.training, question)
        drawn = fitted.draws(given, draws, random)
        found[question.target] = number_scores(drawn, fitted.means(given), truth)
        if task.table == "shapes":
            shapes |= of_shapes(question, given["age"].to_numpy(), drawn)
    return {"scores": found, "shapes": shapes, "seconds": time.perf_counter() - start}


def of_shapes(question: Question, age: np.ndarray, drawn: np.ndarray) -> Figures:
    """Return interval widths by third of age over exact ones and, for ``bim``, the fraction of draws between its modes.

    Exact widths are means over the same number of exact draws, as those of few draws are wider than the distribution's.
    """
    rows = pandas.DataFrame({"age": age})
    exact = WORLDS["shapes"].exact(rows, 1000, np.random.default_rng(2))[question.target]
    same = WORLDS["shapes"].exact(rows, drawn.shape[1], np.random.default_rng(3))[question.target]
    thirds = np.digitize(age, THIRDS)
    ratios, chance = (width_ratios(values, exact, thirds) for values in (drawn, same))
    found: Figures = {f"{question.target} widths": [a / b for a, b in zip(ratios, chance, strict=True)]}
    if question.target == "bim":
        old = age > OLD
        found["valley"] = share_between(drawn[old], shapes_mode(age[old]) / 2)
    return found


def _separated(generator: AbstractGenerator, task: Task, trees: int) -> Callable[[], Figures]:
    def work() -> Figures:
        version, start = generator.version(), time.perf_counter()
        found = told_apart(generator, task.training, task.test, trees=trees)
        return {**found, "version": version, "seconds": time.perf_counter() - start}

    return work


def _filled(
    rows: pandas.DataFrame,
    classes: Classes,
    mechanism: str,
    method: str,
    seed: int,
    place: int,
    runs: Runs,
    name: str,
) -> Callable[[], Figures]:
    def work() -> Figures:
        start = time.perf_counter()
        gone = removed(MECHANISMS[mechanism], rows, np.random.default_rng((seed, place, 5))) & rows.notna()
        seen = rows.mask(gone)
        ways: Mapping[str, Callable[[], pandas.DataFrame]] = {
            "metavoxel": lambda: imputed(runs, Training(f"{name}-{seed}", seen, classes, seed)),
            "iterative": lambda: iterative(seen, classes, seed),
            "missforest": lambda: miss_forest(seen, classes, seed),
            "mean": lambda: simple(seen, classes),
        }
        errors = imputation_errors(ways[method](), rows, gone, classes)
        share = float(gone.to_numpy().mean())
        return {**errors, "share": share, "seconds": time.perf_counter() - start}

    return work
