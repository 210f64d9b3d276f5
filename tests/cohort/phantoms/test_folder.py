"""Phantom cohorts as folders, read back with common libraries."""

import json
import shutil
from pathlib import Path

import ancpbids
import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from metavoxel.cohort.phantoms import MissingSettings, PhantomSettings, bounds, read_truth, write_phantom
from metavoxel.cohort.phantoms.factors import FactorModel
from metavoxel.cohort.phantoms.subjects import draw_subject
from metavoxel.errors import CohortError


def write(folder: Path, **settings) -> Path:
    """Write a phantom cohort of coarse voxels."""
    for _ in write_phantom(folder, PhantomSettings(**{"spacing": 8.0, "subjects": 4, **settings})):
        pass
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Contents of all files in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def images(folder: Path, contrast: str = "T1w") -> np.ndarray:
    """Images as rows."""
    paths = sorted(folder.glob(f"sub-*/anat/*_{contrast}.nii.gz"))
    return np.stack([np.asarray(nibabel.load(path).dataobj, dtype=np.float32).ravel() for path in paths])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference cohort with default settings. Read only."""
    return write(tmp_path_factory.mktemp("small") / "cohort")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cohort with enough subjects to fit a regression. Read only."""
    return write(tmp_path_factory.mktemp("phantom") / "cohort", subjects=150)


def test_progress_counts_the_subjects(tmp_path: Path) -> None:
    seen = list(write_phantom(tmp_path / "new", PhantomSettings(subjects=3, spacing=8)))
    assert [(step.subject, step.number, step.total) for step in seen] == [
        ("sub-0001", 1, 3),
        ("sub-0002", 2, 3),
        ("sub-0003", 3, 3),
    ]


