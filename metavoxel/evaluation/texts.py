"""Texts of some test rows, and one draw of each given all other variables."""

from collections.abc import Generator
from typing import NamedTuple

import torch

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.held_out_predictions import HeldOutPredictor
from metavoxel.evaluation.settings import Protocol, Settings, others
from metavoxel.evaluation.store import Store
from metavoxel.runs.progress import Progress

SHOWN = 8
"""Most rows whose texts are drawn."""


class DrawnText(NamedTuple):
    """Row of the test part, its true text, and a draw of it."""

    row: int
    true: str
    drawn: str


def drawing_texts(
    held_out: HeldOut, predictor: HeldOutPredictor, settings: Settings, store: Store
) -> Generator[Progress, None, dict[str, list[DrawnText]]]:
    """Draw the texts of the first rows that have one, once each, by variable of texts; yields progress."""
    schema, found = held_out.model.schema, {}
    protocol = Protocol(False, False, 1, settings.steps, 0)
    for name, spec in schema.specs.items():
        rows = held_out.rows(name)[:SHOWN] if spec.is_text else []
        if not rows:
            continue
        given, truth = others(schema, name), held_out.truth(name)
        path = store.path(f"texts-{name}", {"rows": rows, "seed": settings.seed, "steps": settings.steps})
        drawn = store.read(path)
        if drawn is None:
            (draw,) = predictor.answer(name, given, protocol.draws, protocol, rows).draws
            with torch.inference_mode():
                drawn = [str(spec.format(value)) for value in held_out.model.codecs[name].decode(draw.codes[name])]
            store.write(path, drawn)
        found[name] = [DrawnText(row, str(truth[row]), text) for row, text in zip(rows, drawn, strict=True)]
        yield Progress(f"texts {name}", len(rows), len(rows), {})
    return found
