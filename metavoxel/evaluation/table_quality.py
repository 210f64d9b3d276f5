"""Comparison of generated with held-out rows of numbers and labels, and of training with held-out rows as the floor."""

from dataclasses import dataclass
from typing import final

import numpy as np
import pandas
from scipy import stats

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.metrics.fidelity import LEVEL, Pairs, marginals, pairs
from metavoxel.evaluation.metrics.nearest_rows import Nearness, nearest_rows, nearness
from metavoxel.evaluation.metrics.two_sample import TwoSample, two_sample
from metavoxel.evaluation.report.table import Cell, ResultTable
from metavoxel.evaluation.rows import Rows, as_recorded, drawn_rows, real_rows, scalars, with_gaps
from metavoxel.runs.part import subject_table

FEWEST = 20
"""Fewest rows of each kind for a comparison."""

MOST_PAIRS = 1000
"""Most pairs of variables in the table, the most different first."""

DRAWN, REAL = "generated rows", "training rows"
DIFFERENT, CHANCE = "differs", "within chance"


@final
@dataclass(frozen=True, eq=False)
class TableQuality:
    """Comparison of generated, held-out and training rows of scalars.

    Attributes:
        rows: number of rows of each kind.
        marginals: one row per variable: distances of generated rows, and of training rows, to held-out rows.
        pairs: correlations of generated against held-out rows; ``real_pairs`` of training rows.
        test: classifier two-sample test of generated rows; ``real_test`` of training rows.
        nearness: distances to the nearest training row; None where not requested.
    """

    rows: int
    marginals: pandas.DataFrame
    pairs: Pairs
    real_pairs: Pairs
    test: TwoSample
    real_test: TwoSample
    nearness: Nearness | None

    def figures(self) -> ResultTable:
        """Summary: one row for generated rows, and one for training rows, the values of a perfect model."""
        pair: dict[str, Cell] = {"pairs of variables": len(self.pairs.table)}
        found: list[dict[str, Cell]] = []
        both = ((DRAWN, "", self.test, self.pairs), (REAL, "real ", self.real_test, self.real_pairs))
        for name, prefix, test, correlations in both:
            row: dict[str, Cell] = {
                "rows beside the held-out ones": name,
                "rows": self.rows,
                "C2ST": test.accuracy,
                "C2ST se": test.error,
            }
            for measure in ("Kolmogorov-Smirnov", "Wasserstein (sd)", "total variation"):
                values = self.marginals[f"{prefix}{measure}"].to_numpy(np.float64)
                if np.isfinite(values).any():
                    row[f"{measure}, mean of variables"] = float(np.nanmean(values))
            if np.isfinite(correlations.rms):
                row |= pair | {"difference of correlations, rms": correlations.rms, "largest": correlations.largest}
            found.append(row)
        return ResultTable(found)

    def near_figures(self) -> ResultTable:
        """Distances to the nearest training row."""
        near = self.nearness
        if near is None:
            return ResultTable([])
        return ResultTable([
            {"rows": DRAWN, "median distance": near.generated, "chance to be nearer than a held-out row": near.nearer,
             "se": near.error, "share nearer than 95 % of held-out rows": near.closest,
             "share alike one training subject": near.alike, "share that is a training row": near.same},
            {"rows": "held-out rows", "median distance": near.held_out,
             "chance to be nearer than a held-out row": 0.5, "share nearer than 95 % of held-out rows": 0.05,
             "share alike one training subject": 0.05, "share that is a training row": near.held_out_same},
        ])  # fmt: skip


def rows_wanted(held_out: HeldOut, most: int) -> int:
    """Number of rows to generate: as many as held-out rows, at most ``most``; 0 where too few to compare."""
    names = scalars(held_out.model)
    any_value = np.any([held_out.present(name) for name in names], axis=0) if names else np.zeros(0)
    count = min(most, int(any_value.sum()))
    return count if count >= FEWEST else 0


def judge_rows(held_out: HeldOut, samples: pandas.DataFrame, *, copies: bool, seed: int) -> TableQuality | None:
    """Compare generated rows with held-out rows; None where there are fewer than ``FEWEST`` of any kind.

    The scalars of training rows are read, for the floor and to detect copies.

    Args:
        held_out: the test part.
        samples: generated rows, in the columns of ``metavoxel sample``.
        copies: whether distances to the nearest training rows are computed.
        seed: seed of the row subsets and of the classifier.
    """
    model = held_out.model
    training = real_rows(model, model.read(subject_table(model, held_out.folder, "train"), scalars(model)))
    held, drawn = real_rows(model, held_out.cohort), drawn_rows(model, samples)
    count = min(len(training), len(held), len(drawn))
    if count < FEWEST:
        return None
    generator = np.random.default_rng(seed)
    held, floor = (rows.take(np.sort(generator.permutation(len(rows))[:count])) for rows in (held, training))
    drawn = with_gaps(as_recorded(drawn.take(np.arange(count)), training, held), floor)
    near = None
    if copies:
        near = nearness(*(nearest_rows(rows, training) for rows in (drawn, held)))
    return compared_rows(drawn, held, floor, near, seed=seed)


def compared_rows(drawn: Rows, held: Rows, floor: Rows, near: Nearness | None, *, seed: int) -> TableQuality:
    """Compare equally many generated, held-out and training rows."""
    found = marginals(drawn, held)
    real = marginals(floor, held).set_index("variable")
    for measure in ("Kolmogorov-Smirnov", "Wasserstein (sd)", "total variation"):
        found[f"real {measure}"] = real[measure].reindex(found["variable"]).to_numpy()
    p = found.pop("p").to_numpy(np.float64)
    tests = max(1, int(np.isfinite(p).sum()))
    found["p"] = np.minimum(1.0, p * tests)
    found["finding"] = np.where(found["p"] < LEVEL, DIFFERENT, CHANCE)
    owners = [np.concatenate([rows.owners, held.owners + rows.owners.max() + 1]) for rows in (drawn, floor)]
    x, real_x, reference = (rows.encoded()[0] for rows in (drawn, floor, held))
    return TableQuality(
        len(held),
        found.sort_values("p", kind="stable").reset_index(drop=True),
        pairs(drawn, held),
        pairs(floor, held),
        two_sample(x, reference, owners[0], seed=seed),
        two_sample(real_x, reference, owners[1], seed=seed),
        near,
    )


def distinguishable(test: TwoSample) -> bool:
    """Whether a classifier separates two samples better than chance, at the 1 % level."""
    return (test.accuracy - 0.5) / test.error > float(stats.norm.isf(LEVEL))
