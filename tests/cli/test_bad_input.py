"""Invalid input: all problems with their location, before any training. No traceback, and exit code 2."""

import shutil

import nibabel
import numpy as np
import PIL.Image
import pytest
import yaml
from tiny_cohorts import IMAGES, TABLE, write_images, write_schema, write_table


@pytest.fixture
def study(tmp_path):
    write_table(tmp_path)
    return tmp_path


@pytest.fixture
def scans(tmp_path):
    write_images(tmp_path, rows=12)
    raw = {**IMAGES, "variables": {name: IMAGES["variables"][name] for name in ("volume", "age")}}
    write_schema(tmp_path, raw)
    return tmp_path


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def write_changed(study, **variables):
    """Schema of the table with changed variables."""
    raw = {**TABLE, "variables": {**TABLE["variables"], **variables}}
    return write_schema(study, {**raw, "variables": {name: value for name, value in raw["variables"].items() if value}})


def validate_and_train(metavoxel, schema):
    """Both commands refuse with the same messages, and no run is written."""
    checked = metavoxel("validate", schema)
    trained = metavoxel("train", schema, "--output", schema.parent / "run", "--accelerator", "cpu")
    assert checked.code == trained.code == 2
    assert not (schema.parent / "run" / "run.json").exists()
    assert [line for line in trained.lines if line] == [line for line in checked.lines if line]
    return checked.lines


def test_unknown_names(metavoxel, study):
    schema = write_changed(
        study, age={"type": "continuos"}, sex={"type": "categorical", "categories": ["F"], "colum": "Sex"}
    )
    assert validate_and_train(metavoxel, schema) == [
        "variables.age.type: unknown type 'continuos'. Did you mean 'continuous'? Installed: categorical, continuous, image, "
        "labelmap",
        "variables.sex.categories: Dictionary should have at least 2 items after validation, not 1 (given: {'F': 'F'})",
        "variables.sex.colum: not a setting of type 'categorical'. Did you mean 'column'? "
        "Settings: column, weight, categories, valid",
        "3 problems.",
    ]  # fmt: skip


def test_missing_columns(metavoxel, study):
    schema = write_changed(study, age={"type": "continuous"}, weight={"type": "continuous", "column": "Weight (kg)"})
    lines = validate_and_train(metavoxel, schema)
    assert lines[0].startswith(
        "variables.age: people.csv has no column 'age'. Did you mean 'Age'? Columns: participant_id, Age,"
    )
    assert (
        lines[1].startswith("variables.weight: people.csv has no column 'Weight (kg)'.") and lines[2] == "2 problems."
    )


def test_a_missing_table_and_a_missing_folder(metavoxel, study):
    schema = write_schema(study, TABLE, cohort={"table": "poeple.csv"})
    assert validate_and_train(metavoxel, schema) == [
        f"{study / 'poeple.csv'}: no such table; its folder has people.csv"
    ]
    raw = {**TABLE, "cohort": {"bids": "nowhere"}}
    assert validate_and_train(metavoxel, write_schema(study, raw)) == [f"{study / 'nowhere'}: no such folder"]
    schema = write_schema(study, TABLE, cohort={"subject": "subject_id"})
    (line,) = validate_and_train(metavoxel, schema)
    assert line.startswith("people.csv: no column 'subject_id' to name the subjects")


