"""Figures of an evaluation, drawn one at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from metavoxel.evaluation.metrics import calibration, ranks
from metavoxel.evaluation.metrics.scores import NumberScore, column, probabilities, true_labels
from metavoxel.evaluation.report import pictures, plots
from metavoxel.evaluation.report.report import Pictured
from metavoxel.evaluation.report.tables import unit
from metavoxel.evaluation.results import Results
from metavoxel.inference.plot import sheet
from metavoxel.inference.summaries import DRAWS_FOR_QUANTILES

SUBJECTS = 3
INPAINTED = 5
RANKED = 12
"""Most targets in the figures of ranks."""

PREDICTIONS, CALIBRATION, PICTURES = "Predictions", "Calibration", "Pictures"
"""Sections of the report that have figures."""


class Drawing(NamedTuple):
    """A figure, its name and caption, and its section of the report."""

    figure: Figure
    pictured: Pictured
    section: str


def drawings(results: Results) -> Iterator[Drawing]:
    """All figures of a run."""
    for target in results.joint:
        if target in results.scores[results.mode]:
            if results.held_out.is_label(target):
                yield from _reliability(results, target)
            else:
                yield from _predicted(results, target)
    yield from _coverage(results)
    yield from _ranks(results)
    yield from _posteriors(results)
    if results.samples is not None:
        for image in results.held_out.images:
            yield from _of_image(results, image)


def _predicted(results: Results, target: str) -> Iterator[Drawing]:
    truth, label = results.held_out.numbers(target), f"{target}{unit(results.held_out, target)}"
    predicted = {
        method.name: column(method.predictions[target], target)
        for method in (results.methods[0], *results.methods[2:])
        if isinstance(results.scores[method.name].get(target), NumberScore)
    }
    caption = f"Predicted against true {label} of every held-out row, from all other variables."
    yield Drawing(plots.against_truth(truth, predicted, label), Pictured(f"predicted-{target}", caption), PREDICTIONS)
    draws = results.joint[target].draws
    if draws.shape[1] > 1:
        figure = plots.spread_against_error(draws.std(1, ddof=1), np.abs(predicted[results.mode] - truth), label)
        caption = f"{label}: errors should increase with the spread of the draws."
        yield Drawing(figure, Pictured(f"spread-{target}", caption), PREDICTIONS)


def _coverage(results: Results) -> Iterator[Drawing]:
    curves = {
        target: calibration.coverage(predictions.draws, results.held_out.numbers(target))
        for target, predictions in results.joint.items()
        if target in results.scores[results.mode] and predictions.draws.shape[1] > 1
    }
    if curves:
        axes = ("nominal coverage of the central interval", "share of true values within it")
        caption = (
            "Interval coverage. On the diagonal intervals have their nominal coverage; below it they are too narrow. "
            "Bars are 95 % confidence intervals (Wilson)."
        )
        yield Drawing(plots.calibrations(curves, *axes), Pictured("coverage", caption), CALIBRATION)


def _ranks(results: Results) -> Iterator[Drawing]:
    found = [one for one in results.first_calibrations if not one.label]
    chosen = sorted(found, key=lambda one: one.uniformity)[:RANKED] if len(found) > RANKED else found
    if not chosen:
        return
    which = f" The {RANKED} targets of smallest p are shown." if len(found) > RANKED else ""
    how = (
        "For calibrated draws all bars are within the grey band in 19 of 20 panels. Bars that rise at both ends: draws "
        "spread too little; in the middle: too widely; to one side: draws are too low (right) or too high (left); a "
        f"valley or two modes: the shape is wrong. Bars outside the band are red.{which}"
    )
    rows = {one.target: int(np.isfinite(one.transforms).sum()) for one in chosen}
    panels = {one.target: ranks.histogram(one.transforms, ranks.bins_for(rows[one.target])) for one in chosen}
    caption = f"Probability integral transforms of true values by their draws, ties randomised. {how}"
    figure = plots.histograms(panels, "share of draws below the true value")
    yield Drawing(figure, Pictured("pit", caption), CALIBRATION)
    panels = {
        one.target: ranks.histogram(one.transforms, one.draws + 1)
        for one in chosen
        if rows[one.target] >= ranks.ROWS_PER_BIN * (one.draws + 1)
    }
    if panels:
        caption = f"Ranks of true values among their draws, a bar for each rank, ties randomised. {how}"
        figure = plots.histograms(panels, "rank among the draws, from lowest to highest")
        yield Drawing(figure, Pictured("ranks", caption), CALIBRATION)


def _posteriors(results: Results) -> Iterator[Drawing]:
    held_out, target = results.held_out, results.settings.flexible
    if target is None or held_out.is_label(target):
        return
    truth = held_out.numbers(target)
    rows = plots.spread_rows(truth, held_out.present(target), SUBJECTS)
    if rows and all(one.draws.shape[1] for one in results.flexible):
        label = f"{target}{unit(held_out, target)}"
        names = [held_out.subjects[row] for row in rows]
        few = min(one.draws.shape[1] for one in results.flexible) < DRAWS_FOR_QUANTILES
        bounds = "the smallest to the largest draw" if few else "the 5 % to the 95 % quantile"
        caption = (
            f"Draws of {label} for a few subjects, given every subset of the other variables. Dots are medians, lines "
            f"extend from {bounds}, the dashed line is the true value."
        )
        figure = plots.posteriors(results.flexible, truth, rows, names, label)
        yield Drawing(figure, Pictured("posteriors", caption), PREDICTIONS)


def _reliability(results: Results, target: str) -> Iterator[Drawing]:
    held_out = results.held_out
    labels, truth = held_out.model.labels[target], true_labels(held_out, target)
    shown = labels[1:] if len(labels) == 2 else labels
    curves = {}
    for method in (results.methods[0], *results.methods[2:]):
        if target in method.predictions:
            predicted = probabilities(held_out, target, method.predictions[target])
            known = np.isfinite(predicted).all(1) & (truth >= 0)
            if known.any():
                p = np.concatenate([predicted[known, labels.index(label)] for label in shown])
                outcomes = np.concatenate([truth[known] == labels.index(label) for label in shown])
                curves[method.name] = calibration.reliability(p, outcomes.astype(np.int64))
    if curves:
        what = f"p({target} = {shown[0]})" if len(shown) == 1 else f"probability of each {target}"
        caption = (
            f"Reliability of the probabilities of {target}, in bins of equally many rows. Bars are 95 % confidence "
            "intervals (Wilson); the mean distance from the diagonal is the expected calibration error."
        )
        figure = plots.calibrations(curves, what, "frequency")
        yield Drawing(figure, Pictured(f"reliability-{target}", caption), CALIBRATION)


def _of_image(results: Results, image: str) -> Iterator[Drawing]:
    held_out, settings, samples = results.held_out, results.settings, results.samples
    assert samples is not None, "figures of images require samples"
    model, sampling = held_out.model, {"steps": settings.sample_steps, "seed": settings.seed}
    caption = (
        f"Unconditional denoising trajectories from noise to {image}, decoded at each time, with the other variables "
        "of the same state (the paper's Figure 2)."
    )
    figure = sheet(pictures.denoising(model, image, **sampling))
    yield Drawing(figure, Pictured(f"denoising-{image}", caption), PICTURES)
    caption = f"Generated {image} with the other variables of the same draws (the paper's Figure B.1)."
    figure = sheet(pictures.sampled(model, image, samples))
    yield Drawing(figure, Pictured(f"samples-{image}", caption), PICTURES)
    rows = np.flatnonzero(held_out.present(image)).tolist()[:INPAINTED]
    if rows:
        caption = f"Half of a held-out {image} given, the other half drawn (the paper's Figure B.2)."
        figure = sheet(pictures.inpainted(held_out, image, rows, **sampling))
        yield Drawing(figure, Pictured(f"inpainting-{image}", caption), PICTURES)
    numbers = [name for name in model.names if not held_out.spec(name).data_shape and not held_out.is_label(name)]
    swept = settings.flexible if settings.flexible in numbers else next(iter(numbers), None)
    subject = plots.spread_rows(held_out.numbers(swept), held_out.present(swept), 1) if swept is not None else []
    if swept is not None and subject:
        caption = (
            f"One draw of {image} at increasing {swept}, with the labels of one held-out subject and fixed noise. "
            "Below, the difference from the first image: grey is none, white brighter, black darker."
        )
        figure = sheet(pictures.sweep(held_out, image, swept, subject[0], **sampling))
        yield Drawing(figure, Pictured(f"sweep-{image}", caption), PICTURES)
