"""Regions of the test rows by predictor."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.evaluation.metrics.regions import masks, regions_of, thirds


def test_thirds_of_distinct_numbers_have_equally_many_rows():
    values = np.random.default_rng(0).permutation(30).astype(float)
    found = list(thirds("x", values))
    assert [(r.label, r.rows.sum()) for r in found] == [("0 to 9.00", 10), ("10.0 to 19.0", 10), ("20.0 to 29.0", 10)]
    assert (values[found[0].rows] < 10).all()


@given(st.lists(st.integers(0, 4) | st.none(), min_size=1, max_size=40))
def test_equal_numbers_share_a_region_and_missing_ones_have_none(cells):
    values = np.array([np.nan if cell is None else float(cell) for cell in cells])
    found = masks(list(thirds("x", values)), len(values))
    assert (found.sum(1) == np.isfinite(values)).all()
    for value in set(values[np.isfinite(values)]):
        assert len(np.unique(found[values == value], axis=0)) == 1


def test_regions_are_thirds_classes_and_missing_values(table_part):
    ages = table_part.numbers("age")
    found = regions_of(table_part, "age")
    assert [region.label for region in found][-1] == "missing" and len(found) == 4
    assert (found[-1].rows == np.isnan(ages)).all()
    assert sum(region.rows.sum() for region in found) == len(ages)
    sexes = regions_of(table_part, "sex")
    assert [region.label for region in sexes] == ["female", "male"]
    truth = np.array(table_part.truth("sex"))
    assert all((region.rows == (truth == region.label)).all() for region in sexes)


def test_regions_of_an_image_are_given_and_missing(scan_part):
    present = scan_part.present("volume")
    found = {region.label: region.rows for region in regions_of(scan_part, "volume")}
    if present.all():
        assert not found
    else:
        assert (found["given"] == present).all() and (found["missing"] == ~present).all()
    assert regions_of(scan_part, "picture") == []
