"""Figures of numbers: predictions against truth, spread against error, posteriors, calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metavoxel.evaluation.held_out_predictions import HeldOutPredictions
from metavoxel.evaluation.metrics.calibration import Curve, calibration_error
from metavoxel.evaluation.metrics.ranks import Histogram
from metavoxel.inference.plot import INK, QUIET, agreement, plain

COLOURS = ("#1f4e79", "#c0504d", "#4f9a55", "#8064a2", "#d68a1f", "#3a9fb5", "#7f7f7f", "#a0522d")

PANELS = 4
"""Most panels side by side."""


def against_truth(
    truth: Float64[np.ndarray, "n"], predicted: Mapping[str, Float64[np.ndarray, "n"]], label: str
) -> Figure:
    """Predicted against true values, one panel per method, on common axes."""
    figure, axes = _panels(len(predicted), f"true {label}", f"predicted {label}")
    for axis, (name, values) in zip(axes, predicted.items(), strict=True):
        x, y = axis.get_xlabel(), axis.get_ylabel()
        agreement(truth, values, ax=axis)
        axis.set(xlabel=x, ylabel=y)
        axis.set_title(f"{name}\n{axis.get_title()}", fontsize=9)
    return figure


def spread_against_error(spread: Float64[np.ndarray, "n"], errors: Float64[np.ndarray, "n"], label: str) -> Figure:
    """Absolute error against the standard deviation of the draws, with the mean error in thirds of the spread."""
    figure = Figure(figsize=(4, 3.2), layout="constrained")
    axis = figure.subplots()
    known = np.isfinite(spread) & np.isfinite(errors)
    spread, errors = spread[known], errors[known]
    axis.plot(spread, errors, "o", ms=3.5, alpha=0.6, color=INK, mew=0, label="test row")
    order = np.argsort(spread)
    thirds = [rows for rows in np.array_split(order, 3) if len(rows)]
    axis.plot([spread[rows].mean() for rows in thirds], [errors[rows].mean() for rows in thirds], "s-",
              color=COLOURS[1], ms=6, label="mean of a third of the rows")  # fmt: skip
    top = float(spread.max(initial=0.0))
    axis.plot([0, top], [0, top * np.sqrt(2 / np.pi)], color=QUIET, lw=1, label="calibrated Gaussian")
    axis.set_xlabel(f"standard deviation of the draws, {label}", fontsize=9)
    axis.set_ylabel("absolute error", fontsize=9)
    axis.legend(fontsize=7, frameon=False)
    plain(axis)
    return figure


def posteriors(
    predictions: Sequence[HeldOutPredictions],
    truth: Float64[np.ndarray, "n"],
    rows: Sequence[int],
    names: Sequence[str],
    label: str,
) -> Figure:
    """Draws of a number for a few subjects, given every subset of the other variables, with the true value."""
    figure = Figure(figsize=(2.6 * len(rows) + 1.2, 0.42 * len(predictions) + 1.1), layout="constrained")
    axes = figure.subplots(1, len(rows), squeeze=False, sharex=True, sharey=True)[0]
    places = np.arange(len(predictions))[::-1]
    for axis, row, name in zip(axes, rows, names, strict=True):
        for place, one, colour in zip(places, predictions, (*COLOURS, *[QUIET] * len(predictions)), strict=False):
            draws = one.draws[row]
            low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], method="weibull")
            axis.plot(draws, np.full(len(draws), place), "|", color=colour, alpha=0.55, ms=9)
            axis.plot([low, high], [place, place], color=colour, lw=1.2)
            axis.plot([middle], [place], "o", color=colour, ms=4)
        axis.axvline(truth[row], color="black", lw=1, ls="--")
        axis.set_title(f"{name} (true {truth[row]:.3g})", fontsize=9)
        axis.set_xlabel(label, fontsize=9)
        plain(axis)
    axes[0].set_ylabel("given", fontsize=9)
    axes[0].set_yticks(places, [", ".join(one.given) or "nothing" for one in predictions], fontsize=8)
    return figure


def calibrations(curves: Mapping[str, Curve], x: str, y: str) -> Figure:
    """Predicted against observed frequencies, one panel per curve, with 95 % intervals."""
    figure, axes = _panels(len(curves), x, y)
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        bars = [np.clip(curve.observed - curve.low, 0, 1), np.clip(curve.high - curve.observed, 0, 1)]
        axis.plot([0, 1], [0, 1], color=QUIET, lw=1)
        axis.errorbar(curve.predicted, curve.observed, bars, fmt="o-", ms=4, lw=1.2, elinewidth=0.8, color=INK)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axis.set_title(f"{name}\nmean distance {calibration_error(curve):.2f}", fontsize=9)
    return figure


def histograms(panels: Mapping[str, Histogram], x: str) -> Figure:
    """Counts in equal bins of [0, 1], one panel per histogram, with its simultaneous 95 % band."""
    figure, axes = _panels(len(panels), x, "test rows in the bin / expected number")
    for axis, (name, found) in zip(axes, panels.items(), strict=True):
        expected, bins = found.counts.sum() / len(found.counts), len(found.counts)
        axis.axhspan(found.low / expected, found.high / expected, color=QUIET, alpha=0.3, lw=0)
        axis.axhline(1, color=QUIET, lw=1)
        outside = (found.counts < found.low) | (found.counts > found.high)
        colours = [COLOURS[1] if out else INK for out in outside]
        axis.bar((np.arange(bins) + 0.5) / bins, found.counts / expected, 0.9 / bins, color=colours)
        axis.set_title(f"{name}\n{int(found.counts.sum())} rows", fontsize=9)
    return figure


def spread_rows(truth: Float64[np.ndarray, "n"], known: Bool[np.ndarray, "n"], count: int) -> list[int]:
    """Select rows with true values at evenly spaced ranks."""
    rows = np.flatnonzero(known & np.isfinite(truth))
    ordered = rows[np.argsort(truth[rows], kind="stable")]
    chosen = np.linspace(0, len(ordered) - 1, min(count, len(ordered)) + 2).round().astype(int)[1:-1]
    return [int(ordered[index]) for index in dict.fromkeys(chosen)] if len(ordered) else []


def _panels(count: int, x: str, y: str) -> tuple[Figure, list[Axes]]:
    """Panels on common axes, at most ``PANELS`` per row, with one axis label per row and column."""
    columns = min(count, PANELS)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.8 * columns + 0.4, 3.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for number, axis in enumerate(axes):
        axis.set_visible(number < count)
        plain(axis)
        if number + columns >= count:
            axis.set_xlabel(x, fontsize=9)
            axis.tick_params(labelbottom=True)
        if number % columns == 0:
            axis.set_ylabel(y, fontsize=9)
    return figure, axes[:count]
