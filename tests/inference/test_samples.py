"""Draws of subjects in memory and as files."""

import numpy as np
import pandas
import torch

from metavoxel.inference.samples import Samples, sample_rows, write_samples, write_table
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec

AFFINE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
SPECS = {
    "scan": ImageSpec(shape=(4, 3), affine=AFFINE, extension=".png"),
    "age": ContinuousSpec(range=(0, 100)),
    "sex": CategoricalSpec(categories=["F", "M"]),
}


def drawn(count):
    rng = torch.Generator().manual_seed(0)
    return {
        "scan": torch.rand(count, 1, 4, 3, generator=rng),
        "age": torch.linspace(20, 60, count)[:, None],
        "sex": torch.arange(count)[:, None] % 2,
    }


def test_draws_written_in_parts_equal_those_written_at_once(tmp_path):
    values = drawn(5)
    write_samples(tmp_path / "whole", SPECS, values)
    rows = []
    (tmp_path / "parts").mkdir()
    for start in (0, 2, 4):
        part = {name: value[start : start + 2] for name, value in values.items()}
        rows += sample_rows(tmp_path / "parts", SPECS, part, first=start + 1)
    write_table(tmp_path / "parts", rows)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "parts").iterdir()) and len(names) == 6
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    table = pandas.read_csv(tmp_path / "parts" / "samples.tsv", sep="\t")
    assert table["sample"].tolist() == [1, 2, 3, 4, 5] and table["sex"].tolist() == ["F", "M", "F", "M", "F"]


LABELS = LabelMapSpec(
    shape=(4, 3, 2), affine=np.diag([2.0, 2, 2, 1]).tolist(), labels={"none": 0, "lesion": 7}, extension=".nii.gz"
)


def test_samples_are_a_mapping_a_frame_and_images():
    volume = ImageSpec(
        shape=(4, 3, 2), affine=np.diag([2.0, 3, 4, 1]).tolist(), extension=".nii.gz", intensities=(0, 200)
    )
    specs = {"scan": volume, "lesion": LABELS, "age": ContinuousSpec(unit="years"), "sex": SPECS["sex"]}
    values = {
        "scan": torch.rand(3, 1, 4, 3, 2, generator=torch.Generator().manual_seed(0)),
        "lesion": (torch.arange(72).reshape(3, 1, 4, 3, 2) % 2).float(),
        "age": torch.tensor([20.0, 40.0, 60.0]),
        "sex": torch.tensor([0, 1, 1]),
    }
    samples = Samples(values, specs)
    assert list(samples) == list(values) and samples.draws == 3 and samples["age"] is values["age"]
    assert samples.frame.to_dict("list") == {"age": [20.0, 40.0, 60.0], "sex": ["F", "M", "M"]}
    assert samples.frame.attrs == {"units": {"age": "years"}}
    scans, lesions = samples.images["scan"], samples.images["lesion"]
    assert len(scans) == len(lesions) == 3 and np.allclose(scans[0].affine, np.diag([2, 3, 4, 1]))
    assert np.allclose(scans[1].get_fdata(), 200 * values["scan"][1, 0].numpy(), atol=1e-4)
    assert set(np.unique(lesions[2].get_fdata())) == {0, 7}
    assert repr(samples) == "Samples(3 draws: scan (1, 4, 3, 2), lesion (1, 4, 3, 2), age scalar, sex scalar)"
    assert "<table" in samples._repr_html_()
