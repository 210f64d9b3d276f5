"""What commands write never takes the place of what they read."""

import pandas
import pytest
from tiny_cohorts import TABLE


@pytest.fixture
def people(table_study, tmp_path):
    """A copy of the study's table."""
    path = tmp_path / "people.csv"
    path.write_bytes((table_study / TABLE["cohort"]["table"]).read_bytes())
    return path


@pytest.mark.parametrize("more", [[], ["--log-likelihood"]])
def test_the_table_that_is_read_is_not_written(metavoxel, table_study, people, more):
    before = people.read_bytes()
    done = metavoxel("predict", table_study / "run", people, "--target", "age", "--output", people, *more)
    assert done.code == 2 and done.lines == [f"{people}: is the table that is read; choose another --output"]
    assert people.read_bytes() == before


def test_every_option_names_a_file_of_its_own(metavoxel, table_study, people, tmp_path):
    def predict(output, draws):
        asked = ["--target", "age", "--draws", "1", "--steps", "1"]
        return metavoxel("predict", table_study / "run", people, *asked, "--output", output, "--write-draws", draws)

    one = tmp_path / "one.tsv"
    assert predict(one, one).lines == [f"{one}: is also the file of --output; choose another --write-draws"]
    assert predict(one, people).lines == [f"{people}: is the table that is read; choose another --write-draws"]
    assert predict(one, tmp_path).lines == [f"{tmp_path}: is a folder; choose another --write-draws"]
    assert not one.exists()


def test_samples_do_not_replace_the_image_they_are_given(metavoxel, scan_study, tmp_path):
    def sample(*arguments):
        return metavoxel("sample", scan_study / "run", "-n", "1", "--steps", "1", *arguments)

    assert sample("--output", tmp_path / "out").code == 0
    image = tmp_path / "out" / "sample-001_volume.nii.gz"
    before = image.read_bytes()
    for given in (["--given", f"volume={image}"], ["--given", "age=30", "--mask", f"volume={image}"]):
        done = sample(*given, "--output", tmp_path / "out")
        assert done.code == 2 and done.lines == [
            f"{image}: is in the folder that is written anew, {tmp_path / 'out'}; choose another --output"
        ]
    assert image.read_bytes() == before
    assert sample("--given", f"volume={image}", "--output", tmp_path / "other").code == 0


def test_predicted_images_do_not_replace_those_of_the_table(metavoxel, scan_study, tmp_path):
    (tmp_path / "one.csv").write_text("participant_id,age,sex\na,30,F\n")
    asked = ["--target", "volume", "--given", "age", "--output"]
    assert metavoxel("predict", scan_study / "run", tmp_path / "one.csv", *asked, tmp_path / "p.tsv").code == 0
    table = pandas.read_csv(tmp_path / "p.tsv", sep="\t").assign(age=30)
    table.to_csv(tmp_path / "two.csv", index=False)
    done = metavoxel("predict", scan_study / "run", tmp_path / "two.csv", *asked, tmp_path / "p.tsv")
    assert done.code == 2 and "is in the folder that is written anew" in done.err
    assert (tmp_path / table["volume"][0]).exists()


def test_a_full_disk_is_told_without_a_traceback(metavoxel, table_study, people):
    done = metavoxel("predict", table_study / "run", people, "--target", "age", "--output", "/dev/full")
    assert done.code == 2 and done.lines == ["No space left on device"]