TABLES = {
    "empty": (b"", "the table is empty: it has no header"),
    "header": (b"participant_id,Age,Sex,score\n", "no usable rows: the table has a header only"),
    "binary": (b"\x80\x04\x95\x00\xff", "not text in UTF-8"),
    "ragged": (b"participant_id,Age,Sex,score\na,1,1\nb,1,1,1,1\n", "row 2: 3 cells where the header has 4 columns"),
    "twins": (b"participant_id,Age,Age,score\na,1,1,1\n", "2 columns are named 'Age'"),
    "nameless": (b"participant_id,,Sex,score\na,1,1,1\n", "column 2 has no name"),
    "blank": (b"participant_id,Age,Sex,score\n" + b"a,,,\nb,,n/a,\n" * 4, "no usable rows: every variable is missing in every row"),
    "quote": (b'participant_id,Age,Sex,score\n"a,1,1,1\n', "not a CSV or TSV file"),
    "no subject": (b"participant_id,Age,Sex,score\n,1,1,1\n", "every row must name its subject"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_invalid_tables(metavoxel, study, name):
    content, expected = TABLES[name]
    (study / "people.csv").write_bytes(content)
    lines = validate_and_train(metavoxel, write_schema(study, TABLE))
    assert expected in lines[0] and "people.csv" in lines[0]


def test_bad_cells(metavoxel, study):
    """Each is reported with file, row, column and value."""
    edit(study / "people.csv", "\ns01,", "\ns01,unknown,1,5\ns01b,")
    edit(study / "people.csv", "\ns08,", "\ns08,30,1,3;5\ns08b,")
    assert validate_and_train(metavoxel, write_schema(study, TABLE)) == [
        "people.csv row 3 (s01), column Age: 'unknown' is not a number. Leave the cell empty, or add it to cohort.missing, if it means missing",
        "people.csv row 11 (s08), column score: '3;5' is not a number. Leave the cell empty, or add it to cohort.missing, if it means missing",
        "2 problems.",
    ]


def test_rules_that_blank_most_cells(metavoxel, study):
    """Reports the count, the rule and examples; declared missing codes are not an error."""
    schema = write_changed(
        study,
        age={"type": "continuous", "column": "Age", "valid": [0, 1]},
        sex={"type": "categorical", "column": "Sex", "categories": ["F", "M"]},
    )
    lines = validate_and_train(metavoxel, schema)
    assert lines[0].startswith("variables.age (people.csv, column Age): 34 of 34 cells are outside valid [0, 1]: '")
    assert lines[0].endswith(", .... Correct the rule, the column or the unit")
    assert lines[1] == (
        "variables.sex (people.csv, column Sex): 40 of 40 cells are unknown category (known: F, M): '2', '1'. "
        "Correct the rule, the column or the unit"
    )
    missing = {"missing": ["n/a", *(f"{number}" for number in range(3))]}
    assert "variables.sex: '1', '2': a label or its code, but cohort.missing makes such cells missing" in (
        metavoxel("validate", write_schema(study, TABLE, cohort=missing)).err
    )
    letters = {"type": "categorical", "column": "Sex", "categories": ["F", "M"]}
    raw = {**TABLE, "variables": {**TABLE["variables"], "sex": letters}}
    quiet = write_schema(study, raw, cohort=missing)
    assert "variables.sex: no row of the cohort has a value" in metavoxel("validate", quiet).err


def test_a_split_that_leaves_a_part_empty(metavoxel, study):
    schema = write_schema(study, TABLE, cohort={"split": {"train": 0.99, "validation": 0.005, "test": 0.005}})
    assert validate_and_train(metavoxel, schema) == [
        "cohort.split: 40 subjects leave validation and test empty; give more subjects or other shares"
    ]
    schema = write_schema(study, TABLE, cohort={"split": {"column": "part"}})
    (line,) = validate_and_train(metavoxel, schema)
    assert line.startswith("cohort.split.column: people.csv has no column 'part'")
    schema = write_schema(study, TABLE, cohort={"split": {"column": "Sex"}})
    lines = validate_and_train(metavoxel, schema)
    assert (
        lines[0].startswith("people.csv row 2 (s00), column Sex: '")
        and "is none of train, validation, test" in lines[0]
    )
    assert lines[-1] == "43 problems."


def break_scans(folder):
    """Break one scan per row."""
    scan = folder / "scans"
    volume = nibabel.load(scan / "s00.nii.gz")
    data = volume.get_fdata(dtype=np.float32)
    (scan / "s00.nii.gz").write_bytes((scan / "s00.nii.gz").read_bytes()[:400])
    (scan / "s01.nii.gz").write_text("this is no image")
    (scan / "s02.nii.gz").unlink()
    data[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, volume.affine), scan / "s03.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.full((9, 8, 7), 3, np.float32), volume.affine), scan / "s04.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(9, 8, 7, 2)), volume.affine), scan / "s06.nii.gz"
    )
    nibabel.save(
        nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(5, 5, 5)), volume.affine * 1.5), scan / "s07.nii.gz"
    )
    PIL.Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(scan / "s08.png")
    edit(folder / "people.csv", "scans/s08.nii.gz", "scans/s08.png")
    edit(folder / "people.csv", "\ns09,scans/s09.png,scans/s09.nii.gz", "\ns09,scans/s09.png,scans/s09.txt")


