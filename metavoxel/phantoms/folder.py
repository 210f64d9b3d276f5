"""A phantom cohort as a BIDS folder, with the truth that it was made from beside it as a derivative."""

import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int16, Int64

from metavoxel.errors import CohortError, Problem
from metavoxel.phantoms.atlas import Atlas, load_atlas
from metavoxel.phantoms.bayes import Bounds, bounds, posterior
from metavoxel.phantoms.factors import DIAGNOSES, SEXES, FactorModel
from metavoxel.phantoms.rendering import deform, render
from metavoxel.phantoms.settings import PhantomSettings
from metavoxel.phantoms.subjects import Subject, draw_subject, generator, missing_probability

GENERATOR = 1
"""Version of the generator: it grows when the same settings give other brains or another distribution."""

_MISSING = "n/a"
_TRUTH = Path("derivatives") / "phantom"

_README = """Phantom brains, made by metavoxel: no one was scanned.

Each is the ICBM 152 template (nonlinear symmetric 2009, copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging
Centre, Montreal Neurological Institute, McGill University), deformed by generating factors whose distribution given age
and sex is known. derivatives/phantom/factors.tsv has the factors and the exact posteriors of age and sex given them;
derivatives/phantom/phantom.json has the settings and the least errors of anything that sees only the images.
"""


class Progress(NamedTuple):
    """One more subject is written."""

    subject: str
    number: int
    total: int


class Truth(NamedTuple):
    """What a phantom cohort was made from."""

    settings: PhantomSettings
    bounds: Bounds
    table: pd.DataFrame
    """One row a subject, in order: ``participant_id``, ``age``, ``sex`` (and ``diagnosis``, ``site``) with nothing
    missing; the factors; the exact posterior given the factors (``age_mean``, ``age_sd``, ``age_median``,
    ``sex_p[F]``, ``sex_p[M]``), and given the other variable too (``age_mean_given_sex``,
    ``sex_p[M]_given_age``, ...); with a disease also given both others (``..._given_others``). With a rule for missing
    cells, ``missing_p``: the probability that a cell of its columns is missing."""


def write_phantom(folder: Path, settings: PhantomSettings) -> Iterator[Progress]:
    """Write a phantom cohort as a BIDS folder, subject by subject; the tables come last.

    Started again with the same settings, or with more subjects, it keeps the images that are there and goes on.

    Args:
        folder: new, empty, or a phantom cohort of the same settings and no more subjects.
        settings: what to write.

    Yields:
        Progress after each subject. Nothing is written before the first is asked for.

    Raises:
        CohortError: the folder holds something else.
    """
    folder = Path(folder)
    _refuse_others(folder, settings)
    model = FactorModel(disease=settings.disease)
    atlas = load_atlas(settings.spacing)
    tables = (folder / _TRUTH / "factors.tsv", folder / "participants.tsv")
    for table in tables:
        table.unlink(missing_ok=True)  # so that an interrupted extension does not look finished
    _write_descriptions(folder, settings, model)
    subjects = [draw_subject(settings, model, number) for number in range(1, settings.subjects + 1)]
    for subject in subjects:
        _write_images(folder, settings, model, atlas, subject)
        yield Progress(subject.name, subject.number, settings.subjects)
    _write_table(tables[0], _truth_table(settings, model, subjects))
    _write_table(tables[1], _participants(settings, subjects))


def read_truth(folder: Path) -> Truth:
    """Read what a phantom cohort was made from.

    Raises:
        CohortError: the folder is no phantom cohort, or an unfinished one.
    """
    root = Path(folder) / _TRUTH
    missing = [name for name in ("phantom.json", "factors.tsv") if not (root / name).is_file()]
    if missing:
        raise CohortError(
            Problem(str(root / name), "no such file: no phantom cohort, or its writing was interrupted; write it again")
            for name in missing
        )
    record = _read_record(root / "phantom.json")
    table = pd.read_csv(root / "factors.tsv", sep="\t", keep_default_na=False)
    return Truth(PhantomSettings(**record["settings"]), Bounds(**record["bounds"]), table)


def _refuse_others(folder: Path, settings: PhantomSettings) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    record_file = folder / _TRUTH / "phantom.json"
    if not record_file.is_file():
        raise CohortError(Problem(str(folder), "exists and is no phantom cohort; name a new or an empty folder"))
    record = _read_record(record_file)
    wanted, there = settings.model_dump(mode="json"), record["settings"]
    problems = [
        Problem(f"{folder}: {name}", f"the phantoms there have {there[name]!r}, not {value!r}; name a new folder")
        for name, value in wanted.items()
        if (there[name] > value if name == "subjects" else there[name] != value)
    ]
    if problems:
        raise CohortError(problems)


