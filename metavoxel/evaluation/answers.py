"""The joint model's answers about the test part, computed block by block and kept as they come."""

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
from metavoxel.inference.prediction import draw, read_out
from metavoxel.inference.question import ask
from metavoxel.runs.progress import Progress
from metavoxel.sampling.evidence import Evidence

BLOCK = 32
"""Rows that are asked about at once, and lost at most when a run is stopped."""


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of one target in every test row, given some of the other variables.

    Attributes:
        target: that was asked for.
        given: what it was predicted from.
        protocol: how it was asked.
        table: the columns of ``metavoxel predict``.
        draws: of a number, one column a draw; none where nothing was drawn, or the target is a label.
        seconds: of wall time a row for the point prediction.
        interval_seconds: of wall time a row for the draws beside it.
    """

    target: str
    given: tuple[str, ...]
    protocol: Protocol
    table: pandas.DataFrame
    draws: Float64[np.ndarray, "n k"]
    seconds: float
    interval_seconds: float


@final
class Respondent:
    """A model that is asked about the test part. Evidence is encoded once.

    Args:
        held_out: the test part.
        store: what was answered before.
        seed: of the draws.
    """

    def __init__(self, held_out: HeldOut, store: Store, seed: int) -> None:
        self._held_out, self._store, self._seed = held_out, store, seed
        self._evidence = held_out.model.evidence_of(held_out.cohort, held_out.model.names)

    def answers(self, target: str, given: tuple[str, ...], protocol: Protocol) -> Generator[Progress, None, Answers]:
        """Ask, going on where an earlier call was stopped; yields the number of rows that are done."""
        rows = len(self._held_out)
        settings = {"target": target, "given": given, "seed": self._seed, **asdict(protocol)}
        folder = self._store.path(f"{target}-given-{'+'.join(given) or 'nothing'}"[:120], settings, suffix="")
        blocks: list[dict[str, Any]] = []
        for start in range(0, rows, BLOCK):
            stop = min(start + BLOCK, rows)
            path = folder / f"rows-{start + 1:05d}-{stop:05d}.json"
            block = self._store.read(path)
            if block is None:
                block = self._block(target, given, protocol, slice(start, stop))
                self._store.write(path, block)
            blocks.append(block)
            yield Progress(f"{target} from {', '.join(given) or 'nothing'}", stop, rows, {})
        table = pandas.DataFrame([row for block in blocks for row in block["rows"]])
        draws = np.array([row for block in blocks for row in block["draws"]], np.float64).reshape(rows, -1)
        seconds, more = (sum(block[name] for block in blocks) / rows for name in ("seconds", "interval_seconds"))
        return Answers(target, given, protocol, table, draws, seconds, more)

    def _block(self, target: str, given: tuple[str, ...], protocol: Protocol, rows: slice) -> dict[str, Any]:
        table: list[dict[str, Any]] = []
        draws: list[list[float]] = []
        seconds = {"seconds": 0.0, "interval_seconds": 0.0}
        if protocol.predicts_mean:
            start = time.perf_counter()
            table = _records(self.ask(target, given, 0, protocol, rows).table())
            seconds["seconds"] = time.perf_counter() - start
        if protocol.draws:
            start = time.perf_counter()
            drawn = self.ask(target, given, protocol.draws, protocol, rows)
            spread = _records(drawn.table(vote=protocol.votes))
            seconds["interval_seconds" if table else "seconds"] = time.perf_counter() - start
            table = [row | {name: cell for name, cell in more.items() if name != target}
                     for row, more in zip(table, spread, strict=True)] if table else spread  # fmt: skip
            if not self._held_out.is_label(target):
                long = drawn.long_table()[target].astype(float).to_numpy()
                draws = long.reshape(rows.stop - rows.start, -1).tolist()
        return {"rows": table, "draws": draws or [[]] * (rows.stop - rows.start), **seconds}

    def ask(self, target: str, given: Sequence[str], draws: int, protocol: Protocol, rows: slice) -> Answer:
        """The model's answer about some of the rows: the read-out without draws, else joint draws."""
        model, cohort = self._held_out.model, self._held_out.cohort
        shared = model.schema.diffusion.times == "shared"
        sampling = model.default_sampling(steps=protocol.steps)
        question = ask(
            model.schema, model.labels, (), [target], given,
            draws=draws, order=None, prior=None, in_turn=sampling.conditioning == "clean",
        )  # fmt: skip
        keys = cohort.row_keys[rows]
        parts = (model.joint, question, model.labels, self._of(given, rows), keys)
        means, drawn = {}, []
        if draws:
            drawn = draw(*parts, seed=self._seed, sampling=sampling, shared=shared, limits=model.limits)
        else:
            means = read_out(*parts, evaluations=protocol.evaluations, seed=self._seed)
        return Answer(question, model.schema, model.codecs, cohort.subjects[rows], keys, means, drawn)

    def _of(self, given: Sequence[str], rows: slice) -> Mapping[str, Evidence]:
        parts = {name: self._evidence[name] for name in given}
        return {name: entry.of_rows(rows) for name, entry in parts.items()}


def _records(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain numbers and text, which JSON holds."""
    with torch.inference_mode():
        return [
            {str(name): cell.item() if isinstance(cell, np.generic) else cell for name, cell in row.items()}
            for row in table.to_dict("records")
        ]
