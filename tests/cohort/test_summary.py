import io

from rich.console import Console

from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.summary import Blanked, Grids, Labels, describe, render
from metavoxel.schema.settings import CohortSettings
from metavoxel.variables.categorical import CategoricalSpec
from metavoxel.variables.continuous import ContinuousSpec
from metavoxel.variables.image import ImageSpec


def _summary(study, volume):
    volume(study / "scans/p01.nii.gz", (8, 8, 12))
    text = (study / "people.csv").read_text()
    text = text.replace("p02.nii.gz,24,F", "p02.nii.gz,n/a,F").replace("p03.nii.gz,26,M", "p03.nii.gz,999,M")
    (study / "people.csv").write_text(text.replace("p19,", "p18,"))
    variables = {
        "T1w": ImageSpec(spacing=4.0),
        "age": ContinuousSpec(column="Age", range=(20, 60), unit="years"),
        "sex": CategoricalSpec(column="Sex", categories=["F", "M"]),
    }
    return describe(read_cohort(variables, CohortSettings(table="people.csv", subject="id"), folder=study))


def test_the_summary_has_the_figures(study, volume):
    summary = _summary(study, volume)
    assert (summary.rows, summary.subjects) == (20, 19)
    assert sum(rows for rows, _ in summary.parts.values()) == 20
    assert sum(subjects for _, subjects in summary.parts.values()) == 19
    image, age, sex = summary.variables
    assert image.values == Grids(
        {"8x8x8 at 2": 19, "8x8x12 at 2": 1}, shape=(4, 4, 6), spacing=(4.0, 4.0, 4.0), padding=((0, 0), (0, 0), (2, 0))
    )
    assert (image.present, image.missing) == (20, 0)
    assert (age.present, age.missing, age.unit) == (18, 1, "years")
    assert age.blanked == (Blanked("outside valid [0, 80]", 1, ("999",)),)
    assert (age.values.low, age.values.high) == (20, 58)
    assert abs(age.values.mean - (sum(range(20, 60, 2)) - 50) / 18) < 1e-9
    assert sex.values == Labels({"F": 10, "M": 10})


def test_the_summary_prints(study, volume):
    console = Console(file=io.StringIO(), width=160)
    console.print(render(_summary(study, volume)))
    text = console.file.getvalue()
    for expected in (
        "20 rows of 19 subjects: train 15 subjects",
        "1 outside valid [0, 80]: 999",
        "20 to 58 years, mean 40.56, sd 11.43",
        "F 10, M 10",
        "19 of 8x8x8 at 2",
        "to 4x4x6 at 4; padding 0, 0, 0 to 2",
    ):
        assert expected in text
