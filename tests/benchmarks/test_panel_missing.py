"""Which cells the panel's mechanisms take."""

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.panel_missing import MECHANISMS, removed

ROWS, COLUMNS = 2000, 6


@pytest.fixture(scope="module")
def rows():
    """Six numbers of one factor; the last column is a category of three."""
    random = np.random.default_rng(0)
    values = random.normal(size=(ROWS, 1)) + 0.7 * random.normal(size=(ROWS, COLUMNS))
    frame = pandas.DataFrame(values, columns=[f"x{place}" for place in range(COLUMNS)])
    frame["x5"] = np.digitize(frame["x5"], [-0.5, 0.5]).astype(float)
    return frame


def taken(name, rows, seed=1):
    return removed(MECHANISMS[name], rows, np.random.default_rng(seed))


def test_there_are_thirteen():
    kinds = [mechanism.kind for mechanism in MECHANISMS.values()]
    assert [kinds.count(kind) for kind in ("MCAR", "MAR", "MNAR")] == [1, 3, 9]


@pytest.mark.parametrize("name", MECHANISMS)
def test_three_in_ten_of_the_cells_acted_on_go_missing(name, rows):
    gone = taken(name, rows)
    assert list(gone) == list(rows) and gone.index.equals(rows.index)
    acted = gone.any()
    assert acted.sum() == {"MAR": 3}.get(MECHANISMS[name].kind, 5 if name == "mnar_dropout" else 6)
    assert gone.loc[:, acted].to_numpy().mean() == pytest.approx(0.3, abs=0.03)
    assert (~gone).any().all(), "a column that loses all its cells cannot be learnt"


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_same_seed_takes_the_same_cells(name, rows):
    assert taken(name, rows).equals(taken(name, rows))
    assert not taken(name, rows).equals(taken(name, rows, seed=2))


def test_completely_at_random_goes_with_no_value(rows):
    """A correlation of 2000 rows has a standard error of .022."""
    gone = taken("mcar", rows)
    both = np.corrcoef(rows.to_numpy().T, gone.to_numpy(float).T)[:COLUMNS, COLUMNS:]
    assert np.abs(both).max() < 0.08


@pytest.mark.parametrize("name", [name for name, found in MECHANISMS.items() if found.kind == "MAR"])
def test_at_random_depends_on_complete_columns_alone(name, rows):
    """What the incomplete columns hold is no matter: with all of it replaced the same cells go missing."""
    gone = taken(name, rows)
    lost = gone.any()
    assert not gone.loc[:, ~lost].any(axis=None)
    other = rows.copy()
    other.loc[:, lost] = np.random.default_rng(7).normal(5, 3, (ROWS, int(lost.sum())))
    assert taken(name, other).equals(gone)
    changed = rows.copy()
    changed.loc[:, ~lost] = rows.loc[:, ~lost].to_numpy()[::-1]
    assert not taken(name, changed).equals(gone)


def test_two_phases_take_the_costly_columns_of_a_row_together(rows):
    gone = taken("mar_two_phase", rows)
    count = gone.loc[:, gone.any()].sum(axis=1)
    assert set(count) == {0, 3}


@pytest.mark.parametrize("name", ["mnar_self", "mnar_censoring"])
def test_values_of_one_side_go_missing(name, rows):
    gone = taken(name, rows)
    for column in rows:
        value, hidden = rows[column], gone[column]
        apart = (value[hidden].mean() - value[~hidden].mean()) / value.std()
        assert abs(apart) > 0.8
    if name == "mnar_censoring":
        for column in list(rows)[:5]:
            value, hidden = rows[column], gone[column]
            assert value[hidden].min() > value[~hidden].max() or value[hidden].max() < value[~hidden].min()


@pytest.mark.parametrize("name", ["mnar_middle", "mnar_middle_soft"])
def test_values_near_the_mean_go_missing(name, rows):
    gone = taken(name, rows)
    distance = (rows - rows.mean()).abs()
    for column in list(rows)[:5]:
        hidden, seen = distance[column][gone[column]], distance[column][~gone[column]]
        assert hidden.mean() < 0.6 * seen.mean()
        assert name == "mnar_middle_soft" or hidden.max() < seen.min()


def test_dropout_is_monotone(rows):
    gone = taken("mnar_dropout", rows).to_numpy()
    assert not gone[:, 0].any()
    assert (gone[:, 1:] >= gone[:, :-1]).all()


def test_blocks_are_whole(rows):
    """Ten stripes of equal size, three groups of columns at most: three stripes of each group are lost."""
    gone = taken("mnar_block", rows).to_numpy()
    patterns, counts = np.unique(gone, axis=1, return_counts=True)
    assert patterns.shape[1] <= 3 and counts.sum() == COLUMNS
    patterns, counts = np.unique(gone, axis=0, return_counts=True)
    assert len(patterns) <= 10 and all(count % (ROWS // 10) == 0 for count in counts)


def test_a_table_with_gaps_and_a_constant_column(rows):
    gaps = rows.mask(np.random.default_rng(3).random(rows.shape) < 0.1).assign(x1=4.0)
    for name in MECHANISMS:
        gone = taken(name, gaps)
        assert gone.dtypes.eq(bool).all() and gone.any(axis=None)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(MECHANISMS)), st.integers(2, 12), st.sampled_from([0.1, 0.3, 0.5]))
def test_any_number_of_columns_and_share(name, columns, share):
    values = np.random.default_rng(columns).normal(size=(600, columns))
    gone = removed(MECHANISMS[name], pandas.DataFrame(values), np.random.default_rng(0), share=share)
    acted = gone.any()
    assert gone.shape == (600, columns)
    assert gone.loc[:, acted].to_numpy().mean() == pytest.approx(share, abs=0.09)
