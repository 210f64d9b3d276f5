"""How the subjects of OASIS-1 are divided for cross-validation."""

import numpy as np
import pandas
import pytest

from benchmarks.oasis import FOLDS, columns_of, folds, schema_of, subjects

RATINGS = ["0"] * 30 + ["0.5"] * 20 + ["1"] * 10


@pytest.fixture
def table(tmp_path):
    """Sixty people with a rating and two without one that counts."""
    rated = [*RATINGS, "", "2"]
    rows = {"ID": [f"s{n}" for n in range(len(rated))], "M/F": ["F", "M"] * 31, "SES": ["", *["3"] * 61], "CDR": rated}
    path = tmp_path / "participants.csv"
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def test_everyone_is_tested_once_a_repeat_and_never_validates_that_fold(table):
    frame = subjects(table)
    assert len(frame) == 60
    found = list(folds(frame, 2))
    assert [fold.name for fold in found] == [f"{repeat}-{number}" for repeat in range(2) for number in range(FOLDS)]
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in found if fold.repeat == repeat])
        assert sorted(tested) == list(range(60))
    for fold in found:
        assert not set(fold.test) & set(fold.validation)
        assert len(fold.validation) == 8
        assert frame["CDR"].iloc[fold.test].value_counts().to_dict() == {"0": 6, "0.5": 4, "1": 2}


def test_a_fold_is_the_split_of_its_schema(table, tmp_path):
    frame = subjects(table)
    fold = next(folds(frame, 1))
    variables = {"sex": {"type": "categorical", "column": "M/F", "categories": ["F", "M"]}}
    schema = schema_of(frame, fold, variables, tmp_path / "run" / "fold.yaml")
    written = pandas.read_csv(schema.folder / schema.cohort.table)
    assert schema.cohort.split.column == "part"
    assert list((written["part"] == "test").to_numpy().nonzero()[0]) == sorted(fold.test)
    assert list((written["part"] == "validation").to_numpy().nonzero()[0]) == sorted(fold.validation)


def test_cells_as_numbers(table):
    found = columns_of(subjects(table), ["M/F", "SES"])
    assert found[:3].tolist() == [[0, pytest.approx(np.nan, nan_ok=True)], [1, 3], [0, 3]]
