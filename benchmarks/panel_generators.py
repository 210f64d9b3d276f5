"""Generators of rows, and the accuracy of a forest that separates their rows from held-out ones.

CTGAN and TVAE (Xu et al. 2019; `pip install ctgan`, Business Source License) and ForestDiffusion (Jolicoeur-Martineau
et al. 2024; `pip install ForestDiffusion`) are optional, imported where they are used, and run with their
defaults.
"""

import importlib
import importlib.metadata
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import pandas
from jaxtyping import Float64

from benchmarks.imputation import Classes
from benchmarks.panel_joint import Runs, generated
from benchmarks.panel_tables import Training
from metavoxel.evaluation.metrics.two_sample import c2st

MOST_ROWS = 500


class NotInstalledError(Exception):
    """A generator's package is not installed."""


class AbstractGenerator(ABC):
    """Generator of rows like those of a table.

    ``package`` is the distribution that it needs; empty if none.
    """

    name: str
    package: str

    @abstractmethod
    def generate(self, training: Training, count: int) -> pandas.DataFrame:
        """Generate rows with the columns of the training rows.

        Raises:
            NotInstalledError: the package is not installed.
        """

    @final
    def version(self) -> str:
        """Version of the package; empty if none is needed.

        Raises:
            NotInstalledError: the package is not installed.
        """
        if not self.package:
            return ""
        try:
            return f"{self.package} {importlib.metadata.version(self.package)}"
        except importlib.metadata.PackageNotFoundError as error:
            raise NotInstalledError(f"{self.package} is not installed") from error

    @final
    def imported(self, module: str) -> Any:
        """Import a module of its package.

        Raises:
            NotInstalledError: the package, or one of its dependencies, is not installed.
        """
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise NotInstalledError(f"{self.package} is not installed: {error}") from error

    @final
    @property
    def installed(self) -> bool:
        """Return whether its package is installed."""
        try:
            self.version()
        except NotInstalledError:
            return False
        return True


@final
class Real(AbstractGenerator):
    """The training rows themselves: a reference for two samples of one distribution."""

    name, package = "real", ""

    def generate(self, training: Training, count: int) -> pandas.DataFrame:
        rows = np.random.default_rng(training.seed).permutation(len(training.rows))[:count]
        return training.rows.iloc[rows]


@final
class JointRows(AbstractGenerator):
    """Rows of the joint model of the panel's predictions."""

    name, package = "metavoxel", "metavoxel"

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def generate(self, training: Training, count: int) -> pandas.DataFrame:
        return generated(self._runs, training, count)


@final
class Synthesizer(AbstractGenerator):
    """CTGAN or TVAE of the package ``ctgan``.

    Args:
        name: ``ctgan`` or ``tvae``.
        quick: few epochs, as a test that it runs.
    """

    package = "ctgan"

    def __init__(self, name: str, *, quick: bool = False) -> None:
        self.name, self._epochs = name, 3 if quick else 300

    def generate(self, training: Training, count: int) -> pandas.DataFrame:
        package = self.imported("ctgan")
        make = {"ctgan": package.CTGAN, "tvae": package.TVAE}[self.name]
        rows, labels = training.rows.dropna(), list(training.classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make(epochs=self._epochs, enable_gpu=False)
            model.set_random_state(training.seed)
            model.fit(rows.astype(dict.fromkeys(labels, int)), labels)
            return model.sample(count)[list(rows)].astype(float)


@final
class Forest(AbstractGenerator):
    """ForestDiffusion: flow matching by boosted trees.

    Args:
        quick: few noise levels and copies of the rows, as a test that it runs.
    """

    name, package = "forestdiffusion", "ForestDiffusion"

    def __init__(self, *, quick: bool = False) -> None:
        self._settings = {"n_t": 5, "duplicate_K": 3} if quick else {}

    def generate(self, training: Training, count: int) -> pandas.DataFrame:
        make = self.imported("ForestDiffusion").ForestDiffusionModel
        rows = training.rows.dropna()
        places = {name: place for place, name in enumerate(rows)}
        two = [places[name] for name, classes in training.classes.items() if classes == 2]
        more = [places[name] for name, classes in training.classes.items() if classes > 2]
        settings = {"bin_indexes": two, "cat_indexes": more, "n_jobs": 1, "seed": training.seed, **self._settings}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make(rows.to_numpy(float), **settings)
            return pandas.DataFrame(model.generate(batch_size=count), columns=list(rows))


def generators(runs: Runs, *, quick: bool = False) -> Mapping[str, AbstractGenerator]:
    """Return all generators by name."""
    found = (
        Real(),
        JointRows(runs),
        Synthesizer("ctgan", quick=quick),
        Synthesizer("tvae", quick=quick),
        Forest(quick=quick),
    )
    return {generator.name: generator for generator in found}


def told_apart(
    generator: AbstractGenerator, training: Training, held_out: pandas.DataFrame, *, trees: int
) -> dict[str, float | int]:
    """Return the cross-validated accuracy of a forest on equally many generated and held-out complete rows."""
    real = held_out.dropna()
    count = min(len(real), len(training.rows.dropna()), MOST_ROWS)
    complete = Training(training.name, training.rows.dropna().reset_index(drop=True), training.classes, training.seed)
    made = generator.generate(training if isinstance(generator, JointRows) else complete, count)
    first, second = (indicators(rows, training.classes) for rows in (real.iloc[:count], made))
    return {"accuracy": c2st(first, second, seed=training.seed, trees=trees), "rows": count}


def indicators(rows: pandas.DataFrame, classes: Classes) -> Float64[np.ndarray, "n d"]:
    """Return numbers unchanged, and categories as indicators."""
    columns = []
    for name in rows:
        values = rows[name].to_numpy(float)[:, None]
        columns.append((values == np.arange(classes[name])).astype(float) if name in classes else values)
    return np.concatenate(columns, 1)
