"""Predictions of the joint model on the test part, computed and stored in blocks of rows."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import pandas
import torch
from jaxtyping import Float64

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.settings import Protocol
from metavoxel.evaluation.store import Store
from metavoxel.inference.answer import Answer
from metavoxel.inference.prediction import draw, target_means
from metavoxel.inference.question import ask
from metavoxel.runs.progress import Progress
from metavoxel.sampling.evidence import Evidence

BLOCK = 32
"""Rows predicted at once; an interrupted evaluation loses at most one block."""


@final
@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """Predictions of one target for every test row, given some of the other variables.

    Attributes:
        target: the predicted variable.
        given: variables it was predicted from.
        protocol: how it was predicted.
        table: the columns of ``metavoxel predict``.
        draws: draws of a number, one column each; no columns without draws, or for a label.
        seconds: wall time per row of the point prediction.
        interval_seconds: wall time per row of additional draws.
    """

    target: str
    given: tuple[str, ...]
    protocol: Protocol
    table: pandas.DataFrame
    draws: Float64[np.ndarray, "n k"]
    seconds: float
    interval_seconds: float


@final
class HeldOutPredictor:
    """Predict variables of the test part with the joint model. Evidence is encoded once.

    Args:
        held_out: the test part.
        store: intermediate results.
        seed: seed of the draws.
    """

    def __init__(self, held_out: HeldOut, store: Store, seed: int) -> None:
        self._held_out, self._store, self._seed = held_out, store, seed
        self._evidence = held_out.model.evidence_of(held_out.cohort, held_out.model.names)

    def predict(
        self, target: str, given: tuple[str, ...], protocol: Protocol
    ) -> Generator[Progress, None, HeldOutPredictions]:
        """Predict the target, resuming from stored blocks; yields the number of finished rows."""
        rows = len(self._held_out)
        settings = {"target": target, "given": given, "seed": self._seed, **asdict(protocol)}
        folder = self._store.path(f"{target}-given-{'+'.join(given) or 'nothing'}"[:120], settings, suffix="")
        blocks: list[dict[str, Any]] = []
        for start in range(0, rows, BLOCK):
            stop = min(start + BLOCK, rows)
            path = folder / f"rows-{start + 1:05d}-{stop:05d}.json"
            block = self._store.read(path)
            if block is None:
                block = self._block(target, given, protocol, range(start, stop))
                self._store.write(path, block)
            blocks.append(block)
            yield Progress(f"{target} from {', '.join(given) or 'nothing'}", stop, rows, {})
        table = pandas.DataFrame([row for block in blocks for row in block["rows"]])
        draws = np.array([row for block in blocks for row in block["draws"]], np.float64).reshape(rows, -1)
        seconds, more = (sum(block[name] for block in blocks) / rows for name in ("seconds", "interval_seconds"))
        return HeldOutPredictions(target, given, protocol, table, draws, seconds, more)

    def _block(self, target: str, given: tuple[str, ...], protocol: Protocol, rows: Sequence[int]) -> dict[str, Any]:
        table: list[dict[str, Any]] = []
        draws: list[list[float]] = []
        seconds = {"seconds": 0.0, "interval_seconds": 0.0}
        if protocol.predicts_mean:
            start = time.perf_counter()
            table = _records(self.answer(target, given, 0, protocol, rows).table())
            seconds["seconds"] = time.perf_counter() - start
        if protocol.draws:
            start = time.perf_counter()
            drawn = self.answer(target, given, protocol.draws, protocol, rows)
            spread = _records(drawn.table(vote=protocol.votes))
            seconds["interval_seconds" if table else "seconds"] = time.perf_counter() - start
            table = [row | {name: cell for name, cell in more.items() if name != target}
                     for row, more in zip(table, spread, strict=True)] if table else spread  # fmt: skip
            if not (self._held_out.is_label(target) or self._held_out.spec(target).data_shape):
                long = drawn.long_table()[target].astype(float).to_numpy()
                draws = long.reshape(len(rows), -1).tolist()
        return {"rows": table, "draws": draws or [[]] * len(rows), **seconds}

    def answer(self, target: str, given: Sequence[str], draws: int, protocol: Protocol, rows: Sequence[int]) -> Answer:
        """Predict some of the rows: posterior means without draws, else joint draws."""
        model, cohort = self._held_out.model, self._held_out.cohort
        shared = model.schema.diffusion.shared_time
        sampling = model.default_sampling(steps=protocol.steps)
        question = ask(
            model.schema, model.labels, (), [target], given,
            draws=draws, order=None, prior=None, in_turn=sampling.conditioning == "clean",
        )  # fmt: skip
        keys, subjects = ([all_rows[row] for row in rows] for all_rows in (cohort.row_keys, cohort.subjects))
        parts = (model.joint, question, model.labels, self._evidence_of(given, rows), keys)
        means, drawn = {}, []
        if draws:
            drawn = draw(*parts, seed=self._seed, sampling=sampling, shared=shared, bounds=model.bounds)
        else:
            means = target_means(*parts, evaluations=protocol.evaluations, seed=self._seed)
        return Answer(question, model.schema, model.codecs, subjects, keys, means, drawn)

    def _evidence_of(self, given: Sequence[str], rows: Sequence[int]) -> Mapping[str, Evidence]:
        parts = {name: self._evidence[name] for name in given}
        return {name: entry.of_rows(torch.tensor(rows)) for name, entry in parts.items()}


def _records(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Convert rows to numbers and text that JSON can store."""
    with torch.inference_mode():
        return [
            {str(name): cell.item() if isinstance(cell, np.generic) else cell for name, cell in row.items()}
            for row in table.to_dict("records")
        ]
