"""Write and read a phantom cohort as a BIDS folder, with its ground truth as a derivative."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int16, Int64

from metavoxel.cohort.phantoms.atlas import Atlas, load_atlas
from metavoxel.cohort.phantoms.bayes import Bounds, bounds, posterior
from metavoxel.cohort.phantoms.factors import DIAGNOSES, SEXES, FactorModel
from metavoxel.cohort.phantoms.record import read_record, refuse_others, write_json
from metavoxel.cohort.phantoms.rendering import deform, render
from metavoxel.cohort.phantoms.settings import PhantomSettings
from metavoxel.cohort.phantoms.subjects import Progress, Subject, draw_subject, generator, missing_probability
from metavoxel.errors import CohortError, Problem

GENERATOR = 1
"""Version of the generator: incremented when the same settings give other images or another distribution."""

_MISSING = "n/a"
_TRUTH = Path("derivatives") / "phantom"

_README = """Phantom brains, simulated by metavoxel: no subject was scanned.

Each is the ICBM 152 template (nonlinear symmetric 2009, copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging
Centre, Montreal Neurological Institute, McGill University), deformed by generating factors whose distribution given age
and sex is known. derivatives/phantom/factors.tsv has the factors and the exact posteriors of age and sex given them;
derivatives/phantom/phantom.json has the settings and lower bounds on the errors of any prediction from the images.
"""


class Truth(NamedTuple):
    """Ground truth of a phantom cohort."""

    settings: PhantomSettings
    bounds: Bounds
    table: pd.DataFrame
    """One row per subject, in order: ``participant_id``, ``age``, ``sex`` (and ``diagnosis``, ``site``) without missing
    cells; the factors; the exact posterior given the factors (``age_mean``, ``age_sd``, ``age_median``,
    ``sex_p[F]``, ``sex_p[M]``), and given the other variable too (``age_mean_given_sex``,
    ``sex_p[M]_given_age``, ...); with a disease also given both others (``..._given_others``). With a rule for missing
    cells, ``missing_p``: the probability that a cell of its columns is missing."""


def write_phantom(folder: Path, settings: PhantomSettings) -> Iterator[Progress]:
    """Write a phantom cohort as a BIDS folder, subject by subject; the tables are written last.

    Repeated with the same settings, or with more subjects, it keeps existing images and continues.

    Args:
        folder: new, empty, or a phantom cohort with the same settings and no more subjects.
        settings: the cohort to write.

    Yields:
        Progress after each subject. Nothing is written before the first is requested.

    Raises:
        CohortError: the folder holds other content.
    """
    folder = Path(folder)
    refuse_others(folder, folder / _TRUTH / "phantom.json", settings.model_dump(mode="json"), GENERATOR)
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
    """Read the ground truth of a phantom cohort.

    Raises:
        CohortError: the folder is not a phantom cohort, or an unfinished one.
    """
    root = Path(folder) / _TRUTH
    missing = [name for name in ("phantom.json", "factors.tsv") if not (root / name).is_file()]
    if missing:
        raise CohortError(
            Problem(str(root / name), "no such file: not a phantom cohort, or an interrupted one; write it again")
            for name in missing
        )
    record = read_record(root / "phantom.json", GENERATOR)
    table = pd.read_csv(root / "factors.tsv", sep="\t", keep_default_na=False)
    return Truth(PhantomSettings(**record["settings"]), Bounds(**record["bounds"]), table)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, sep="\t", index=False, na_rep=_MISSING, float_format="%.8g")


def _write_descriptions(folder: Path, settings: PhantomSettings, model: FactorModel) -> None:
    made_by = [{"Name": "metavoxel phantom", "Version": str(GENERATOR)}]
    description = {"Name": "metavoxel phantom cohort", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_json(folder / "dataset_description.json", {**description, "GeneratedBy": made_by})
    (folder / "README").write_text(_README, encoding="utf-8")
    columns: dict[str, dict] = {
        "age": {"Description": "age of the phantom", "Units": "year"},
        "sex": {"Description": "sex of the phantom", "Levels": {"F": "female", "M": "male"}},
    }
    if settings.disease:
        columns["diagnosis"] = {"Description": "diagnosis", "Levels": {name: name for name in DIAGNOSES}}
    if settings.site:
        columns["site"] = {"Description": "scanner", "Levels": {"A": "as is", "B": "flatter contrast, more noise"}}
    write_json(folder / "participants.json", columns)
    derivative = {"Name": "truth of the phantoms", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    write_json(folder / _TRUTH / "dataset_description.json", {**derivative, "GeneratedBy": made_by})
    record = {
        "generator": GENERATOR,
        "settings": settings.model_dump(mode="json"),
        "bounds": bounds(model)._asdict(),
        "factors": {factor.name: factor._asdict() for factor in model.factors},
        "covariance": model.covariance.tolist(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "nilearn", "nibabel")},
    }
    write_json(folder / _TRUTH / "phantom.json", record)


def _write_images(folder: Path, settings: PhantomSettings, model: FactorModel, atlas: Atlas, subject: Subject) -> None:
    wanted = [contrast for contrast in settings.contrasts if contrast not in subject.missing]
    paths = {name: folder / subject.name / "anat" / f"{subject.name}_{name}.nii.gz" for name in wanted}
    if all(path.exists() for path in paths.values()):
        return  # complete and identical: a function of the settings
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
    from_factors, sex_given, age_given = (
        [np.concatenate(field) for field in zip(*(compute(part) for part in parts), strict=True)]
        for compute in (
            lambda part: posterior(model, factors[part]),
            lambda part: posterior(model, factors[part], male=male[part]),
            lambda part: posterior(model, factors[part], age=age[part]),
        )
    )
    table = pd.DataFrame([_labels(settings, subject) for subject in subjects])
    table["age"] = age
    columns = dict(zip(model.names, factors.T, strict=True))
    columns |= {"age_mean": from_factors[0], "age_sd": from_factors[1], "age_median": from_factors[2]}
    columns |= {"age_mean_given_sex": sex_given[0], "age_sd_given_sex": sex_given[1]}
    columns |= {"age_median_given_sex": sex_given[2], "sex_p[F]": 1 - from_factors[3], "sex_p[M]": from_factors[3]}
    columns |= {"sex_p[F]_given_age": 1 - age_given[3], "sex_p[M]_given_age": age_given[3]}
    if settings.disease:
        columns |= {"diagnosis_p[control]": 1 - from_factors[4], "diagnosis_p[patient]": from_factors[4]}
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
    """Posteriors of age, sex and diagnosis, each given the factors and the other two."""
    ages = [posterior(model, factors[part], male=male[part], patient=patient[part]) for part in parts]
    sexes = [posterior(model, factors[part], age=age[part], patient=patient[part]) for part in parts]
    diagnoses = [posterior(model, factors[part], age=age[part], male=male[part]) for part in parts]
    p_male = np.concatenate([one.male for one in sexes])
    p_patient = np.concatenate([one.patient for one in diagnoses])
    return {
        "age_mean_given_others": np.concatenate([one.age_mean for one in ages]),
        "age_sd_given_others": np.concatenate([one.age_sd for one in ages]),
        "age_median_given_others": np.concatenate([one.age_median for one in ages]),
        "sex_p[F]_given_others": 1 - p_male,
        "sex_p[M]_given_others": p_male,
        "diagnosis_p[control]_given_others": 1 - p_patient,
        "diagnosis_p[patient]_given_others": p_patient,
    }