def test_invalid_images(metavoxel, scans):
    break_scans(scans)
    lines = validate_and_train(metavoxel, scans / "schema.yaml")
    messages = {line.split("(")[1].split(")")[0]: line for line in lines if line.startswith("people.csv row")}
    assert lines[-1] == f"{len(messages)} problems." and len(lines) == len(messages) + 1
    expected = {
        "s00": "truncated",
        "s01": "not a NIfTI file",
        "s02": "no such file",
        "s03": "1 of 504 voxels are NaN or infinite",
        "s04": "the image is constant: every voxel is 3",
        "s06": "an image has 2 or 3 axes, this one has the shape (9, 8, 7, 2)",
        "s07": "is 5x5x5 at 3, while most images are 9x8x7 at 2; set 'spacing' to resample them all to one grid",
        "s08": "has 2 axes where most images of this variable have 3",
        "s09": "not an image file by its name",
    }
    assert set(messages) == set(expected)
    for subject, message in expected.items():
        assert message in messages[subject] and "column volume" in messages[subject]


def test_two_rows_of_one_scan(metavoxel, scans):
    edit(scans / "people.csv", "\ns01,", "\ns00,scans/s00.png,scans/s00.nii.gz,33,F\ns01,")
    (line,) = validate_and_train(metavoxel, scans / "schema.yaml")
    assert (
        line.startswith("people.csv row 3 (s00), variable volume: ")
        and "is also the file of people.csv row 2 (s00); remove one" in line
    )


def test_invalid_questions(metavoxel, table_study, tmp_path):
    run, table = table_study / "run", table_study / "people.csv"

    def refused(*arguments):
        done = metavoxel(*arguments)
        assert done.code == 2 and done.out == ""
        return done.lines

    predict = ("predict", run, table, "--output", tmp_path / "o.tsv")
    names = "Variables: age, sex, score"
    assert refused(*predict, "--target", "agee") == [f"target: no variable 'agee'. Did you mean 'age'? {names}"]
    assert refused(*predict, "--target", "age", "--given", "age,sx") == [
        f"given: no variable 'sx'. Did you mean 'sex'? {names}",
        "given: 'age' is also a target; a variable is either a target or given: use another target: sex, score",
        "2 problems.",
    ]
    assert refused(*predict, "--target", "age", "--given", "sex=F") == [
        "given: 'sex=F': values are taken from the rows of the table; give the name alone: sex"
    ]
    assert refused(*predict) == ["target: name a variable to predict: age, sex, score"]
    assert refused(*predict, "--target", "age", "--part", "test") == [
        "--part: selects rows of the run's own cohort: leave the table out"
    ]
    assert refused("predict", run, "--target", "age", "--part", "exam", "--output", tmp_path / "o.tsv") == [
        "--part: 'exam' is not one of train, validation, test"
    ]
    assert refused(*predict, "--target", "age", "--draws", "2", "--solver", "euler") == [
        "--solver: 'euler' is not one of dpmpp_2m, ddim"
    ]
    assert refused(*predict, "--target", "age", "--steps", "9")[0].startswith("steps: only used when sampling")
    assert refused("predict", run, tmp_path / "none.csv", "--target", "age")[0].startswith(
        f"{tmp_path / 'none.csv'}: no such table"
    )

    sample = ("sample", run, "--output", tmp_path / "out")
    assert refused(*sample, "--given", "age=abc", "--given", "sex=x") == [
        "given age=abc: 'abc' is not a number",
        "given sex=x: unknown category (known: female (1), male (2))",
        "2 problems.",
    ]
    assert refused(*sample, "--given", "agee=3") == [f"given: no variable 'agee'. Did you mean 'age'? {names}"]
    assert refused(*sample, "--given", "age") == ["--given: 'age' must be NAME=VALUE"]
    assert refused(*sample, "--given", "age=1", "--given", "age=2") == ["--given: 'age' is given twice"]
    assert refused(*sample, "--given", "age=1", "--given", "sex=1", "--given", "score=2") == [
        "given: every variable is given, so there is none to sample; omit one of age, sex, score"
    ]
    assert refused(*sample, "--mask", "age=mask.nii.gz") == ["--mask: 'age' is not an image. Images: none"]
    assert refused(*sample, "--conditioning", "warp") == [
        "--conditioning: 'warp' is not one of clean, replace, repaint, smc"
    ]
    assert not (tmp_path / "o.tsv").exists()


