"""Data frames in, data frames out: read as files are, and fit to be computed with."""

import math

import numpy as np
import pandas
import pytest
import torch
from tiny_cohorts import TABLE, write_schema, write_table

import metavoxel as mv
from metavoxel.errors import EvidenceError

FRAME = pandas.DataFrame({"participant_id": [3, 1, 2], "Age": [30, 41.5, None], "Sex": ["1", "2", "1"]})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_table(folder)
    return mv.train(mv.load_schema(write_schema(folder, TABLE, training={"steps": 2})), folder / "run")


def test_cells_are_stripped_as_those_of_files_are(model):
    padded = FRAME.assign(Sex=[" 1", "2 ", "\t1"])
    pandas.testing.assert_frame_equal(model.predict(padded, "age", ["sex"]), model.predict(FRAME, "age", ["sex"]))


def test_answers_merge_with_the_frame_that_was_asked_about(model):
    for found in (model.predict(FRAME, "score", "sex"), model.log_likelihood(FRAME, "age", "sex")):
        assert list(found["participant_id"]) == [3, 1, 2]
        assert len(FRAME.merge(found, on="participant_id")) == 3


def test_a_name_may_come_alone(model):
    pandas.testing.assert_frame_equal(model.predict(FRAME, ["age"], ["sex"]), model.predict(FRAME, "age", "sex"))
    assert list(model.log_likelihood(FRAME, "age")) == ["participant_id", "logp[age]"]


def test_empty_cells_are_nan(model):
    found = model.log_likelihood(FRAME, "age", "sex")["logp[age]"]
    assert found.dtype == float and list(found.isna()) == [False, False, True]
    spread = model.predict(FRAME, "age", "sex")["age_sd"]
    assert spread.dtype == float and spread.isna().all()


@pytest.mark.parametrize("asked", [{}, {"draws": 2, "steps": 1}])
def test_no_rows_have_the_columns_of_some(model, asked):
    some, none = (model.predict(frame, ["age", "sex"], "score", **asked) for frame in (_scored(3), _scored(0)))
    assert len(none) == 0 and list(none) == list(some)


def _scored(rows):
    return FRAME.assign(score=[1.0, 2.0, 3.0]).head(rows)


def test_a_point_is_mean_or_median(model):
    with pytest.raises(EvidenceError, match=r"point: 'avg' is not one of mean, median"):
        model.predict(FRAME, "age", "sex", draws=2, steps=1, point="avg")


def test_numbers_that_no_network_can_take_are_located(model):
    frame = FRAME.assign(score=[50.0, -3.4e38, 1e30])
    with pytest.raises(EvidenceError) as caught:
        model.predict(frame, "age", "score")
    first, second = map(str, caught.value.problems)
    assert first.startswith("table row 2 (1), variable score: '-3.4e+38' is ")
    assert first.endswith(" in code units, which no network can take: is it a code for 'missing'?")
    assert second.startswith("table row 3 (2), variable score: '1e+30' is ")
    with pytest.raises(EvidenceError, match=r"given score=1e30: is .* in code units"):
        model.sample(1, {"score": "1e30"})
    assert math.isfinite(model.predict(frame.assign(score=1e6), "age", "score")["age"][0])


def test_masks_may_be_arrays(model):
    with pytest.raises(EvidenceError, match=r"mask age: marks no voxel"):
        model.sample(1, {"age": 30}, {"age": np.zeros(())})
    with pytest.raises(EvidenceError, match=r"mask age: must have the image's shape \(\) .* not \(2, 3\)"):
        model.sample(1, {"age": torch.tensor(30.0)}, {"age": np.ones((2, 3))})
