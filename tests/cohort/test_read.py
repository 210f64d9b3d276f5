import os

import nibabel
import numpy as np
import pytest
import torch

from metavoxel.cohort.read import read_cohort
from metavoxel.errors import CohortError
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.schema.settings import CohortSettings, SplitSettings

IMAGE = ImageSpec(spacing=4.0)
AGE = ContinuousSpec(column="Age", range=(20, 60))
SEX = CategoricalSpec(column="Sex", categories=["F", "M"])
VARIABLES = {"T1w": IMAGE, "age": AGE, "sex": SEX}
SETTINGS = CohortSettings(table="subjects.csv", subject="id")


def _edit(study, old, new):
    path = study / "subjects.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _read(study, variables=VARIABLES, settings=SETTINGS, **options):
    return read_cohort(variables, settings, folder=study, **options)


def _problems(study, variables=VARIABLES, settings=SETTINGS, **options):
    with pytest.raises(CohortError) as caught:
        _read(study, variables, settings, **options)
    return str(caught.value).splitlines()


def test_a_cohort_contains_every_value(study):
    cohort = _read(study, multiples={"T1w": 8})
    assert len(cohort) == 20
    assert cohort.subjects == cohort.row_keys == [f"p{number:02}" for number in range(20)]
    assert cohort.variables["T1w"].data_shape == (1, 8, 8, 8)
    assert {part: len(rows) for part, rows in cohort.parts.items()} == {"train": 16, "validation": 2, "test": 2}
    assert sorted(torch.cat(list(cohort.parts.values())).tolist()) == list(range(20))
    assert cohort.columns["age"].read([4, 0]).tolist() == [28, 20]
    assert cohort.columns["sex"].read(torch.tensor([1])).tolist() == [1]
    images = cohort.columns["T1w"].read(cohort.parts["test"])
    assert images.shape == (2, 1, 8, 8, 8)
    assert images.dtype == torch.float32
    row = int(cohort.parts["test"][1])
    assert torch.equal(images[1], cohort.variables["T1w"].parse(cohort.columns["T1w"].cells[row]))
    assert cohort.frame["Age"].tolist()[:2] == ["20", "22"]


def test_missing_codes_and_rules_set_cells_to_missing(study):
    _edit(study, "p03.nii.gz,26,M", "p03.nii.gz,n/a,M")
    _edit(study, "p04.nii.gz,28,F", "p04.nii.gz,-5,X")
    _edit(study, "scans/p05.nii.gz", "NA")
    cohort = _read(study)
    assert (~cohort.columns["age"].present).nonzero()[:, 0].tolist() == [3, 4]
    assert (~cohort.columns["T1w"].present).nonzero()[:, 0].tolist() == [5]
    assert cohort.columns["age"].cells[2:5] == ["24", None, None]
    assert cohort.columns["T1w"].cells[5] is None
    assert cohort.blanked["age"] == {"outside valid [0, 80]": ["-5"]}
    assert cohort.blanked["sex"] == {"unknown category (known: F, M)": ["X"]}
    assert cohort.columns["age"].read([5, 2]).tolist() == [30, 24]
    whole = cohort.variables["T1w"].parse(cohort.columns["T1w"].cells[6])
    assert torch.equal(cohort.columns["T1w"].read([6])[0], whole)
    for rows in ([2, 3], torch.tensor([4])):
        with pytest.raises(IndexError, match="have no value"):
            cohort.columns["age"].read(rows)


def test_a_row_without_any_value_is_in_no_part(study):
    _edit(study, "scans/p03.nii.gz,26,M", ",,")
    cohort = _read(study)
    assert len(cohort) == 20
    assert sum(map(len, cohort.parts.values())) == 19
    assert not any(3 in rows for rows in cohort.parts.values())