def test_outputs_that_cannot_be_written(metavoxel, table_study, tmp_path):
    """Refused before anything is computed for them."""
    run, file = table_study / "run", tmp_path / "file"
    file.write_text("something")
    for arguments, words in (
        (["predict", run, "--target", "age", "--output", tmp_path], "is a folder; choose another --output"),
        (["predict", run, "--target", "age", "--output", file / "o.tsv"], "cannot be made"),
        (["sample", run, "--output", file], "cannot be made"),
        (["sample", run, "--output", file / "out"], "cannot be made"),
        (["train", table_study / "schema.yaml", "--output", file], "is a file; choose another --output"),
        (["demo", "--output", file], "cannot be made (File exists); choose another --output"),
        (["phantom", "--output", file], "cannot be made (File exists); choose another --output"),
        (["train", table_study / "schema.yaml", "--output", file / "run"], "cannot be made"),
        (["train", table_study / "schema.yaml", "--output", table_study], "would be overwritten, and is not a run's"),
    ):
        done = metavoxel(*arguments)
        assert done.code == 2 and words in done.err, arguments
    assert file.read_text() == "something"


def test_folders_that_are_not_runs(metavoxel, table_study, tmp_path):
    assert metavoxel("sample", tmp_path).lines == [f"{tmp_path}: not a run folder (it has no run.json)"]
    assert metavoxel("predict", tmp_path / "none", "--target", "age").lines == [
        f"{tmp_path / 'none'}: not a run folder (it has no run.json)"
    ]
    shutil.copytree(table_study / "run", tmp_path / "run")
    record = (tmp_path / "run" / "run.json").read_text()
    (tmp_path / "run" / "run.json").write_text(record.replace('"torch": ', '"metavoxel-count": "0.4", "torch": '))
    done = metavoxel("sample", tmp_path / "run")
    assert done.code == 2
    assert done.lines == [
        f"{tmp_path / 'run'}: needs the plugin metavoxel-count 0.4, which is not installed: pip install metavoxel-count"
    ]


def test_unavailable_hardware(metavoxel, study):
    schema = write_schema(study, TABLE)
    for option, value in (("--precision", "half"), ("--accelerator", "abacus"), ("--accelerator", "mps")):
        done = metavoxel("train", schema, "--output", study / "run", option, value)
        assert done.code == 2 and value in done.err
        assert not (study / "run").exists()


def test_yaml_tags_are_not_executed(metavoxel, study):
    schema = study / "schema.yaml"
    schema.write_text(f"cohort: !!python/object/apply:os.mkdir ['{study / 'made'}']\n")
    done = metavoxel("validate", schema)
    assert done.code == 2 and "the tag '!!python/object/apply:os.mkdir' is not supported" in done.err
    assert not (study / "made").exists()
    assert yaml.safe_load("a: 1") == {"a": 1}
