"""What the report says: the results in words, tables and figures."""

from collections.abc import Iterator, Mapping, Sequence

from metavoxel.evaluation import slices
from metavoxel.evaluation.judged import AUTOENCODER, HALVES, Judged
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.bootstrap import FEWEST_SUBJECTS
from metavoxel.evaluation.metrics.features.base import AbstractFeatures
from metavoxel.evaluation.report.distribution_sections import by_region, generated_rows
from metavoxel.evaluation.report.drawing import CALIBRATION, PICTURES, PREDICTIONS
from metavoxel.evaluation.report.report import Pictured, Section, Tabulated
from metavoxel.evaluation.report.tables import subgroup_table, unit
from metavoxel.evaluation.results import Results
from metavoxel.evaluation.settings import others, protocol

COPIES = 0.15
"""Share of generated scans that stand out by a similarity as 5 % of held-out people do, above which it is told."""


def facts(results: Results, network: AbstractFeatures) -> Iterator[str]:
    """How it was measured, a sentence each."""
    held_out, settings = results.held_out, results.settings
    split = held_out.folder.read_record()["split"]
    people = len(set(held_out.subjects))
    counts = ", ".join(f"{part} {len(rows)}" for part, rows in split.items())
    yield (
        f"Run {held_out.folder.path.name}, times '{held_out.model.schema.diffusion.times}'. Rows: {counts}. All "
        f"figures are of the {len(held_out)} test rows ({people} subjects), which neither training nor selection has "
        "seen."
    )
    for target in settings.targets:
        yield f"{target}: {protocol(held_out.model, settings, target).told}."
    yield (
        "Brackets are 95 % intervals: bootstraps over subjects, all rows of a subject drawn together (percentiles of "
        f"2,000 rounds for means, of 500 for areas). There is none of fewer than {FEWEST_SUBJECTS} subjects, nor where "
        "all rows are alike: resampling them tells nothing."
    )
    if results.samples is not None:
        yield (
            f"Image quality: {settings.samples} generated scans, seed {settings.seed}, {settings.sample_steps} network "
            f"evaluations each. FID: {slices.PRESET} (intensities of each scan from its least to its greatest, up to "
            f"{slices.MOST_SLICES} slices a plane, mean of the planes). Features: {network.told}."
        )
    made = ", ".join(f"{name} {version}" for name, version in held_out.folder.read_record().get("versions", {}).items())
    yield f"Trained with {made}."
    yield (
        "Training subjects enter in three places alone: the population rows, the floor that generated rows are "
        "compared with, and the distance to the nearest of them."
    )


def sections(results: Results, figures: Mapping[str, Sequence[Pictured]]) -> Iterator[Section]:
    """Parts of the report in order. ``figures`` are those of each part, by its title."""
    yield _table1(results)
    if results.settings.flexible is not None:
        yield _table2(results)
    yield Section(PREDICTIONS, figures=figures.get(PREDICTIONS, ()))
    yield Section(CALIBRATION, figures=figures.get(CALIBRATION, ()))
    yield by_region(results.judgements, results.judged_targets)
    yield _subgroups(results)
    yield generated_rows(results.table_quality)
    yield _quality(results.judged)
    yield _translation(results)
    yield Section(PICTURES, figures=figures.get(PICTURES, ()))
    yield _methods(results.methods)


def _table1(results: Results) -> Section:
    held_out = results.held_out
    given = "; ".join(f"{target} from {', '.join(others(held_out.model.schema, target))}" for target in results.joint)
    words = [
        f"Every target from all other variables ({given}). A dash means that a method does not answer, or is not asked."
    ]
    intervals = [one for one in results.joint.values() if one.protocol.predicts_mean and one.protocol.draws]
    if intervals:
        seconds = max(one.interval_seconds for one in intervals)
        cost = intervals[0].protocol.draws * intervals[0].protocol.steps
        words.append(
            f"Point predictions of the joint model cost what the table says; its intervals cost {cost:,} network "
            f"evaluations ({seconds:.2g} s) a row more."
        )
    if any(method.samples for method in results.methods):
        words.append(
            "Training times are wall time. The joint model's includes its codecs; that of a method that takes them "
            "from the run, as ldm and continuous_sex do, leaves them out."
        )
    tables = [Tabulated("Table 1", results.table1())]
    paired = results.differences()
    if paired.rows:
        caption = (
            f"Paired differences: error less that of {results.mode}, row by row. Above 0 the joint model is better"
        )
        tables.append(Tabulated(caption, paired))
    return Section("Table 1: all methods", words, tables)