def test_all_problems_are_reported_together(study):
    _edit(study, "p00.nii.gz,20,F", "p00.nii.gz,twenty,F")
    _edit(study, "scans/p01.nii.gz", "scans/gone.nii.gz")
    (study / "scans/p02.nii.gz").write_text("text")
    data = np.full((8, 8, 8), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), study / "scans/p03.nii.gz")
    nibabel.save(nibabel.Nifti1Image(data[0] * 0 + 1, np.eye(4)), study / "scans/p04.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)), study / "scans/p05.nii.gz")
    whole = (study / "scans/p06.nii.gz").read_bytes()
    (study / "scans/p06.nii.gz").write_bytes(whole[: len(whole) // 2])
    _edit(study, "p07,scans/p07.nii.gz", "p08,scans/p08.nii.gz")
    variables = {**VARIABLES, "weight": ContinuousSpec(), "scan": ImageSpec(path="{session}.nii")}
    lines = _problems(study, variables)
    text = "\n".join(lines)
    for expected in (
        "subjects.csv row 2 (p00), column Age: 'twenty' is not a number",
        f"subjects.csv row 3 (p01), column T1w: {study}/scans/gone.nii.gz: no such file",
        f"subjects.csv row 4 (p02), column T1w: {study}/scans/p02.nii.gz: not a NIfTI file",
        f"subjects.csv row 5 (p03), column T1w: {study}/scans/p03.nii.gz: all 512 voxels are NaN",
        f"subjects.csv row 6 (p04), column T1w: '{study}/scans/p04.nii.gz': has 2 axes where most images of this",
        f"subjects.csv row 7 (p05), column T1w: {study}/scans/p05.nii.gz: the image is constant",
        f"subjects.csv row 8 (p06), column T1w: {study}/scans/p06.nii.gz: truncated",
        f"subjects.csv row 10 (p08), variable T1w: '{study}/scans/p08.nii.gz' is also the file of subjects.csv row 9 (p08)",
        "variables.weight: subjects.csv has no column 'weight'. Columns: id, T1w, Age, Sex",
        "variables.scan: subjects.csv has no column 'session'.",
    ):
        assert expected in text
    assert len(lines) == 10


def test_images_on_different_grids_need_a_spacing(study, volume):
    volume(study / "scans/p07.nii.gz", (8, 8, 9))
    volume(study / "scans/p09.nii.gz", step=1.0)
    assert len(_problems(study, {"T1w": ImageSpec()})) == 1, "with equal spacing, sizes may differ on one grid in mm"
    lines = _problems(study, {"T1w": ImageSpec(place="box")})
    assert len(lines) == 2
    assert "row 9 (p07), column T1w" in lines[0]
    assert "set 'spacing'" in lines[0]
    assert "row 11 (p09), column T1w" in lines[1]


def test_a_rule_that_blanks_most_cells_is_an_error(study):
    lines = _problems(study, {"age": ContinuousSpec(column="Age", valid=(0, 36)), "sex": SEX})
    expected = "variables.age (subjects.csv, column Age): 11 of 20 cells are outside valid [0, 36]: '38', '40', '42'"
    assert lines[0].startswith(expected)
    lines = _problems(study, {"sex": CategoricalSpec(column="Sex", categories={"female": 1, "male": 2})})
    assert lines[0].startswith("variables.sex (subjects.csv, column Sex): 20 of 20 cells are unknown category")
    assert "'F', 'M'. Correct" in lines[0]


def test_declared_missing_cells_are_not_an_error(study):
    for number in range(15):
        _edit(study, f"p{number:02}.nii.gz,{20 + 2 * number},", f"p{number:02}.nii.gz,n/a,")
    cohort = _read(study, {"age": AGE, "sex": SEX})
    assert int(cohort.columns["age"].present.sum()) == 5


def test_a_table_with_no_usable_rows(study):
    lines = _problems(study, {"age": AGE}, SETTINGS.model_copy(update={"missing": [str(a) for a in range(20, 60)]}))
    assert "subjects.csv: no usable rows" in lines[0]


def test_a_variable_without_values_is_an_error_only_in_training(study):
    variables = {"age": AGE, "sex": SEX}
    settings = SETTINGS.model_copy(update={"missing": ["F", "M"]})
    assert _problems(study, variables, settings) == ["variables.sex: no row of the cohort has a value"]
    cohort = _read(study, variables, settings, split=False)
    assert not cohort.columns["sex"].present.any()
    assert cohort.parts == {}


def test_a_variable_without_values_in_the_training_part(study):
    lines = (study / "subjects.csv").read_text().splitlines()
    parts = ["part"] + ["test"] * 2 + ["validation"] * 2 + ["train"] * 16
    text = "\n".join(f"{line},{part}" for line, part in zip(lines, parts, strict=True))
    (study / "subjects.csv").write_text(text)
    settings = SETTINGS.model_copy(
        update={"missing": [str(age) for age in range(28, 60)], "split": SplitSettings(column="part")}
    )
    lines = _problems(study, {"age": AGE, "sex": SEX}, settings)
    assert lines[0].startswith("variables.age: no row of the training part has a value")
    cohort = _read(study, {"sex": SEX}, settings)
    assert cohort.parts["test"].tolist() == [0, 1]
    assert cohort.parts["validation"].tolist() == [2, 3]


def test_the_subject_column_must_exist_and_be_filled(study):
    lines = _problems(study, settings=CohortSettings(table="subjects.csv", subject="ID"))
    assert lines == [
        "subjects.csv: no column 'ID' to name the subjects; columns: id, T1w, Age, Sex. Did you mean 'id'? "
        "Name it so, or set cohort.subject"
    ]
    _edit(study, "p02,", ",")
    assert _problems(study) == ["subjects.csv row 4, column id: '': every row must name its subject"]


@pytest.mark.parametrize("name", ["sxe", "T1w"])
def test_stratification_needs_labels_or_numbers(study, name):
    settings = SETTINGS.model_copy(update={"split": SplitSettings(stratify=[name])})
    lines = _problems(study, settings=settings)
    assert f"cohort.split.stratify: {name!r} is not a variable with labels or numbers; those are age, sex" in lines[0]


def test_a_missing_split_column(study):
    settings = SETTINGS.model_copy(update={"split": SplitSettings(column="sex")})
    assert (
        "cohort.split.column: subjects.csv has no column 'sex'. Did you mean 'Sex'?"
        in _problems(study, settings=settings)[0]
    )


def test_an_empty_part_is_an_error(study):
    (study / "subjects.csv").write_text("\n".join((study / "subjects.csv").read_text().splitlines()[:4]))
    assert "3 subjects leave" in _problems(study)[0]
    assert len(_read(study, split=False)) == 3


def test_entities_need_a_bids_folder(study):
    lines = _problems(study, {"flair": ImageSpec(entities={"suffix": "FLAIR"})})
    assert "subjects.csv has no column 'flair'" in lines[0]
    assert "'entities' are for cohort.bids" in lines[0]


def test_a_stratified_split_is_independent_of_row_order(study):
    settings = SETTINGS.model_copy(
        update={"split": SplitSettings(train=0.6, validation=0.2, test=0.2, stratify=["sex", "age"])}
    )
    first = _read(study, settings=settings)
    header, *rows = (study / "subjects.csv").read_text().splitlines()
    (study / "subjects.csv").write_text("\n".join([header, *reversed(rows)]))
    second = _read(study, settings=settings)
    for part in first.parts:
        subjects = {first.subjects[row] for row in first.parts[part].tolist()}
        assert subjects == {second.subjects[row] for row in second.parts[part].tolist()}
        sexes = [int(found) for found in first.columns["sex"].read(first.parts[part])]
        assert sum(sexes) == len(sexes) / 2
    assert sorted(first.row_keys) == sorted(second.row_keys)


def test_rows_of_one_subject_have_different_keys(study, volume):
    volume(study / "scans/again.nii.gz", seed=99)
    _edit(study, "p19,", "p18,")
    cohort = _read(study)
    assert cohort.row_keys[17:] == ["p17", "p18", "p18#2"]
    part_of = {row: part for part, rows in cohort.parts.items() for row in rows.tolist()}
    assert part_of[18] == part_of[19]
    tabular = _read(study, {"age": AGE})
    assert tabular.row_keys == cohort.row_keys and len(set(tabular.row_keys)) == 20


def test_keys_depend_only_on_subject_and_session(tmp_path):
    """A correction elsewhere or an additional column does not change the draws of a row."""
    rows = ["id,session_id,Age", "p1,a,20", "p1,b,21", "p2,a,22", "p1,b,23", "p3,,24", "p3,,25"]
    expected = ["p1/a", "p1/b", "p2", "p1/b#2", "p3", "p3#2"]
    for lines in (rows, [f"{line},{number}" for number, line in enumerate(rows)], [*rows[:2], "p1,b,99", *rows[3:]]):
        (tmp_path / "subjects.csv").write_text("\n".join(lines) + "\n")
        assert _read(tmp_path, {"age": ContinuousSpec(column="Age")}, split=False).row_keys == expected


def test_identical_rows_without_an_image_still_have_keys(study):
    path = study / "subjects.csv"
    path.write_text(path.read_text() + "p19,scans/p19.nii.gz,58,M\n")
    keys = _read(study, {"age": AGE}).row_keys
    assert keys[20] == keys[19] + "#2"


def test_images_are_cached_until_something_changes(study, tmp_path, volume):
    cache = tmp_path / "cache"
    first = _read(study, cache=cache)
    (kept,) = cache.glob("T1w-*")
    stamp = (kept / "values.bin").stat().st_mtime_ns
    second = _read(study, cache=cache)
    assert (kept / "values.bin").stat().st_mtime_ns == stamp
    assert list(cache.glob("T1w-*")) == [kept]
    rows = torch.arange(20)
    assert torch.equal(first.columns["T1w"].read(rows), second.columns["T1w"].read(rows))
    assert first.fingerprint == second.fingerprint
    volume(study / "scans/p00.nii.gz", seed=50)
    os.utime(study / "scans/p00.nii.gz", ns=(1, 1))
    third = _read(study, cache=cache)
    assert len(list(cache.glob("T1w-*"))) == 2
    assert third.fingerprint != first.fingerprint
    assert torch.equal(third.columns["T1w"].read([0])[0], _read(study).columns["T1w"].read([0])[0])


def test_a_touched_or_moved_image_is_the_same(study, tmp_path):
    """Fingerprints are by content: a copy to another disk, or a new time, do not end a run."""
    cache = tmp_path / "cache"
    first = _read(study, cache=cache).fingerprint
    for number, file in enumerate(sorted((study / "scans").iterdir())):
        os.utime(file, ns=(number, number))
    assert _read(study, cache=cache).fingerprint == first and len(list(cache.glob("T1w-*"))) == 1
    (cache / "digests.json").write_text("{broken")
    assert _read(study, cache=cache).fingerprint == _read(study).fingerprint == first


def test_the_fingerprint_depends_on_values_settings_and_parts(study):
    first = _read(study).fingerprint
    assert _read(study, {**VARIABLES, "age": AGE.model_copy(update={"weight": 3.0})}).fingerprint == first
    assert (
        _read(study, {**VARIABLES, "T1w": IMAGE.model_copy(update={"percentiles": (1.0, 99.0)})}).fingerprint != first
    )
    seeded = SETTINGS.model_copy(update={"split": SplitSettings(seed=1)})
    assert _read(study, settings=seeded).fingerprint != first
    _edit(study, "p03.nii.gz,26,M", "p03.nii.gz,27,M")
    assert _read(study).fingerprint != first


def test_the_fingerprint_depends_on_which_row_has_a_value(study):
    _edit(study, "p03.nii.gz,26,M", "p03.nii.gz,,M")
    first = _read(study).fingerprint
    _edit(study, "p03.nii.gz,,M", "p03.nii.gz,28,M")
    _edit(study, "p04.nii.gz,28,F", "p04.nii.gz,,F")
    assert _read(study).fingerprint != first


def test_resolved_variables_read_a_new_table(study):
    resolved = _read(study, multiples={"T1w": 8}).variables
    (study / "new.csv").write_text("id,T1w,Age\nq1,scans/p03.nii.gz,33\nq2,,34\n")
    known = {name: resolved[name] for name in ("T1w", "age")}
    settings = SETTINGS.model_copy(update={"table": "new.csv"})
    cohort = _read(study, known, settings, multiples={"T1w": 8}, split=False)
    assert cohort.variables["T1w"] == resolved["T1w"]
    assert cohort.columns["T1w"].present.tolist() == [True, False]
    assert cohort.columns["T1w"].read([0]).shape == (1, 1, 8, 8, 8)


@pytest.mark.parametrize("cell", ["-999", "-999.0", "-999.00", "-9.99e+02", "-999."])
def test_missing_codes_that_are_numbers_match_by_value(study, cell):
    _edit(study, "p03.nii.gz,26,", f"p03.nii.gz,{cell},")
    settings = SETTINGS.model_copy(update={"missing": ["-999"]})
    cohort = _read(study, {"age": ContinuousSpec(column="Age")}, settings)
    assert (~cohort.columns["age"].present).nonzero()[:, 0].tolist() == [3]
    assert cohort.blanked["age"] == {}


def test_subject_identifiers_may_equal_a_missing_number(study):
    _edit(study, "p03,", "999,")
    settings = SETTINGS.model_copy(update={"missing": ["999", "n/a"]})
    assert _read(study, {"age": ContinuousSpec(column="Age")}, settings).subjects[3] == "999"


def test_names_match_in_either_unicode_form(study):
    composed, apart = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
    _edit(study, "id,T1w,Age", f"id,T1w,{apart}")
    variables = {"size": ContinuousSpec(column=composed)}
    assert int(_read(study, variables).columns["size"].present.sum()) == 20


def test_many_cells_with_the_same_error_are_one_problem(study):
    text = (study / "subjects.csv").read_text()
    lines = text.splitlines()
    cells = [line.split(",") for line in lines[1:]]
    bad = [f"{a};{b};{age},5;{sex}" for a, b, age, sex in cells]
    (study / "subjects.csv").write_text("\n".join([lines[0].replace(",", ";"), *bad]))
    (line,) = _problems(study, {"age": ContinuousSpec(column="Age")})
    assert line.startswith("subjects.csv, column Age: 20 cells. '20,5' is not a number; with a decimal comma")
    assert "subjects.csv row 2 (p00)" in line and "and 15 more" in line and "decimal points" in line


def test_without_a_split_a_rule_may_blank_all_cells(study):
    variables = {"age": ContinuousSpec(column="Age", valid=(0, 1))}
    cohort = _read(study, variables, split=False)
    assert not cohort.columns["age"].present.any() and len(cohort.blanked["age"]["outside valid [0, 1]"]) == 20
    assert _problems(study, variables)