def _read_record(path: Path) -> dict:
    """Settings and bounds of a phantom cohort that this generator wrote."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        made_by = record["generator"]
    except (ValueError, KeyError, TypeError) as error:
        raise CohortError(
            Problem(str(path), f"is no record of a phantom cohort ({error!r}); name a new folder")
        ) from error
    if made_by != GENERATOR:
        what = f"is from version {made_by} of the generator, and this is version {GENERATOR}; write a new folder"
        raise CohortError(Problem(str(path), what))
    return record


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_table(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, sep="\t", index=False, na_rep=_MISSING, float_format="%.8g")


def _write_descriptions(folder: Path, settings: PhantomSettings, model: FactorModel) -> None:
    made_by = [{"Name": "metavoxel phantom", "Version": str(GENERATOR)}]
    description = {"Name": "metavoxel phantom cohort", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    _write_json(folder / "dataset_description.json", {**description, "GeneratedBy": made_by})
    (folder / "README").write_text(_README, encoding="utf-8")
    columns: dict[str, dict] = {
        "age": {"Description": "age of the phantom", "Units": "year"},
        "sex": {"Description": "sex of the phantom", "Levels": {"F": "female", "M": "male"}},
    }
    if settings.disease:
        columns["diagnosis"] = {"Description": "diagnosis", "Levels": {name: name for name in DIAGNOSES}}
    if settings.site:
        columns["site"] = {"Description": "scanner", "Levels": {"A": "as is", "B": "flatter contrast, more noise"}}
    _write_json(folder / "participants.json", columns)
    derivative = {"Name": "truth of the phantoms", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    _write_json(folder / _TRUTH / "dataset_description.json", {**derivative, "GeneratedBy": made_by})
    record = {
        "generator": GENERATOR,
        "settings": settings.model_dump(mode="json"),
        "bounds": bounds(model)._asdict(),
        "factors": {factor.name: factor._asdict() for factor in model.factors},
        "covariance": model.covariance.tolist(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "nilearn", "nibabel")},
    }
    _write_json(folder / _TRUTH / "phantom.json", record)


def _write_images(folder: Path, settings: PhantomSettings, model: FactorModel, atlas: Atlas, subject: Subject) -> None:
    wanted = [contrast for contrast in settings.contrasts if contrast not in subject.missing]
    paths = {name: folder / subject.name / "anat" / f"{subject.name}_{name}.nii.gz" for name in wanted}
    if all(path.exists() for path in paths.values()):
        return  # whole, and the same: it is a function of the settings
    factors = dict(zip(model.names, subject.factors.tolist(), strict=True))
    anatomy = deform(atlas, factors, generator(settings.seed, subject.number, "shape"))
    for contrast in wanted:
        scan = generator(settings.seed, subject.number, f"scan {contrast}")
        data = render(anatomy, atlas, contrast, factors["grey"], settings.noise, subject.site, scan)
        _save(paths[contrast], data, atlas.affine)


def _save(path: Path, data: Int16[np.ndarray, "x y z"], affine: Float64[np.ndarray, "4 4"]) -> None:
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, "scanner")
    image.set_sform(affine, "scanner")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    nibabel.save(image, temporary)
    temporary.replace(path)


def _participants(settings: PhantomSettings, subjects: Sequence[Subject]) -> pd.DataFrame:
    rows = []
    for subject in subjects:
        row = _labels(settings, subject)
        rows.append({name: None if name in subject.missing else cell for name, cell in row.items()})
    return pd.DataFrame(rows)


def _labels(settings: PhantomSettings, subject: Subject) -> dict[str, str]:
    row = {"participant_id": subject.name, "age": f"{subject.age:.2f}", "sex": SEXES[subject.male]}
    if settings.disease:
        row["diagnosis"] = DIAGNOSES[subject.patient]
    if settings.site:
        row["site"] = subject.site
    return row


def _truth_table(settings: PhantomSettings, model: FactorModel, subjects: Sequence[Subject]) -> pd.DataFrame:
    factors = np.stack([subject.factors for subject in subjects])
    age = np.array([subject.age for subject in subjects])
    male = np.array([subject.male for subject in subjects])
    parts = np.array_split(np.arange(len(subjects)), -(-len(subjects) // 250))  # bounds the memory of the posteriors
    blind, sex_known, age_known = (
        [np.concatenate(field) for field in zip(*(ask(part) for part in parts), strict=True)]
        for ask in (
            lambda part: posterior(model, factors[part]),
            lambda part: posterior(model, factors[part], male=male[part]),
            lambda part: posterior(model, factors[part], age=age[part]),
        )
    )
    table = pd.DataFrame([_labels(settings, subject) for subject in subjects])
    table["age"] = age
    columns = dict(zip(model.names, factors.T, strict=True))
    columns |= {"age_mean": blind[0], "age_sd": blind[1], "age_median": blind[2]}
    columns |= {"age_mean_given_sex": sex_known[0], "age_sd_given_sex": sex_known[1]}
    columns |= {"age_median_given_sex": sex_known[2], "sex_p[F]": 1 - blind[3], "sex_p[M]": blind[3]}
    columns |= {"sex_p[F]_given_age": 1 - age_known[3], "sex_p[M]_given_age": age_known[3]}
    if settings.disease:
        columns |= {"diagnosis_p[control]": 1 - blind[4], "diagnosis_p[patient]": blind[4]}
        columns |= _given_others(model, factors, age, male, np.array([subject.patient for subject in subjects]), parts)
    if settings.missing:
        columns["missing_p"] = np.array([missing_probability(settings.missing, years) for years in age])
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def _given_others(
    model: FactorModel,
    factors: Float64[np.ndarray, "n factors"],
    age: Float64[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    patient: Bool[np.ndarray, " n"],
    parts: Sequence[Int64[np.ndarray, " _"]],
) -> dict[str, Float64[np.ndarray, " n"]]:
    """Posteriors given the factors and all of age, sex and diagnosis but what is asked for."""
    ages = [posterior(model, factors[part], male=male[part], patient=patient[part]) for part in parts]
    sexes = [posterior(model, factors[part], age=age[part], patient=patient[part]) for part in parts]
    sick = [posterior(model, factors[part], age=age[part], male=male[part]) for part in parts]
    men, patients = np.concatenate([one.male for one in sexes]), np.concatenate([one.patient for one in sick])
    return {
        "age_mean_given_others": np.concatenate([one.age_mean for one in ages]),
        "age_sd_given_others": np.concatenate([one.age_sd for one in ages]),
        "age_median_given_others": np.concatenate([one.age_median for one in ages]),
        "sex_p[F]_given_others": 1 - men,
        "sex_p[M]_given_others": men,
        "diagnosis_p[control]_given_others": 1 - patients,
        "diagnosis_p[patient]_given_others": patients,
    }