def _table2(results: Results) -> Section:
    target = results.settings.flexible
    assert target is not None
    words = [
        f"{target} from every subset of the other variables, by the same model. Where nothing bears on it, the error "
        "should be that of the population, and the spread of the draws the greatest."
    ]
    if results.held_out.is_label(target):
        words.append("Entropy is that of the predicted probabilities.")
    table = Tabulated(f"Table 2: {target}{unit(results.held_out, target)}", results.table2())
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
    words = "Small groups have wide intervals; a difference between groups is one only where these part."
    return Section("Errors by subgroup", [words], tables)


def _quality(judged: Judged) -> Section:
    words: list[str] = []
    tables = [Tabulated(f"{image}: scans beside the held-out ones", judged.table(image)) for image in judged.measures]
    if judged.codec:
        tables.append(Tabulated("The autoencoder alone, on held-out scans: the ceiling", judged.codec_table()))
    if tables:
        words = [
            f"FID and KID: lower is nearer to the held-out scans. '{AUTOENCODER}' are the held-out scans rebuilt from "
            f"their codes, what no sampler can better; '{HALVES}' is one half of them beside the other, what a perfect "
            "model would show at that number. FID falls with the number of scans, so compare equal numbers alone. "
            "MS-SSIM of pairs: above the held-out halves' is less variety than among people.",
            *copied(judged),
        ]
    return Section("Image quality", words, tables)


def _translation(results: Results) -> Section:
    tables = [
        Tabulated(f"{image} from {', '.join(others(results.held_out.model.schema, image))}", table)
        for image, table in results.translations.items()
    ]
    words = [
        "Every held-out image predicted from all other variables. Peak signal-to-noise ratio and structural similarity "
        "favour the smooth posterior mean over any single draw; the autoencoder's own figures are their ceiling."
    ]
    return Section("Images from the other variables", words if tables else [], tables)


def copied(judged: Judged) -> Iterator[str]:
    """Whether generated scans are copies of training subjects, in words."""
    for image, rows in judged.measures.items():
        for method, found in rows.items():
            copies = found.get("copying")
            if copies is None or method in (AUTOENCODER, HALVES):
                continue
            start = (
                f"Memorisation, {image} by {method}: the median generated scan lies {copies['median']:.3g} (root mean "
                f"square intensity) from its nearest training subject, and a held-out person's reconstruction "
                f"{copies['held_out']:.3g}. {copies['alike']:.0%} of generated scans stand out by being like one "
                "training subject more than any other, as 5 % of held-out people do. "
            )
            if copies["alike"] > COPIES:
                yield start + (
                    "That is more than chance: this model may reproduce people that it was trained on, as a joint "
                    "model of a small cohort can. Look at the nearest pairs before sharing samples or weights."
                )
            elif copies["nearer"] > COPIES:
                yield start + (
                    "That is no sign of copying. They do lie nearer to training subjects than people do "
                    f"({copies['nearer']:.0%} nearer than 95 % of held-out people), but to nobody in particular, as "
                    "smooth scans near the mean image do."
                )
            else:
                yield start + "That is no sign of copying, which is no proof that there is none."


def _methods(methods: Sequence[Method]) -> Section:
    words = [
        f"{method.name}: {target} from {', '.join(given) or 'nothing'}."
        for method in methods[2:]
        for target, given in method.given.items()
    ]
    return Section("What each comparison was given", words)
