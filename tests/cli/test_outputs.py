"""Output files of commands never replace their input files."""

import pandas
import pytest
from tiny_cohorts import TABLE


@pytest.fixture
def table(table_study, tmp_path):
    """A copy of the study's table."""
    path = tmp_path / "subjects.csv"
    path.write_bytes((table_study / TABLE["cohort"]["table"]).read_bytes())
    return path


@pytest.mark.parametrize("more", [[], ["--log-likelihood"]])
def test_the_input_table_is_not_overwritten(metavoxel, table_study, table, more):
    before = table.read_bytes()
    done = metavoxel("predict", table_study / "run", table, "--target", "age", "--output", table, *more)
    assert done.code == 2 and done.lines == [f"{table}: is the input table; choose another --output"]
    assert table.read_bytes() == before


def test_every_option_needs_a_different_file(metavoxel, table_study, table, tmp_path):
    def predict(output, draws):
        options = ["--target", "age", "--draws", "1", "--steps", "1"]
        return metavoxel("predict", table_study / "run", table, *options, "--output", output, "--write-draws", draws)

    one = tmp_path / "one.tsv"
    assert predict(one, one).lines == [f"{one}: is also the file of --output; choose another --write-draws"]
    assert predict(one, table).lines == [f"{table}: is the input table; choose another --write-draws"]
    assert predict(one, tmp_path).lines == [f"{tmp_path}: is a folder; choose another --write-draws"]
    assert not one.exists()


def test_samples_do_not_replace_the_given_image(metavoxel, scan_study, tmp_path):
    def sample(*arguments):
        return metavoxel("sample", scan_study / "run", "-n", "1", "--steps", "1", *arguments)

    assert sample("--output", tmp_path / "out").code == 0
    image = tmp_path / "out" / "sample-001_volume.nii.gz"
    before = image.read_bytes()
    for given in (["--given", f"volume={image}"], ["--given", "age=30", "--mask", f"volume={image}"]):
        done = sample(*given, "--output", tmp_path / "out")
        assert done.code == 2 and done.lines == [
            f"{image}: is an input in the folder to be overwritten, {tmp_path / 'out'}; choose another --output"
        ]
    assert image.read_bytes() == before
    assert sample("--given", f"volume={image}", "--output", tmp_path / "other").code == 0


def test_predicted_images_do_not_replace_those_of_the_table(metavoxel, scan_study, tmp_path):
    (tmp_path / "one.csv").write_text("participant_id,age,sex\na,30,F\n")
    options = ["--target", "volume", "--given", "age", "--output"]
    assert metavoxel("predict", scan_study / "run", tmp_path / "one.csv", *options, tmp_path / "p.tsv").code == 0
    table = pandas.read_csv(tmp_path / "p.tsv", sep="\t").assign(age=30)
    table.to_csv(tmp_path / "two.csv", index=False)
    done = metavoxel("predict", scan_study / "run", tmp_path / "two.csv", *options, tmp_path / "p.tsv")
    assert done.code == 2 and "is an input in the folder to be overwritten" in done.err
    assert (tmp_path / table["volume"][0]).exists()


def test_a_full_disk_is_reported_without_a_traceback(metavoxel, table_study, table):
    done = metavoxel("predict", table_study / "run", table, "--target", "age", "--output", "/dev/full")
    assert done.code == 2 and done.lines == ["No space left on device"]
