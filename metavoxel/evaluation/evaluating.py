"""Evaluation of a run, from its test rows to the report."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from metavoxel.evaluation.held_out import HeldOut, held_out
from metavoxel.evaluation.held_out_predictions import HeldOutPredictions, HeldOutPredictor
from metavoxel.evaluation.image_quality import Judged, judging
from metavoxel.evaluation.measured import measuring
from metavoxel.evaluation.method import JOINT, Method, compared, population
from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures
from metavoxel.evaluation.quality import check_enough
from metavoxel.evaluation.regional_calibration import rank_table, region_tables, regional_calibrations, summary
from metavoxel.evaluation.report.drawing import drawings
from metavoxel.evaluation.report.figure import save_figure
from metavoxel.evaluation.report.report import Pictured, write_report
from metavoxel.evaluation.report.sections import facts, sections
from metavoxel.evaluation.report.table import write_frame
from metavoxel.evaluation.report.tables import scores_of
from metavoxel.evaluation.results import Results
from metavoxel.evaluation.rows import scalars
from metavoxel.evaluation.samples import ROWS_AT_ONCE, generate
from metavoxel.evaluation.settings import Settings, others, protocol, subsets
from metavoxel.evaluation.store import Store, digest
from metavoxel.evaluation.subgroups import check_columns, groups
from metavoxel.evaluation.table_quality import FEWEST as FEWEST_ROWS
from metavoxel.evaluation.table_quality import MOST_PAIRS, TableQuality, judge_rows, rows_wanted
from metavoxel.evaluation.texts import drawing_texts
from metavoxel.evaluation.translation import translating
from metavoxel.inference.model import Model
from metavoxel.runs.metrics import training_seconds
from metavoxel.runs.progress import Progress
from metavoxel.runs.run import RunFolder

REPORT = "report.html"


def evaluating(
    model: Model, folder: RunFolder, output: Path, settings: Settings, network: AbstractImageFeatures
) -> Generator[Progress, None, Results]:
    """Evaluate a run on its test part, yielding progress; write report, tables and figures to ``output``.

    Intermediate results are stored in ``output/parts``, from which an interrupted evaluation with the same settings
    resumes. Tables 1 and 2 are written before image quality is measured.

    Raises:
        RunError: no test part, or the cohort has changed.
        EvidenceError: unknown variables or columns, or too few scans for the requested FID.
    """
    settings = settings.checked(model.schema)
    test = held_out(model, folder)
    check_columns(test, settings.by)
    if settings.fid:
        check_enough(test, network, settings.samples)
    codecs = {name: digest(folder.codec(name)) for name in model.names if folder.codec(name).exists()}
    depends = {
        "weights": digest(folder.weights),
        "codecs": codecs,
        "rows": test.cohort.fingerprint,
        "limits": model.bounds,
    }
    store = Store(output / "parts", depends)
    yield Progress("test part", 1, 1, {"rows": len(test)})
    predictor = HeldOutPredictor(test, store, settings.seed)
    joint, flexible = yield from _predictions(test, predictor, settings)
    wanted = dict.fromkeys([*settings.targets, *([settings.flexible] if settings.flexible else [])])
    methods = [_joint(test, joint), population(test, list(wanted)), *compared(test)]
    notes = [f"{method.name}: {note}" for method in methods for note in method.notes]
    notes += [
        f"label map {name}: in no table of images, which measure intensities; overlap is not measured"
        for name in test.label_maps
    ]
    results = Results(
        test, settings, joint, flexible, methods, scores_of(test, methods), groups(test, settings.by),
        samples=None, judged=Judged(),
        regional_calibrations=list(regional_calibrations(test, [*joint.values(), *flexible], seed=settings.seed)),
        table_quality=None, translations={}, measured={}, texts={}, notes=notes,
    )  # fmt: skip
    _write_tables(results, output)
    _write_calibrations(results, output)
    measured = yield from measuring(test, predictor, methods, settings)
    for name, found in measured.items():
        found.write(output / f"measures-{name}.csv")
    texts = yield from drawing_texts(test, predictor, settings, store)
    translations, unread = yield from translating(test, predictor, methods, settings, store)
    notes += unread
    results = replace(results, translations=translations, measured=measured, texts=texts, notes=notes)
    if settings.samples and test.images:
        samples = yield from generate(model, store, settings, settings.samples)
        judged = yield from judging(test, samples, methods, network, settings, store)
        results = replace(results, samples=samples, judged=judged, notes=[*results.notes, *judged.notes])
        _write_tables(results, output)
    results = yield from _with_table_quality(results, store)
    if results.table_quality is not None:
        _write_rows(results.table_quality, output)
    shown: dict[str, list[Pictured]] = {}
    for figure, pictured, section in drawings(results):
        save_figure(figure, output / "figures", pictured.name)
        shown.setdefault(section, []).append(pictured)
        yield Progress(f"figure {pictured.name}", 1, 1, {})
    write_report(
        output / REPORT,
        title=f"Evaluation of {folder.path.name}",
        facts=list(facts(results, network)),
        notes=results.notes,
        sections=list(sections(results, shown)),
        figures=output / "figures",
    )
    return results


def _predictions(
    test: HeldOut, predictor: HeldOutPredictor, settings: Settings
) -> Generator[Progress, None, tuple[dict[str, HeldOutPredictions], list[HeldOutPredictions]]]:
    """Predictions of the joint model for Tables 1 and 2; common ones are computed once."""
    model = test.model
    joint: dict[str, HeldOutPredictions] = {}
    for target in settings.targets:
        how = protocol(model, settings, target)
        joint[target] = yield from predictor.predict(target, others(model.schema, target), how)
    flexible = []
    if settings.flexible is not None:
        how = protocol(model, settings, settings.flexible)
        for given in subsets(model.schema, settings.flexible):
            flexible.append((yield from predictor.predict(settings.flexible, given, how)))
    return joint, flexible


def _with_table_quality(results: Results, store: Store) -> Generator[Progress, None, Results]:
    """Add the quality of generated rows of numbers and labels to the results, or a note on why it is missing."""
    test, settings = results.held_out, results.settings
    count = rows_wanted(test, settings.rows)
    if not settings.rows or not scalars(test.model):
        return results
    samples = results.samples
    spatial = any(spec.spatial for spec in test.model.schema.specs.values())
    if samples is None and spatial:
        note = "generated rows: not compared, because no scans were generated (`samples`)"
        return replace(results, notes=[*results.notes, note])
    if count and samples is None:
        samples = yield from generate(test.model, store, settings, count, at_once=ROWS_AT_ONCE)
    found = None
    if count and samples is not None:
        found = judge_rows(test, samples.table.head(count), copies=settings.copies, seed=settings.seed)
        yield Progress("generated rows", 1, 1, {})
    if found is None:
        what = f"generated rows: not compared; {FEWEST_ROWS} test rows, training rows and draws each are required"
        return replace(results, notes=[*results.notes, what])
    return replace(results, table_quality=found)


def _joint(test: HeldOut, joint: Mapping[str, HeldOutPredictions]) -> Method:
    """Row of the joint model in Table 1."""
    predictions = list(joint.values())
    modules = (test.model.joint, *test.model.codecs.values())
    return Method(
        f"{JOINT} ({'paper' if test.model.schema.diffusion.times == 'shared' else 'evidence'})",
        {target: one.table for target, one in joint.items()},
        {target: one.given for target, one in joint.items()},
        training_seconds=training_seconds(test.folder),
        seconds=float(np.mean([one.seconds for one in predictions])) if predictions else None,
        evaluations=max((one.protocol.point_evaluations for one in predictions), default=None),
        parameters=sum(parameter.numel() for module in modules for parameter in module.parameters()),
    )


def _write_calibrations(results: Results, output: Path) -> None:
    """Write the calibration of every question, by region, and the rank histograms."""
    if results.regional_calibrations:
        summary(results.regional_calibrations).write(output / "calibration.csv")
        ranked = rank_table(results.regional_calibrations)
        for name, table in {**region_tables(results.regional_calibrations), "pit": ranked}.items():
            write_frame(table, output / f"{name}.csv")


def _write_rows(found: TableQuality, output: Path) -> None:
    """Write the quality of generated rows: summary, variables, most different pairs, distances to training rows."""
    found.figures().write(output / "rows.csv")
    write_frame(found.marginals, output / "rows-variables.csv")
    write_frame(found.pairs.table.head(MOST_PAIRS), output / "rows-pairs.csv")
    if found.nearness is not None:
        found.near_figures().write(output / "rows-nearest.csv")


def _write_tables(results: Results, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    results.table1.write(output / "table1.csv")
    results.differences.write(output / "differences.csv")
    if results.settings.flexible is not None:
        results.table2.write(output / "table2.csv")
    for image in results.judged.measures:
        results.judged.table(image).write(output / f"quality-{image}.csv")
