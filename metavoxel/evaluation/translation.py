"""Image-to-image translation: each image predicted from all other variables."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.errors import RunError
from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.held_out_predictions import HeldOutPredictor
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.evaluation.metrics.similarity import psnr, ssim
from metavoxel.evaluation.report.table import Cell, ResultTable
from metavoxel.evaluation.samples import sample_images
from metavoxel.evaluation.settings import Protocol, Settings, counted, others
from metavoxel.evaluation.store import Store
from metavoxel.inference.summaries import image_values
from metavoxel.runs.progress import Progress

BLOCK = 4
DRAWS = 3
"""Draws averaged into a prediction, as in the paper for numbers."""

Measured = dict[str, list[list[float]]]
"""By predictor (posterior mean, mean of draws): index, PSNR and SSIM of every test row with the image."""


@final
class Translation:
    """Prediction errors of one image variable given all others.

    Args:
        held_out: the test part.
        predictor: the joint model with the encoded evidence of the test part.
        name: name of the image variable.
    """

    def __init__(self, held_out: HeldOut, predictor: HeldOutPredictor, name: str) -> None:
        self._held_out, self._predictor, self.name = held_out, predictor, name
        self._column, self._inside = held_out.cohort.columns[name], held_out.inside(name)

    def joint(self, settings: Settings, store: Store) -> Generator[Progress, None, Measured]:
        """Errors of the joint model's predictions, computed and stored in blocks."""
        given, rows = others(self._held_out.model.schema, self.name), len(self._held_out)
        shared = self._held_out.model.schema.diffusion.shared_time
        predicts_mean = not shared and self._held_out.model.joint.kernels[self.name].predicts_mean
        evaluations = self._held_out.model.joint.mean_evaluations
        found: Measured = {}
        folder = store.path(f"translation-{self.name}", {"steps": settings.steps, "seed": settings.seed}, suffix="")
        for start in range(0, rows, BLOCK):
            part = range(start, min(start + BLOCK, rows))
            path = folder / f"rows-{part.start + 1:05d}-{part.stop:05d}.json"
            block = store.read(path)
            if block is None:
                block = {}
                if predicts_mean:
                    how = Protocol(True, False, 0, settings.steps, evaluations)
                    block[f"posterior mean ({counted(how.evaluations, 'evaluation')})"] = self._measured(
                        given, how, part
                    )
                how = Protocol(False, False, DRAWS, settings.steps, evaluations)
                block[f"mean of {DRAWS} draws of {settings.steps}"] = self._measured(given, how, part)
                store.write(path, block)
            for predictor, measures in block.items():
                found.setdefault(predictor, []).extend(measures)
            yield Progress(f"{self.name} from {', '.join(given)}", part.stop, rows, {})
        return found

    def compared(self, method: Method) -> list[list[float]]:
        """Errors of a comparison's predictions, from the files named in its table.

        Raises:
            RunError: a file cannot be read, or is not on the model's grid.
        """
        cells = [str(cell) for cell in method.predictions[self.name][self.name]]
        spec = self._held_out.spec(self.name)
        rows = [row for row, cell in enumerate(cells) if cell and bool(self._column.present[row])]
        files: Sequence[Path] = [(method.folder or Path()) / cells[row] for row in rows]
        return list(self._scores(rows, sample_images(files, spec)))

    def _measured(self, given: Sequence[str], how: Protocol, part: Sequence[int]) -> list[list[float]]:
        answer = self._predictor.answer(self.name, given, how.draws, how, part)
        codes = [draw.codes[self.name] for draw in answer.draws] or [answer.means[self.name]]
        codec = self._held_out.model.codecs[self.name]
        with torch.inference_mode():
            images = (image.float().cpu() for image in image_values(self._held_out.spec(self.name), codec, codes))
            return list(self._scores(part, images))

    def _scores(self, rows: Sequence[int], images: Iterator[Float[Tensor, "1 *s"]]) -> Iterator[list[float]]:
        for row, image in zip(rows, images, strict=True):
            if bool(self._column.present[row]):
                truth = self._column.read([row])[0]
                yield [row, psnr(image, truth, self._inside), ssim(image, truth)]


def translating(
    held_out: HeldOut, predictor: HeldOutPredictor, methods: Sequence[Method], settings: Settings, store: Store
) -> Generator[Progress, None, tuple[dict[str, ResultTable], list[str]]]:
    """Prediction errors of every image by method, where there are several images, and notes on unreadable files."""
    found: dict[str, ResultTable] = {}
    notes: list[str] = []
    for name in held_out.images if len(held_out.images) > 1 else ():
        if not held_out.present(name).any():
            continue
        translation = Translation(held_out, predictor, name)
        measured = yield from translation.joint(settings, store)
        sets = {f"{methods[0].name}, {predictor}": measures for predictor, measures in measured.items()}
        for method in methods[1:]:
            if name in method.predictions:
                try:
                    sets[method.name] = translation.compared(method)
                except RunError as error:
                    notes.append(f"{method.name}: {error}")
        found[name] = ResultTable([_row(held_out, method, measures) for method, measures in sets.items() if measures])
    return found, notes


def _row(held_out: HeldOut, method: str, measures: Sequence[Sequence[float]]) -> dict[str, Cell]:
    rows, ratios, similarity = zip(*measures, strict=True)
    subjects = [held_out.subjects[int(row)] for row in rows]
    return {
        "method": method,
        "PSNR (dB)": bootstrap_mean(np.array(ratios), subjects=subjects),
        "SSIM": bootstrap_mean(np.array(similarity), subjects=subjects),
        "rows": len(rows),
    }
