"""Data frames as inputs and outputs of a model."""

import math

import numpy as np
import pandas
import pytest
import torch
from tiny_cohorts import TABLE, write_schema, write_table

import metavoxel as mv
from metavoxel.errors import CohortError, CohortWarning, EvidenceError
from metavoxel.inference.tables import as_table

FRAME = pandas.DataFrame({"participant_id": [3, 1, 2], "Age": [30, 41.5, None], "Sex": ["1", "2", "1"]})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_table(folder)
    return mv.train(mv.load_schema(write_schema(folder, TABLE, training={"steps": 2})), folder / "run")


def test_cells_are_stripped_as_in_files(model):
    padded = FRAME.assign(Sex=[" 1", "2 ", "\t1"])
    pandas.testing.assert_frame_equal(model.predict(padded, "age", ["sex"]), model.predict(FRAME, "age", ["sex"]))


def test_results_merge_with_the_input_frame(model):
    for found in (model.predict(FRAME, "score", "sex"), model.log_likelihood(FRAME, "age", "sex")):
        assert list(found["participant_id"]) == [3, 1, 2]
        assert len(FRAME.merge(found, on="participant_id")) == 3


def test_misspelt_columns_are_reported_where_all_others_are_evidence(model):
    misspelt = FRAME.rename(columns={"Age": "aeg"}).assign(notes="none")
    expected = (
        r"^column 'aeg' of the table is not used, and 'Age' of variable 'age' is missing: rename it if it is that "
        r"column. Evidence: sex$"
    )
    with pytest.warns(CohortWarning, match=expected):
        found = model.predict(misspelt, "score")
    pandas.testing.assert_frame_equal(found, model.predict(misspelt, "score", ["sex"]))
    with pytest.warns(CohortWarning, match="column 'aeg' of the table"):
        model.log_likelihood(misspelt, "sex")


@pytest.mark.filterwarnings("error")
def test_other_columns_are_ignored(model):
    model.predict(FRAME.assign(notes="none", scanner="A"), "score")
    model.predict(FRAME.rename(columns={"Age": "aeg"}), "score", ["sex"])
    model.predict(FRAME.rename(columns={"Age": "aeg"}), "age")


def test_a_seed_is_a_whole_number(model):
    seed = True
    calls = (
        lambda: model.sample(1, seed=seed),
        lambda: model.predict(FRAME, "score", seed=seed),
        lambda: model.log_likelihood(FRAME, "age", seed=seed),
        lambda: model.unusual(FRAME, ["age"], seed=seed),
    )
    for call in calls:
        with pytest.raises(EvidenceError, match="seed: must be a whole number, not "):
            call()


def test_a_single_name_may_be_a_string(model):
    pandas.testing.assert_frame_equal(model.predict(FRAME, ["age"], ["sex"]), model.predict(FRAME, "age", "sex"))
    assert list(model.log_likelihood(FRAME, "age")) == ["participant_id", "logp[age]"]


def test_empty_cells_are_nan(model):
    found = model.log_likelihood(FRAME, "age", "sex")["logp[age]"]
    assert found.dtype == float and list(found.isna()) == [False, False, True]
    spread = model.predict(FRAME, "age", "sex")["age_sd"]
    assert spread.dtype == float and spread.isna().all()


@pytest.mark.parametrize("settings", [{}, {"draws": 2, "steps": 1}])
def test_results_without_rows_have_all_columns(model, settings):
    some, none = (model.predict(frame, ["age", "sex"], "score", **settings) for frame in (_scored(3), _scored(0)))
    assert len(none) == 0 and list(none) == list(some)


def _scored(rows):
    return FRAME.assign(score=[1.0, 2.0, 3.0]).head(rows)


def test_point_must_be_mean_or_median(model):
    with pytest.raises(EvidenceError, match=r"point: 'avg' is not one of mean, median"):
        model.predict(FRAME, "age", "sex", draws=2, steps=1, point="avg")


def test_out_of_range_numbers_are_located(model):
    frame = FRAME.assign(score=[50.0, -3.4e38, 1e30])
    with pytest.raises(EvidenceError) as caught:
        model.predict(frame, "age", "score")
    first, second = map(str, caught.value.problems)
    assert first.startswith("table row 2 (1), variable score: '-3.4e+38' is ")
    assert first.endswith(" in code units, too large to compute with: is it a code for 'missing'?")
    assert second.startswith("table row 3 (2), variable score: '1e+30' is ")
    with pytest.raises(EvidenceError, match=r"given score=1e30: is .* in code units"):
        model.sample(1, {"score": "1e30"})
    assert math.isfinite(model.predict(frame.assign(score=1e6), "age", "score")["age"][0])


def test_masks_may_be_arrays(model):
    with pytest.raises(EvidenceError, match=r"mask age: marks no voxel"):
        model.sample(1, {"age": 30}, {"age": np.zeros(())})
    with pytest.raises(EvidenceError, match=r"mask age: must have the image's shape \(\) .* not \(2, 3\)"):
        model.sample(1, {"age": torch.tensor(30.0)}, {"age": np.ones((2, 3))})


