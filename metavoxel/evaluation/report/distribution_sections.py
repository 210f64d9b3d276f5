"""Report sections on predicted distributions: calibration by region, and generated rows."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from metavoxel.evaluation.metrics.conditional import CHANCE, FEW, FEWEST_ROWS, LEVEL
from metavoxel.evaluation.metrics.nearest_rows import Nearness
from metavoxel.evaluation.regional_calibration import RegionalCalibration, small_table, summary
from metavoxel.evaluation.report.report import Section, Tabulated
from metavoxel.evaluation.report.table import Cell, ResultTable, digits
from metavoxel.evaluation.table_quality import DIFFERENT, TableQuality, distinguishable

SMALL_TABLES = 12
"""Most targets with their own table in the report; of more, those of smallest p."""

SMALL_ROWS = 13
"""Most rows in such a table."""

COPIES = 0.15
"""Share of generated rows beyond the 5 % quantile of held-out rows, above which copying is reported."""


def by_region(found: Sequence[RegionalCalibration], shown: Sequence[RegionalCalibration]) -> Section:
    """Calibration by region.

    Args:
        found: calibration of all questions, for the summary.
        shown: those with their own table, given all other variables.
    """
    if not found:
        return Section("Calibration by region")
    out = [one for one in found if one.stands_out]
    words = [
        "Coverage over all rows may be nominal while intervals are too wide in one region and too narrow in another. "
        "Here every question, a target given other variables, is tested in thirds of each given number, in each class, "
        "in rows with missing values, and in thirds of the prediction. z-scores test calibration: for numbers, "
        "coverage, and the centre, spread and shape of the ranks of true values among the draws; for labels, the count "
        "of each class, and over- or under-confidence.",
        f"p is adjusted for all regions and tests of a question; above {LEVEL:g} the finding is '{CHANCE}', as in 99 "
        f"of 100 questions of a perfect model. Regions of fewer than {FEWEST_ROWS} rows are not tested ('{FEW}').",
        *_findings(found, out),
    ]
    tables = [Tabulated("Every question, and its worst region", summary(found))]
    chosen = list(shown)
    if len(chosen) > SMALL_TABLES:
        chosen = sorted(chosen, key=lambda one: one.table["p"].min())[:SMALL_TABLES]
    for one in chosen:
        caption = f"{one.target} from {one.given}, by region"
        if len(one.table) > SMALL_ROWS:
            caption += f" (the {SMALL_ROWS - 1} of {len(one.table) - 1} with the largest |z|)"
        tables.append(Tabulated(caption, small_table(one, SMALL_ROWS)))
    return Section("Calibration by region", words, tables)


def _findings(found: Sequence[RegionalCalibration], out: Sequence[RegionalCalibration]) -> Iterator[str]:
    if not out:
        yield f"No significant deviation: all {len(found)} questions are within chance in every region."
    for one in sorted(out, key=lambda one: one.table["p"].min())[:SMALL_TABLES]:
        row = one.table.loc[one.table.assign(size=-one.table["z"].abs()).sort_values(["p", "size"]).index[0]]
        where = f"{row['predictor']}: {row['region']}" if row["region"] else row["predictor"]
        yield f"{one.target} from {one.given}: {row['finding']} in {where} ({row['rows']} rows, z {digits(row['z'])})."
    if len(out) > SMALL_TABLES:
        yield f"{len(out)} of {len(found)} questions deviate significantly; the table lists them all."


def generated_rows(quality: TableQuality | None) -> Section:
    """Generated rows of numbers and labels, compared with held-out ones."""
    if quality is None:
        return Section("Generated rows")
    real, test = quality.real_test, quality.test
    words = [
        f"{quality.rows} unconditional draws of all numbers and labels, compared with as many held-out rows. The "
        "second row of the table compares training rows instead: the floor, reached by a perfect model. Generated "
        "numbers are rounded to the decimals of the table, and missing cells are copied from similar training rows.",
        f"C2ST is the accuracy of a random forest in five-fold cross-validation that classifies generated against "
        f"held-out rows; .5 is chance. Found {test.accuracy:.3f} ± {test.error:.3f}, floor {real.accuracy:.3f} ± "
        f"{real.error:.3f}: {_verdict(quality)}.",
        *_marginals(quality),
        *_pairs(quality),
        *_copies(quality.nearness),
    ]
    tables = [Tabulated("Generated rows against held-out rows", quality.figures())]
    worst = _worst(quality)
    if worst.rows:
        tables.append(Tabulated("Marginal distributions: the most different variables", worst))
    pairs: list[dict[str, Cell]] = [
        {str(name): value for name, value in row.items()} for row in quality.pairs.table.head(5).to_dict("records")
    ]
    if pairs:
        tables.append(Tabulated("Pairs of variables: the most different correlations", ResultTable(pairs)))
    near = quality.near_figures()
    if near.rows:
        tables.append(Tabulated("Distance to the nearest training row", near))
    return Section("Generated rows", words, tables)


def _verdict(quality: TableQuality) -> str:
    test, real = quality.test, quality.real_test
    if not distinguishable(test):
        return "generated rows are indistinguishable from real ones"
    z = (test.accuracy - real.accuracy) / np.hypot(test.error, real.error)
    if z < stats.norm.isf(LEVEL):
        return "generated rows are no more distinguishable than training rows"
    return "generated rows are distinguishable from real ones"


def _marginals(quality: TableQuality) -> Iterator[str]:
    table = quality.marginals
    out = table[table["finding"] == DIFFERENT]
    if not len(out):
        yield f"The marginal distributions of all {len(table)} variables are within chance."
    else:
        names = ", ".join(f"{row.variable} (p {row.p:.1g})" for row in out.head(6).itertuples())
        yield (
            f"{len(out)} of {len(table)} marginal distributions differ from held-out rows: {names}"
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
            f"Memorisation: {near.alike:.0%} of generated rows are much nearer to one training subject than to any "
            f"other (5 % of held-out rows are), and {near.same:.0%} equal a training row in every cell (held-out rows: "
            f"{near.held_out_same:.0%}). This exceeds chance: the model may reproduce training subjects."
        )
    elif near.closest > COPIES:
        yield (
            f"{near.closest:.0%} of generated rows are nearer to training rows than 95 % of held-out rows are, but to "
            "no subject in particular, like rows near the mean: a sign of low diversity, not of copying."
        )
    else:
        yield "Distances to the nearest training row give no evidence of copying, but do not exclude it."


def _worst(quality: TableQuality) -> ResultTable:
    rows = quality.marginals.head(6).to_dict("records")
    kept = [name for name in quality.marginals if quality.marginals[name].notna().any()]
    return ResultTable([{str(name): row[name] for name in kept} for row in rows])
