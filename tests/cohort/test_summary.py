import io

import nibabel
import numpy as np
from rich.console import Console

from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.summary import Blanked, describe, render
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.parts.variables.summaries import Grids, LabelCount, LabelMaps, Labels
from metavoxel.schema.settings import CohortSettings


def _summary(study, volume):
    volume(study / "scans/p01.nii.gz", (8, 8, 12))
    text = (study / "subjects.csv").read_text()
    text = text.replace("p02.nii.gz,24,F", "p02.nii.gz,n/a,F").replace("p03.nii.gz,26,M", "p03.nii.gz,999,M")
    (study / "subjects.csv").write_text(text.replace("p19,", "p18,"))
    variables = {
        "T1w": ImageSpec(spacing=4.0),
        "age": ContinuousSpec(column="Age", range=(20, 60), unit="years"),
        "sex": CategoricalSpec(column="Sex", categories=["F", "M"]),
    }
    return describe(read_cohort(variables, CohortSettings(table="subjects.csv", subject="id"), folder=study))


def test_the_summary_has_counts_and_ranges(study, volume):
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


def test_the_summary_is_printed(study, volume):
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


def test_label_maps_are_counted_on_the_model_s_grid(tmp_path):
    rows = ["participant_id\tlesion"]
    for index, side in enumerate((0, 2, 4, 0)):
        data = np.zeros((8, 8, 8), np.uint8)
        data[:side, :side, :side] = 1
        nibabel.save(nibabel.Nifti1Image(data, np.diag([1.5, 2.0, 2.0, 1.0])), tmp_path / f"{index}.nii.gz")
        rows.append(f"s{index}\t{index}.nii.gz")
    (tmp_path / "subjects.tsv").write_text("\n".join(rows) + "\n")
    specs = {"lesion": LabelMapSpec(labels={"background": 0, "lesion": 1, "scar": 2})}
    summary = describe(read_cohort(specs, CohortSettings(table="subjects.tsv"), folder=tmp_path, split=False))
    grids = Grids({"8x8x8 at 1.5 x 2 x 2": 4}, (8, 8, 8), (1.5, 2.0, 2.0), ((0, 0),) * 3)
    labels = {
        "background": LabelCount(4, 512 - (8 + 64) / 4),
        "lesion": LabelCount(2, (8 + 64) / 2),
        "scar": LabelCount(0, 0.0),
    }
    assert summary.variables[0].values == LabelMaps(grids, labels, empty=2, voxel_volume=6.0)
    console = Console(file=io.StringIO(), width=160)
    console.print(render(summary))
    text = " ".join(console.file.getvalue().split())
    assert "lesion in 2 (mean 216 mm³), scar in 0; 2 of background only" in text.replace("│ ", "").replace(" │", "")