def test_columns_are_validated_as_in_files(model):
    twice = pandas.concat([FRAME, FRAME[["Sex"]]], axis=1)
    with pytest.raises(CohortError, match=r"table: 2 columns are named 'Sex'; names must differ"):
        model.predict(twice, "age", "sex")
    with pytest.raises(CohortError, match=r"table: column 4 has no name"):
        model.predict(FRAME.assign(extra=1).rename(columns={"extra": np.nan}), "age", "sex")


def test_rows_may_have_several_formats(model, tmp_path):
    """Paths, dictionaries and Series give the same results as the data frame of the same cells."""
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    expected = model.predict(FRAME, "age", "sex")
    for path in (tmp_path / "rows.csv", str(tmp_path / "rows.csv")):
        pandas.testing.assert_frame_equal(
            model.predict(path, "age", "sex").drop(columns="participant_id"), expected.drop(columns="participant_id")
        )
    for folder in (tmp_path, str(tmp_path)):
        pandas.testing.assert_frame_equal(
            model.predict("rows.csv", "age", "sex", folder=folder)[["age"]], expected[["age"]]
        )
    rows = FRAME.to_dict("records")
    pandas.testing.assert_frame_equal(model.predict(rows, "age", "sex"), expected)
    pandas.testing.assert_frame_equal(model.predict(FRAME.to_dict("list"), "age", "sex"), expected)
    for row in (rows[1], FRAME.iloc[1]):
        pandas.testing.assert_frame_equal(model.predict(row, "age", "sex"), expected.iloc[[1]].reset_index(drop=True))


@pytest.mark.parametrize(
    "rows",
    [None, 3, {}, [], [1, 2], {"Sex": ["1", "2"], "participant_id": "a"}, {"Sex": [1], "x": [1, 2]}, np.zeros((2, 2))],
)
def test_other_objects_are_refused_with_a_message(model, rows):
    with pytest.raises(EvidenceError, match=r"table: must be a pandas\.DataFrame, the path of a table"):
        as_table(rows, model.schema)


@pytest.mark.parametrize("cell", [None, math.nan, pandas.NA, pandas.NaT, "", "n/a"])
def test_empty_values_are_missing(model, cell):
    rows = pandas.DataFrame({"participant_id": ["a"], "score": pandas.Series([cell], dtype=object)})
    empty = pandas.DataFrame({"participant_id": ["a"], "score": [""]})
    assert model.predict(rows, "age", "score")["age"][0] == model.predict(empty, "age", "score")["age"][0]


def test_missing_codes_are_recognised_in_every_dtype(tmp_path):
    write_table(tmp_path)
    schema = write_schema(tmp_path, TABLE, training={"steps": 2}, cohort={"missing": [-999, "n/a"]})
    model = mv.train(mv.load_schema(schema), tmp_path / "run")
    rows = pandas.DataFrame({"participant_id": ["a"], "score": [-999]})
    found = [
        model.predict(rows.astype({"score": dtype}), "age", "score")["age"][0]
        for dtype in (int, float, str, "Int64", "Float64", object)
    ]
    missing = model.predict(rows.assign(score=""), "age", "score")["age"][0]
    assert found == [missing] * 6
    for cell in (-999, -999.0, "-999.00"):
        with pytest.raises(EvidenceError, match=r"given score=-999\S*: is a code for 'missing' by cohort.missing"):
            model.sample(1, {"score": cell}, steps=1)


def test_invalid_cells_are_missing_in_every_batch(model):
    """They are treated as missing, with a warning, independent of the other rows."""
    frame = FRAME.assign(Sex=["X", "1", "2"])
    with pytest.warns(CohortWarning, match=r"sex: 1 taken as missing \(unknown category .*\): X"):
        batch = model.predict(frame, "age", "sex")
    with pytest.warns(CohortWarning, match=r"sex: 1 taken as missing"):
        alone = model.predict(frame.head(1), "age", "sex")
    assert alone["age"][0] == batch["age"][0]
    with pytest.warns(CohortWarning, match=r"sex: 1 taken as missing"):
        model.log_likelihood(FRAME.assign(Sex=["X", "1", "2"], score=50.0).head(1), "score", "sex")


def test_draws_do_not_depend_on_unrelated_columns(model):
    frame = pandas.DataFrame({"participant_id": ["p", "p"], "Sex": ["1", "1"], "note": ["a", "b"]})
    first, second = (
        model.predict(one, "age", "sex", draws=2, steps=2) for one in (frame, frame.assign(note=["c", "d"]))
    )
    pandas.testing.assert_frame_equal(first, second)
    assert first["age"][0] != first["age"][1]
    assert model.predict(frame.head(1), "age", "sex", draws=2, steps=2)["age"][0] == first["age"][0]
