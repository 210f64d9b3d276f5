"""Drawn subjects as files."""

import pandas
import torch

from metavoxel.inference.samples import sample_rows, write_samples, write_table
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec

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


def test_draws_written_in_parts_are_those_written_at_once(tmp_path):
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
