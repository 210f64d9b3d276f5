"""Parts of the report about whole distributions: by region of the predictors, and of generated rows."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from metavoxel.evaluation.judgements import Judgement, small_table, summary
from metavoxel.evaluation.metrics.conditional import CHANCE, FEW, FEWEST_ROWS, LEVEL
from metavoxel.evaluation.metrics.nearest_rows import Nearness
from metavoxel.evaluation.report.report import Section, Tabulated
from metavoxel.evaluation.report.table import Cell, Figures, digits
from metavoxel.evaluation.table_quality import DIFFERENT, TableQuality, told_apart

SMALL_TABLES = 12
"""Targets with a table of their own in the report; of more, those that stand out most."""

SMALL_ROWS = 13
"""Regions in such a table."""

COPIES = 0.15
"""Share of generated rows that stand out by a similarity as 5 % of held-out rows do, above which it is reported."""


def by_region(found: Sequence[Judgement], shown: Sequence[Judgement]) -> Section:
    """Calibration by region.

    Args:
        found: all questions, for the summary.
        shown: those that have a table of their own, from all other variables.
    """
    if not found:
        return Section("Calibration by region")
    out = [one for one in found if one.stands_out]
    words = [
        "Coverage of all rows may be right where intervals are too wide in one region and too narrow in another. "
        "Here every question is judged by thirds of each number that was given, by each class, by what is missing, and "
        "by thirds of the prediction. z compares what was found with what draws of the right distribution give: "
        "coverage, centre, spread and shape of the ranks of true values among the draws; for labels the count of each "
        "class, and whether probabilities are as sure as they turn out.",
        f"p is adjusted for all regions and tests of a question; above {LEVEL:g} the finding is '{CHANCE}', as in 99 "
        f"of 100 questions of a perfect model. Regions of fewer than {FEWEST_ROWS} rows are not tested ('{FEW}').",
        *_told(found, out),
    ]
    tables = [Tabulated("Every question, and its worst region", summary(found))]
    chosen = list(shown)
    if len(chosen) > SMALL_TABLES:
        chosen = sorted(chosen, key=lambda one: one.table["p"].min())[:SMALL_TABLES]
    for one in chosen:
        caption = f"{one.target} from {one.given}, by region"
        if len(one.table) > SMALL_ROWS:
            caption += f" (the {SMALL_ROWS - 1} of {len(one.table) - 1} that stand out most)"
        tables.append(Tabulated(caption, small_table(one, SMALL_ROWS)))
    return Section("Calibration by region", words, tables)


def _told(found: Sequence[Judgement], out: Sequence[Judgement]) -> Iterator[str]:
    if not out:
        yield f"Nothing stands out: all {len(found)} questions are within chance in every region."
    for one in sorted(out, key=lambda one: one.table["p"].min())[:SMALL_TABLES]:
        row = one.table.loc[one.table.assign(size=-one.table["z"].abs()).sort_values(["p", "size"]).index[0]]
        where = f"{row['predictor']}: {row['region']}" if row["region"] else row["predictor"]
        yield f"{one.target} from {one.given}: {row['finding']} in {where} ({row['rows']} rows, z {digits(row['z'])})."
    if len(out) > SMALL_TABLES:
        yield f"{len(out)} of {len(found)} questions stand out; the table has them all."


def generated_rows(quality: TableQuality | None) -> Section:
    """Generated rows of numbers and labels beside held-out ones."""
    if quality is None:
        return Section("Generated rows")
    real, test = quality.real_test, quality.test
    words = [
        f"{quality.rows} unconditional draws of all numbers and labels beside as many held-out rows; the second row of "
        "the table is the same of training rows, what a perfect model would show. Generated numbers have the decimals "
        "of the table, and the gaps of training rows that are like them.",
        f"C2ST is the accuracy of a random forest, in five folds, that tells both kinds of rows apart; .5 is chance. "
        f"Found {test.accuracy:.3f} ± {test.error:.3f}, floor {real.accuracy:.3f} ± {real.error:.3f}: "
        + _apart(quality)
        + ".",
        *_marginals(quality),
        *_pairs(quality),
        *_copies(quality.nearness),
    ]
    tables = [Tabulated("Generated rows beside held-out rows", quality.figures())]
    worst = _worst(quality)
    if worst.rows:
        tables.append(Tabulated("Variables by themselves: the most different ones", worst))
    pairs: list[dict[str, Cell]] = [
        {str(name): value for name, value in row.items()} for row in quality.pairs.table.head(5).to_dict("records")
    ]
    if pairs:
        tables.append(Tabulated("Pairs of variables: the most different correlations", Figures(pairs)))
    near = quality.near_figures()
    if near.rows:
        tables.append(Tabulated("Distance to the nearest training row", near))
    return Section("Generated rows", words, tables)


def _apart(quality: TableQuality) -> str:
    test, real = quality.test, quality.real_test
    if not told_apart(test):
        return "generated rows cannot be told from real ones"
    beyond = (test.accuracy - real.accuracy) / np.hypot(test.error, real.error)
    if beyond < stats.norm.isf(LEVEL):
        return "no more than training rows can be told from held-out ones"
    return "generated rows can be told from real ones"


def _marginals(quality: TableQuality) -> Iterator[str]:
    table = quality.marginals
    out = table[table["finding"] == DIFFERENT]
    if not len(out):
        yield f"Every one of {len(table)} variables by itself is within chance."
    else:
        names = ", ".join(f"{row.variable} (p {row.p:.1g})" for row in out.head(6).itertuples())
        yield (
            f"{len(out)} of {len(table)} variables by themselves differ from held-out rows: {names}"
            + (", ..." if len(out) > 6 else "")
            + ". p is adjusted for the number of variables."
        )


def _pairs(quality: TableQuality) -> Iterator[str]:
    found, real = quality.pairs, quality.real_pairs
    if len(found.table):
        first = found.table.iloc[0]
        verdict = (
            f"beyond chance (p {found.p:.1g})" if found.p < LEVEL else f"within chance of {len(found.table):,} pairs"
        )
        yield (
            f"Correlations differ by {digits(found.rms)} (root mean square over pairs; floor {digits(real.rms)}). The "
            f"most significant difference, of {first['first']} and {first['second']}, is {verdict}."
        )


def _copies(near: Nearness | None) -> Iterator[str]:
    if near is None:
        return
    if near.same > near.held_out_same + COPIES or near.alike > COPIES:
        yield (
            f"Memorisation: {near.alike:.0%} of generated rows are like one training subject more than any other, as 5 "
            f"% of held-out rows are, and {near.same:.0%} are a training row in every cell (held-out rows: "
            f"{near.held_out_same:.0%}). That is more than chance: the model may reproduce subjects that it was "
            "trained on."
        )
    elif near.closest > COPIES:
        yield (
            f"{near.closest:.0%} of generated rows lie nearer to training rows than 95 % of held-out rows do, but to "
            "nobody in particular, as rows near the mean do: no sign of copying, but of too little variety."
        )
    else:
        yield "Distances to the nearest training row are no sign of copying, which is no proof that there is none."


def _worst(quality: TableQuality) -> Figures:
    rows = quality.marginals.head(6).to_dict("records")
    kept = [name for name in quality.marginals if quality.marginals[name].notna().any()]
    return Figures([{str(name): row[name] for name in kept} for row in rows])
