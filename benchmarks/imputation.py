"""Imputation of the missing cells of a table, and its errors.

A table is a data frame: numbers as floats, categories as whole numbers from 0, NaN where a cell is missing.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import pandas
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (it enables the class below)
from sklearn.impute import IterativeImputer

Classes = Mapping[str, int]
"""Number of classes of each category of a table."""


def simple(table: pandas.DataFrame, classes: Classes) -> pandas.DataFrame:
    """Impute the mean of a number and the most frequent class of a category."""
    guess = {name: table[name].mode()[0] if name in classes else table[name].mean() for name in table}
    return table.fillna(guess)


def iterative(table: pandas.DataFrame, classes: Classes, seed: int) -> pandas.DataFrame:
    """Impute by scikit-learn's IterativeImputer with defaults (Bayesian ridge regression), categories one-hot.

    The last class has no column: with all columns, each would be determined by the others and keep its initial value.
    """
    columns = []
    for name in table:
        if name in classes:
            one_hot = np.eye(classes[name])[table[name].fillna(0).astype(int)][:, :-1]
            columns.append(np.where(table[name].isna().to_numpy()[:, None], np.nan, one_hot))
        else:
            columns.append(table[[name]].to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        wide = IterativeImputer(random_state=seed, max_iter=20).fit_transform(np.concatenate(columns, 1))
    filled, start = {}, 0
    for name, column in zip(table, columns, strict=True):
        part = wide[:, start : start + column.shape[1]]
        whole = np.column_stack([part, 1 - part.sum(1)]) if name in classes else part
        filled[name] = whole.argmax(1) if name in classes else part[:, 0]
        start += column.shape[1]
    return pandas.DataFrame(filled).astype(float)


def miss_forest(
    table: pandas.DataFrame, classes: Classes, seed: int, *, trees: int = 100, rounds: int = 10
) -> pandas.DataFrame:
    """Impute by MissForest (Stekhoven and Bühlmann 2012, algorithm 1): random forests in turn, until changes increase.

    Variables are imputed in the order of their missing cells. As in the R package, forests have 100 trees, splits
    consider the square root of the table's number of variables, and nodes of five rows are not split for numbers.
    Categories enter as indices, where R has factors.
    """
    looked_at = int(len(table.columns) ** 0.5)
    missing = table.isna()
    order = [name for name in missing.sum().sort_values(kind="stable").index if missing[name].any()]
    filled, last = simple(table, classes), {"numbers": np.inf, "categories": np.inf}
    for _ in range(rounds):
        before = filled.copy()
        for name in order:
            others = filled.drop(columns=name).to_numpy()
            settings = {"n_estimators": trees, "max_features": looked_at, "random_state": seed}
            if name in classes:
                forest = RandomForestClassifier(**settings)
            else:
                forest = RandomForestRegressor(**settings, min_samples_split=6)
            gap = missing[name].to_numpy()
            forest.fit(others[~gap], table[name].to_numpy()[~gap])
            filled.loc[gap, name] = forest.predict(others[gap])
        change = _change(before, filled, missing, classes)
        if all(change[kind] >= last[kind] for kind in change):
            return before
        last |= change
    return filled


def _change(
    before: pandas.DataFrame, after: pandas.DataFrame, missing: pandas.DataFrame, classes: Classes
) -> dict[str, float]:
    """Return the changes of a round, of numbers and of categories; kinds without missing cells are omitted."""
    numbers = [name for name in after if name not in classes and missing[name].any()]
    labels = [name for name in after if name in classes and missing[name].any()]
    found = {}
    if numbers:
        moved = sum(float((after[name] - before[name]).pow(2).sum()) for name in numbers)
        found["numbers"] = moved / sum(float(after[name].pow(2).sum()) for name in numbers)
    if labels:
        found["categories"] = float(np.mean([(after[name] != before[name])[missing[name]].mean() for name in labels]))
    return found


def imputation_errors(
    filled: pandas.DataFrame, truth: pandas.DataFrame, removed: pandas.DataFrame, classes: Classes
) -> dict[str, float]:
    """Return the errors of removed cells.

    ``numbers``: root of the mean squared error over the column's variance, averaged over numbers. ``categories``: error
    rate over all removed cells of categories.
    """
    roots, wrong = [], []
    for name in truth:
        gap = removed[name]
        if not gap.any():
            continue
        if name in classes:
            wrong.append((filled[name][gap] != truth[name][gap]).to_numpy())
        else:
            error = (filled[name][gap] - truth[name][gap]).pow(2).mean()
            roots.append(float(np.sqrt(error / truth[name].var())))
    found = {"numbers": float(np.mean(roots))} if roots else {}
    return found | ({"categories": float(np.concatenate(wrong).mean())} if wrong else {})
