"""Sections of the report: text, tables and figures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metavoxel.evaluation import slices
from metavoxel.evaluation.image_quality import AUTOENCODER, HALVES, Judged
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.bootstrap import FEWEST_SUBJECTS
from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures
from metavoxel.evaluation.report.distribution_sections import by_region, generated_rows
from metavoxel.evaluation.report.drawing import CALIBRATION, PICTURES, PREDICTIONS
from metavoxel.evaluation.report.report import Pictured, Section, Tabulated
from metavoxel.evaluation.report.table import Cell, ResultTable
from metavoxel.evaluation.report.tables import subgroup_table, unit
from metavoxel.evaluation.report.texts import text_section
from metavoxel.evaluation.results import Results
from metavoxel.evaluation.settings import others, protocol
from metavoxel.learning.training_warnings import training_warnings

COPIES = 0.15
"""Share of generated scans beyond the 5 % quantile of held-out scans, above which copying is reported."""


def facts(results: Results, network: AbstractImageFeatures) -> Iterator[str]:
    """Sentences on the evaluation protocol."""
    held_out, settings = results.held_out, results.settings
    split = held_out.folder.read_record()["split"]
    subjects = len(set(held_out.subjects))
    counts = ", ".join(f"{part} {len(rows)}" for part, rows in split.items())
    yield (
        f"Run {held_out.folder.path.name}, times '{held_out.model.schema.diffusion.times}'. Rows: {counts}. All "
        f"measures are on the {len(held_out)} test rows ({subjects} subjects), which were not used for training or "
        "model selection."
    )
    for target in settings.targets:
        yield f"{target}: {protocol(held_out.model, settings, target).description}."
    yield (
        "Brackets are 95 % percentile bootstrap intervals over subjects, all rows of a subject drawn together (2,000 "
        f"resamples for means, 500 for AUC). There is none for fewer than {FEWEST_SUBJECTS} subjects, nor where all "
        "rows are equal."
    )
    if results.samples is not None:
        yield (
            f"Image quality: {settings.samples} generated scans, seed {settings.seed}, {settings.sample_steps} network "
            f"evaluations each. FID: {slices.PRESET} (each scan scaled by its minimum and maximum, up to "
            f"{slices.MOST_SLICES} slices per plane, mean over planes). Features: {network.description}."
        )
    made = ", ".join(f"{name} {version}" for name, version in held_out.folder.read_record().get("versions", {}).items())
    yield f"Trained with {made}."
    yield (
        "Training subjects enter in three places only: the population baselines, the floor for generated rows, and the "
        "distances to the nearest training subject."
    )


def sections(results: Results, figures: Mapping[str, Sequence[Pictured]]) -> Iterator[Section]:
    """Sections of the report in order. ``figures`` are by section title."""
    yield _table1(results)
    if results.settings.flexible is not None:
        yield _table2(results)
    yield Section(PREDICTIONS, figures=figures.get(PREDICTIONS, ()))
    yield Section(CALIBRATION, figures=figures.get(CALIBRATION, ()))
    yield by_region(results.regional_calibrations, results.first_calibrations)
    yield _subgroups(results)
    yield generated_rows(results.table_quality)
    yield _quality(results.judged)
    yield _translation(results)
    yield _measured(results)
    yield text_section(results)
    yield Section(PICTURES, figures=figures.get(PICTURES, ()))
    yield training_section(results.held_out.folder.read_record())
    yield _methods(results.methods)


def _table1(results: Results) -> Section:
    held_out = results.held_out
    given = "; ".join(f"{target} from {', '.join(others(held_out.model.schema, target))}" for target in results.joint)
    words = [f"Every target from all other variables ({given}). A dash is a target that a method does not predict."]
    intervals = [one for one in results.joint.values() if one.protocol.predicts_mean and one.protocol.draws]
    if intervals:
        seconds = max(one.interval_seconds for one in intervals)
        cost = intervals[0].protocol.draws * intervals[0].protocol.steps
        words.append(
            f"The table gives the cost of point predictions. Intervals of the joint model cost {cost:,} more network "
            f"evaluations ({seconds:.2g} s) per row."
        )
    if any(method.samples for method in results.methods):
        words.append(
            "Training times are wall time. That of the joint model includes its codecs; those of methods that reuse "
            "the run's codecs, such as ldm and continuous_sex, do not."
        )
    tables = [Tabulated("Table 1", results.table1)]
    paired = results.differences
    if paired.rows:
        caption = (
            f"Paired differences: error minus that of {results.mode}, row by row. Above 0 the joint model is better"
        )
        tables.append(Tabulated(caption, paired))
    return Section("Table 1: all methods", words, tables)


def _table2(results: Results) -> Section:
    target = results.settings.flexible
    assert target is not None
    words = [
        f"{target} from every subset of the other variables, by the same model. Given uninformative variables, the "
        "error should be that of the population baseline, and the spread of the draws the largest."
    ]
    if results.held_out.is_label(target):
        words.append("Entropy is that of the predicted probabilities.")
    table = Tabulated(f"Table 2: {target}{unit(results.held_out, target)}", results.table2)
    return Section("Table 2: flexible evidence", words, [table])


def _subgroups(results: Results) -> Section:
    if not results.groups:
        return Section("Subgroups")
    names = [method.name for method in results.methods]
    tables = [
        Tabulated(
            f"{target}: {'error rate' if results.held_out.is_label(target) else 'absolute error'}"
            f"{unit(results.held_out, target)} by group",
            subgroup_table(results.held_out, target, results.groups, names, results.scores),
        )
        for target in results.joint
    ]
    words = "Small groups have wide intervals; differences between groups with overlapping intervals may be chance."
    return Section("Errors by subgroup", [words], tables)


def _quality(judged: Judged) -> Section:
    words: list[str] = []
    tables = [Tabulated(f"{image}: scans against the held-out ones", judged.table(image)) for image in judged.measures]
    if judged.codec:
        tables.append(Tabulated("Autoencoder reconstructions of held-out scans: the ceiling", judged.codec_table()))
    if tables:
        words = [
            f"FID and KID: lower is nearer to the held-out scans. '{AUTOENCODER}' are the held-out scans reconstructed "
            f"from their codes, the limit for any sampler of codes; '{HALVES}' compares their two halves, as a perfect "
            "model would score at that sample size. FID falls with the number of scans, so compare equal numbers only. "
            "MS-SSIM of pairs above that of the held-out halves indicates less diversity than among subjects.",
            *copied(judged),
        ]
    return Section("Image quality", words, tables)


def _from_others(results: Results, found: Mapping[str, ResultTable]) -> list[Tabulated]:
    """Title the tables of variables that are predicted from all others."""
    schema = results.held_out.model.schema
    return [Tabulated(f"{name} from {', '.join(others(schema, name))}", table) for name, table in found.items()]


def _translation(results: Results) -> Section:
    tables = _from_others(results, results.translations)
    words = [
        "Every held-out image predicted from all other variables. Peak signal-to-noise ratio and structural similarity "
        "favour the smooth posterior mean over single draws; those of the autoencoder reconstructions are the ceiling."
    ]
    return Section("Images from the other variables", words if tables else [], tables)


def _measured(results: Results) -> Section:
    tables = _from_others(results, results.measured)
    words = [
        "Predictions by the measures of the variable's own type. They compare forms: a random value of the training "
        "rows may score high without one right fact, and right facts in other words low."
    ]
    return Section("Values by measures of their type", words if tables else [], tables)


def copied(judged: Judged) -> Iterator[str]:
    """Sentences on copies of training subjects among the generated scans."""
    for image, rows in judged.measures.items():
        for method, found in rows.items():
            copies = found.get("copying")
            if copies is None or method in (AUTOENCODER, HALVES):
                continue
            start = (
                f"Memorisation, {image} by {method}: the median distance to the nearest training subject (root mean "
                f"square intensity) is {copies['median']:.3g} for generated scans, and {copies['held_out']:.3g} for "
                f"reconstructions of held-out scans. {copies['alike']:.0%} of generated scans are much nearer to one "
                "training subject than to any other (5 % of held-out scans are). "
            )
            if copies["alike"] > COPIES:
                yield start + (
                    "This exceeds chance: the model may reproduce training subjects, as a joint model of a small "
                    "cohort can. Inspect the nearest pairs before sharing samples or weights."
                )
            elif copies["nearer"] > COPIES:
                yield start + (
                    "This is no evidence of copying. Generated scans are nearer to training subjects than held-out "
                    f"scans are ({copies['nearer']:.0%} nearer than 95 % of them), but to no subject in particular, "
                    "like smooth scans near the mean image."
                )
            else:
                yield start + "This is no evidence of copying, but does not exclude it."


def training_section(record: Mapping[str, Any]) -> Section:
    """Held-out losses of the training, and what is suspicious in it."""
    validation: Mapping[str, Mapping[str, float]] = record.get("validation", {})
    if not validation:
        return Section("Training")
    words = [
        "Denoising losses at the best step, relative to a prediction of zero. Validation rows choose that step and the "
        "weight of the network's correction to the Gaussian baseline; the chosen loss is that of the saved model. A "
        "network whose loss on validation rows is well above that on training rows overfits.",
        *(f"{line}." for line in training_warnings(record)),
    ]
    columns = {
        "validation": "loss",
        "baseline alone": "baseline",
        "network, validation": "network",
        "network, training": "training",
        "network weight": "network_weight",
    }
    rows: list[dict[str, Cell]] = [
        {"variable": name, **{column: one.get(field) for column, field in columns.items()}}
        for name, one in validation.items()
    ]
    return Section("Training", words, [Tabulated("Denoising losses", ResultTable(rows))])


def _methods(methods: Sequence[Method]) -> Section:
    words = [
        f"{method.name}: {target} from {', '.join(given) or 'nothing'}."
        for method in methods[2:]
        for target, given in method.given.items()
    ]
    return Section("Variables given to each comparison", words)