def test_the_folder_is_bids(cohort: Path) -> None:
    description = json.loads((cohort / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "DatasetType"} <= set(description)
    layout = ancpbids.BIDSLayout(str(cohort))
    assert len(layout.get(suffix="T1w", scope="raw", extension=".nii.gz")) == 150
    table = pd.read_csv(cohort / "participants.tsv", sep="\t")
    assert list(table) == ["participant_id", "age", "sex"]
    assert set(table.sex) == {"F", "M"}
    assert table.age.between(20, 90).all()
    assert set(json.loads((cohort / "participants.json").read_text())) == {"age", "sex"}


def test_images_lie_in_mni_space(cohort: Path) -> None:
    image = nibabel.load(cohort / "sub-0001" / "anat" / "sub-0001_T1w.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.header.get_zooms(), 8)
    data = np.asarray(image.dataobj)
    middle = image.affine[:3, :3] @ np.argwhere(data > 300).mean(0) + image.affine[:3, 3]
    np.testing.assert_allclose(middle, (0, -20, 5), atol=8)
    border = np.ones(data.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert data[border].sum() < 1e-3 * data.sum()


def test_the_same_anatomy_at_every_voxel_size(tmp_path: Path) -> None:
    fine = nibabel.load(write(tmp_path / "4", spacing=4, subjects=1, noise=0) / "sub-0001/anat/sub-0001_T1w.nii.gz")
    coarse = nibabel.load(write(tmp_path / "8", subjects=1, noise=0) / "sub-0001/anat/sub-0001_T1w.nii.gz")
    pooled = np.asarray(fine.dataobj, dtype=float).reshape(22, 2, 26, 2, 22, 2).mean((1, 3, 5))
    assert np.corrcoef(pooled.ravel(), np.asarray(coarse.dataobj).ravel())[0, 1] > 0.98


def test_files_are_a_function_of_the_seed(small: Path, tmp_path: Path) -> None:
    first, again = files(small), files(write(tmp_path / "b"))
    assert first == again
    other = files(write(tmp_path / "c", seed=1))
    assert all(first[name] != other[name] for name in first if name.endswith((".nii.gz", ".tsv")))


@pytest.mark.slow
def test_a_larger_cohort_starts_with_the_smaller(small: Path, tmp_path: Path) -> None:
    before, after = files(small), files(write(tmp_path / "b", subjects=6))
    assert all(after[name] == content for name, content in before.items() if name.endswith(".nii.gz"))
    for table in ("participants.tsv", "derivatives/phantom/factors.tsv"):
        assert after[table].startswith(before[table])
    extended = tmp_path / "extended"
    shutil.copytree(small, extended)
    write(extended, subjects=6)
    assert files(extended) == after


def test_optional_settings_do_not_change_other_draws(small: Path, tmp_path: Path) -> None:
    plain = read_truth(small).table
    rich = write(
        tmp_path / "rich", disease=True, site=True, second_contrast=True, missing={"rule": "mcar", "fraction": 0.3}
    )
    table = read_truth(rich).table
    shared = ["participant_id", "age", "sex", "length", "breadth", "height", "ventricle", "sulcus", "grey"]
    pd.testing.assert_frame_equal(table[shared], plain[shared])
    assert set(table.diagnosis) <= {"control", "patient"}
    assert set(table.site) == {"A", "B"}


def test_the_truth_matches_the_cohort(cohort: Path) -> None:
    truth = read_truth(cohort)
    assert truth.settings == PhantomSettings(subjects=150, spacing=8)
    assert truth.bounds == pytest.approx(bounds(FactorModel()))
    table = pd.read_csv(cohort / "participants.tsv", sep="\t")
    pd.testing.assert_frame_equal(truth.table[list(table)], table, check_dtype=False)
    # A calibrated posterior: standardised errors have mean 0 and variance 1.
    z = (truth.table.age - truth.table.age_mean) / truth.table.age_sd
    assert abs(z.mean()) < 4 / 150**0.5
    assert abs(z.var() - 1) < 4 * (2 / 150) ** 0.5
    hits = (truth.table["sex_p[M]"] > 0.5) == (truth.table.sex == "M")
    assert hits.mean() > 0.8


def test_the_signal_is_in_the_images(cohort: Path) -> None:
    table, data = read_truth(cohort).table, images(cohort)
    data = data / np.percentile(data, 99, axis=1, keepdims=True)
    model = make_pipeline(PCA(30, random_state=0), RidgeCV(np.logspace(-2, 4, 12)))
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, data, table[["age", "length", "sulcus"]].to_numpy(), cv=folds)
    for column, name, share in ((0, "age", 0.3), (1, "length", 0.1), (2, "sulcus", 0.2)):
        unexplained = ((predicted[:, column] - table[name]) ** 2).mean() / table[name].var()
        assert unexplained < share, name


@pytest.mark.slow
def test_disease_changes_only_the_medial_temporal_lobes(tmp_path: Path) -> None:
    settings = {"subjects": 24, "noise": 0, "second_contrast": True}
    healthy, diseased = write(tmp_path / "a", **settings), write(tmp_path / "b", disease=True, **settings)
    table = read_truth(diseased).table
    patients = (table.diagnosis == "patient").to_numpy()
    assert 0 < patients.sum() < 24
    change = images(diseased) - images(healthy)
    points = nibabel.load(healthy / "sub-0001/anat/sub-0001_T1w.nii.gz")
    place = np.indices(points.shape).reshape(3, -1).T * 8 + points.affine[:3, 3]
    far = np.min([np.linalg.norm(place - (side, -18, -18), axis=1) for side in (-26, 26)], axis=0)
    assert np.abs(change[:, far > 60]).max() == 0
    near = change[:, far < 12].mean(1)
    assert near[patients].mean() < near[~patients].mean() - 20
    assert (images(diseased, "T2w") - images(healthy, "T2w"))[:, far < 12].mean(1)[patients].mean() > 0


@pytest.mark.slow
def test_sites_differ_in_contrast(tmp_path: Path) -> None:
    plain, sites = write(tmp_path / "a", noise=0, subjects=8), write(tmp_path / "b", noise=0, subjects=8, site=True)
    table = pd.read_csv(sites / "participants.tsv", sep="\t")
    same = [np.array_equal(a, b) for a, b in zip(images(plain), images(sites), strict=True)]
    assert same == list(table.site == "A")


def test_cells_are_missing_by_the_rule(tmp_path: Path) -> None:
    rule = MissingSettings(rule="mar_by_age", fraction=0.4, columns=("sex", "T1w"))
    folder = write(tmp_path / "a", subjects=120, missing=rule)
    table = pd.read_csv(folder / "participants.tsv", sep="\t", keep_default_na=False)
    truth = read_truth(folder).table
    assert set(truth.sex) == {"F", "M"}
    expected = 0.8 * (truth.age.to_numpy() - 20) / 70
    np.testing.assert_allclose(truth.missing_p, expected)
    spread = np.sqrt((expected * (1 - expected)).sum())
    for absent in (
        table.sex == "n/a",
        [not (folder / name / "anat" / f"{name}_T1w.nii.gz").exists() for name in table.participant_id],
    ):
        absent = np.asarray(absent)
        assert abs(absent.sum() - expected.sum()) < 4 * spread
        assert truth.age[absent].mean() > truth.age[~absent].mean() + 10
    assert (table.age.astype(float) == truth.age).all()


@pytest.mark.parametrize("rule", ["mcar", "mar_by_age"])
def test_missing_cells_depend_only_on_the_rule(rule: str) -> None:
    """In each age band with the probability of the rule, and independently across columns."""
    columns = ("sex", "diagnosis", "site", "T1w", "T2w")
    settings = PhantomSettings(
        disease=True, second_contrast=True, site=True, missing={"rule": rule, "fraction": 0.3, "columns": columns}
    )
    model = FactorModel(disease=True)
    subjects = [draw_subject(settings, model, number) for number in range(1, 4001)]
    age = np.array([subject.age for subject in subjects])
    absent = np.array([[column in subject.missing for column in columns] for subject in subjects], dtype=float)
    probability = 0.6 * (age - 20) / 70 if rule == "mar_by_age" else np.full(len(age), 0.3)
    surplus, variance = absent - probability[:, None], probability * (1 - probability)
    for low in range(20, 90, 14):
        band = (age >= low) & (age < low + 14)
        assert (np.abs(surplus[band].sum(0)) < 4 * variance[band].sum() ** 0.5).all()
    together = surplus.T @ surplus
    assert (np.abs(together[np.triu_indices(len(columns), 1)]) < 4 * (variance**2).sum() ** 0.5).all()
    for factor in ([s.male for s in subjects], [s.patient for s in subjects], [s.site == "B" for s in subjects]):
        signs = np.where(factor, 1.0, -1.0)
        assert (np.abs(signs @ surplus) < 4 * variance.sum() ** 0.5).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subjects": 0}, "greater than 0"),
        ({"spacing": 0.5}, "greater than or equal to 1"),
        ({"subject": 5}, "Extra inputs"),
        ({"missing": {"rule": "mar_by_age", "columns": ["age"]}}, "take 'age' out"),
        ({"missing": {"rule": "mar_by_age", "fraction": 0.7}}, "at most 0.5"),
        ({"missing": {"columns": ["T2w"]}}, "second_contrast"),
        ({"missing": {"columns": ["diagnosis"]}}, "set 'disease'"),
        ({"missing": {"columns": ["site"]}}, "set 'site'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomSettings(**settings)


def test_other_folders_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CohortError, match="not a phantom cohort"):
        write(tmp_path)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


def test_all_changed_settings_are_refused_together(small: Path) -> None:
    before = files(small)
    with pytest.raises(CohortError) as refusal:
        write(small, seed=1, subjects=2, site=True)
    assert len(refusal.value.problems) == 3
    assert files(small) == before


def test_an_interrupted_cohort_is_refused_and_can_be_continued(small: Path, tmp_path: Path) -> None:
    steps = write_phantom(tmp_path / "a", PhantomSettings(subjects=4, spacing=8))
    next(steps)
    steps.close()
    with pytest.raises(CohortError, match="interrupted"):
        read_truth(tmp_path / "a")
    assert files(write(tmp_path / "a")) == files(small)


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError) as refusal:
        read_truth(tmp_path)
    assert [Path(problem.where).name for problem in refusal.value.problems] == ["phantom.json", "factors.tsv"]


@pytest.mark.parametrize("record", ["not json", "{}", '{"generator": 0}'])
def test_an_invalid_record_is_refused(tmp_path: Path, record: str) -> None:
    truth = tmp_path / "derivatives" / "phantom"
    truth.mkdir(parents=True)
    (truth / "phantom.json").write_text(record)
    (truth / "factors.tsv").write_text("participant_id\n")
    with pytest.raises(CohortError, match="new folder"):
        read_truth(tmp_path)
    with pytest.raises(CohortError, match="new folder"):
        write(tmp_path)
