"""Progress bars of long work, in a terminal or a notebook."""

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from metavoxel.runs.progress import Progress

_Result = TypeVar("_Result")
MOST_METRICS, HIGHEST = 8, 3
"""Metrics printed one by one, and number of the highest printed if there are more."""


def show(work: Generator[Progress, None, _Result]) -> _Result:
    """Run the work with a progress bar for each stage, its metrics and remaining time; return its result."""
    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
        console=console,
        refresh_per_second=2,
    )
    tasks: dict[str, TaskID] = {}
    with bars, closing(work):  # closing saves a training that is interrupted while printing
        while True:
            try:
                event = next(work)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, total=event.total, metrics="")
            metrics = _shown(event.metrics)
            bars.update(tasks[event.stage], completed=event.done, metrics=metrics)
            shown = console.is_terminal or console.is_jupyter
            if not shown and (event.done == event.total or event.done % max(event.total // 10, 1) == 0):
                console.print(f"{event.stage} {event.done}/{event.total} {metrics}", soft_wrap=True, markup=False)


def _shown(metrics: Mapping[str, float]) -> str:
    """Format metrics as one line; of many, their mean and the highest."""
    if len(metrics) <= MOST_METRICS:
        return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
    highest = sorted(metrics, key=lambda name: metrics[name])[: -HIGHEST - 1 : -1]
    listed = ", ".join(f"{name} {metrics[name]:.3g}" for name in highest)
    return f"mean of {len(metrics)} {sum(metrics.values()) / len(metrics):.3g}, highest {listed}"


def finish(work: Generator[Progress, None, _Result], *, progress: bool) -> _Result:
    """Run the work, with progress bars (:func:`show`) or without; return its result."""
    if progress:
        return show(work)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
