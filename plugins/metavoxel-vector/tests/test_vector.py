from pathlib import Path

import pytest
import torch
from metavoxel_vector import PCACodecSpec, VectorSpec

from metavoxel.parts.variables.base import Missing
from metavoxel.rng import Rng

ROW = {"age": "30", "vol_b": "2.5", "vol_a": "1", "id": "x"}


def located(spec, row=ROW):
    return spec.locate("volumes", row, Path())


def test_patterns_become_columns_in_the_tables_order():
    spec = VectorSpec(columns=["vol_*", "age"])
    cell = located(spec)
    resolved = spec.resolve([cell], multiple=1)
    assert resolved.columns == ["vol_b", "vol_a", "age"] and resolved.data_shape == (3,)
    assert resolved.required_columns("volumes") == {"vol_a", "vol_b", "age"}
    value = resolved.parse(cell)
    assert value.tolist() == [2.5, 1.0, 30.0]
    assert resolved.cells("volumes", value) == {"vol_b": 2.5, "vol_a": 1.0, "age": 30.0}
    assert resolved.parse("age=30; vol_a=1;vol_b=2.5").tolist() == value.tolist()


def test_the_variable_is_missing_in_rows_without_a_column():
    spec = VectorSpec(columns=["vol_b", "vol_a"])
    assert located(spec, {**ROW, "vol_a": ""}) == "vol_b=2.5; vol_a="
    assert spec.parse("vol_b=2.5; vol_a=") == Missing("vol_a missing")
    assert located(spec, {**ROW, "vol_a": "", "vol_b": ""}) == ""


@pytest.mark.parametrize("cell", ["1 2", "vol_a=1", "vol_a=1; vol_b=2; c=3", "vol_a=1; vol_b=two"])
def test_cells_that_cannot_be_read(cell):
    with pytest.raises(ValueError):
        VectorSpec(columns=["vol_b", "vol_a"]).parse(cell)


def test_unknown_columns():
    with pytest.raises(KeyError, match=r"area_\*"):
        located(VectorSpec(columns=["area_*"]))


def test_few_components_represent_correlated_numbers():
    """Forty numbers of two factors are nearly determined by two components, standardised and uncorrelated."""
    factors = Rng.for_rows(500, "factors").normal((500, 2))
    loadings = Rng.for_rows(2, "loadings").normal((2, 40))
    numbers = 100 + 5 * (factors @ loadings) + 0.5 * Rng.for_rows(500, "noise").normal((500, 40))
    codec = PCACodecSpec(components=2).build((40,))
    codec.fit(lambda: [numbers])
    codes = codec.encode(numbers).mean
    torch.testing.assert_close(codes.T @ codes / 500, torch.eye(2), rtol=0, atol=1e-4)
    assert float((codec.decode(codes) - numbers).std()) < 0.6


def test_fewer_rows_than_components():
    rows = torch.tensor([[1.0, 2, 3], [2.0, 2, 5], [4.0, 2, 1]])
    codec = PCACodecSpec(components=3).build((3,))
    codec.fit(lambda: [rows])
    torch.testing.assert_close(codec.decode(codec.encode(rows).mean), rows)
