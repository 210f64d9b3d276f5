"""Which figures a run has, drawn one at a time."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from metavoxel.evaluate import calibration, pictures, plots
from metavoxel.evaluate.contact_sheet import sheet
from metavoxel.evaluate.report import Pictured
from metavoxel.evaluate.results import Results
from metavoxel.evaluate.scores import NumberScore, column, probabilities, true_labels
from metavoxel.evaluate.tables import unit

PEOPLE = 3
FILLED_IN = 5


def figures(results: Results) -> Iterator[tuple[Figure, Pictured, str]]:
    """Figures with their names and captions, and the section of the report that each belongs to."""
    yield from _of_numbers(results)
    yield from _of_labels(results)
    if results.samples is not None:
        yield from _of_images(results)


def _of_numbers(results: Results) -> Iterator[tuple[Figure, Pictured, str]]:
    held_out, curves = results.held_out, {}
    for target, answers in results.joint.items():
        if held_out.is_label(target) or target not in results.scores[results.mode]:
            continue
        truth, label = held_out.numbers(target), f"{target}{unit(held_out, target)}"
        said = {
            method.name: column(method.predictions[target], target)
            for method in results.methods
            if isinstance(results.scores[method.name].get(target), NumberScore) and method is not results.methods[1]
        }
        yield (
            plots.against_truth(truth, said, label),
            Pictured(f"predicted-{target}", f"Predicted against true {label}, each held-out row, from all other "
                                            f"variables."),
            "Predictions",
        )  # fmt: skip
        if answers.draws.shape[1] > 1:
            spread = answers.draws.std(1, ddof=1)
            yield (
                plots.spread_against_error(spread, np.abs(said[results.mode] - truth), label),
                Pictured(f"spread-{target}", f"{label}: where draws spread widely, errors should be large."),
                "Predictions",
            )
            curves[target] = calibration.coverage(answers.draws, truth)
    if curves:
        yield (
            plots.calibrations(curves, "nominal coverage of the central interval", "share of true values within it"),
            Pictured("coverage", "Interval coverage. On the diagonal intervals hold as often as they say; below it "
                                 "they are too narrow."),
            "Calibration",
        )  # fmt: skip
    flexible = results.settings.flexible
    if flexible and not held_out.is_label(flexible) and all(one.draws.shape[1] for one in results.flexible):
        truth = held_out.numbers(flexible)
        rows = plots.spread_rows(truth, held_out.present(flexible), PEOPLE)
        if rows:
            names = [held_out.subjects[row] for row in rows]
            label = f"{flexible}{unit(held_out, flexible)}"
            yield (
                plots.posteriors(results.flexible, truth, rows, names, label),
                Pictured("posteriors", f"Draws of {label} for a few people under every subset of evidence; dots are "
                                       f"medians, "
                         "lines reach from the 5 % to the 95 % quantile, dashed is the truth."),
                "Predictions",
            )  # fmt: skip


def _of_labels(results: Results) -> Iterator[tuple[Figure, Pictured, str]]:
    held_out = results.held_out
    for target in results.joint:
        if not held_out.is_label(target):
            continue
        labels, truth = held_out.model.labels[target], true_labels(held_out, target)
        shown = labels[1:] if len(labels) == 2 else labels
        curves = {}
        for method in results.methods:
            if target not in method.predictions or method is results.methods[1]:
                continue
            chances = probabilities(held_out, target, method.predictions[target])
            known = np.isfinite(chances).all(1) & (truth >= 0)
            if known.sum() >= 2 * len(shown):
                p = np.concatenate([chances[known, labels.index(label)] for label in shown])
                hit = np.concatenate([truth[known] == labels.index(label) for label in shown]).astype(np.int64)
                curves[method.name] = calibration.reliability(p, hit)
        if curves:
            what = f"p({target} = {shown[0]})" if len(shown) == 1 else f"probability of each {target}"
            yield (
                plots.calibrations(curves, what, "frequency"),
                Pictured(f"reliability-{target}", f"Reliability of the probabilities of {target}: bins of equally "
                                                  f"many rows; bars are "
                         "the 95 % intervals of chance."),
                "Calibration",
            )  # fmt: skip


def _of_images(results: Results) -> Iterator[tuple[Figure, Pictured, str]]:
    held_out, settings, samples = results.held_out, results.settings, results.samples
    assert samples is not None
    model, title = held_out.model, "Pictures"
    numbers = [name for name in model.names if not held_out.spec(name).data_shape and not held_out.is_label(name)]
    swept = settings.flexible if settings.flexible in numbers else next(iter(numbers), None)
    for image in held_out.images:
        yield (
            sheet(pictures.denoising(model, image, steps=settings.steps, seed=settings.seed)),
            Pictured(f"denoising-{image}", f"Unconditional walks from noise to {image}, decoded at each time, with "
                                           f"what the other "
                     "variables are there (the paper's Figure 2)."),
            title,
        )  # fmt: skip
        yield (
            sheet(pictures.sampled(model, image, samples)),
            Pictured(f"samples-{image}", f"Generated {image} with the other variables of the same draws (Figure B.1)."),
            title,
        )
        rows = np.flatnonzero(held_out.present(image)).tolist()
        if rows:
            chosen = rows[:FILLED_IN]
            yield (
                sheet(pictures.inpainted(held_out, image, chosen, steps=settings.steps, seed=settings.seed)),
                Pictured(
                    f"inpainting-{image}", f"Half of a held-out {image} given, the other half drawn (Figure B.2)."
                ),
                title,
            )
        if swept is not None:
            person = plots.spread_rows(held_out.numbers(swept), held_out.present(swept), 1)
            if person:
                shown = pictures.sweep(held_out, image, swept, person[0], steps=settings.steps, seed=settings.seed)
                yield (
                    sheet(shown),
                    Pictured(f"sweep-{image}", f"One draw of {image} at rising {swept}: the labels of one person "
                                               f"and the noise "
                             "are the same; below, what has changed since the first."),
                    title,
                )  # fmt: skip
