"""The Gaussian baseline of all variables: predictions in closed form, before any training of the network.

For each row, with the features f of all variables and the Gaussian likelihoods of their noisy codes,

    expected = E[f | all noisy codes]    (:mod:`metavoxel.network.baseline.mixture`).                            (1)

Each variable's ``baseline`` converts its expected features to outputs, to which the network's are added. For an image,
outputs are those of its reconstruction from the expected features plus the posterior mean of its residual, a Gaussian
random field (:mod:`metavoxel.network.residual_field`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from metavoxel.network.banded_field import BandedField
from metavoxel.network.baseline.feature_bank import FeatureBank
from metavoxel.network.baseline.gaussian import MOST_ROWS
from metavoxel.network.baseline.mixture import MixtureBaseline
from metavoxel.network.baseline.shrinkage import FOLDS
from metavoxel.network.residual_field import AbstractFieldFit, Noisy, ResidualField
from metavoxel.parts.adapters.base import port_name
from metavoxel.parts.features.base import AbstractFeatures
from metavoxel.parts.features.rows import Rows
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.typing import AnyCode, AnyMask, AnyTime

_RESERVED = frozenset(dir(nn.ModuleDict()))


def module_name(variable: str) -> str:
    """Return the name of a variable's module: its own, unless ``ModuleDict`` has an attribute of that name."""
    return f"{variable}-" if variable in _RESERVED else variable


def linked(factors: Sequence[Collection[str]], sizes: Mapping[str, int]) -> Bool[Tensor, "n n"] | None:
    """Return the pairs of entries (``sizes`` per variable) whose variables are the same or share a factor."""
    if not factors:
        return None
    owners = [name for name, size in sizes.items() for _ in range(size)]
    shared = {(one, other) for factor in factors for one in factor for other in factor}
    pairs = [one == other or (one, other) in shared for one in owners for other in owners]
    return torch.tensor(pairs, dtype=torch.bool).reshape(len(owners), len(owners))


class BaselineOutputs(NamedTuple):
    """Outputs of the baseline, by variable.

    Attributes:
        expected: posterior mean of its features, eq. (1); of size 0 if it has none.
        outputs: summand of the network's outputs; None if there are none.
    """

    expected: dict[str, Float[Tensor, "b _"]]
    outputs: dict[str, Tensor | None]


class Baseline(nn.Module):
    """Features of all variables, their joint distribution, and residual fields. Final.

    Args:
        features: by variable; None for a variable without features.
        kernels: by variable.
        code_shapes: by variable.
        kinds: by variable; features of one kind differ only in their buffers.
        factors: groups of variables that depend on each other directly, where known.
        mixed: whether a mixture is allowed.
        bands: by image, the band of each channel of its code; channels of different bands have independent residual
            fields. By default all channels of the images on a grid are in one field, also if only some have bands.
    """

    def __init__(
        self,
        features: Mapping[str, AbstractFeatures | None],
        kernels: Mapping[str, AbstractKernel],
        code_shapes: Mapping[str, tuple[int, ...]],
        kinds: Mapping[str, str],
        *,
        factors: Sequence[Collection[str]],
        mixed: bool,
        bands: Mapping[str, Sequence[int]] = {},
    ) -> None:
        super().__init__()
        self._kernels, self._code_shapes = dict(kernels), dict(code_shapes)
        self.features = nn.ModuleDict({module_name(name): one for name, one in features.items() if one is not None})
        self._bank = FeatureBank(features, kinds)
        sizes = {name: 0 if one is None else one.size for name, one in features.items()}
        classes = {name: len(points) for name, points in self._class_points().items()}
        self.joint = MixtureBaseline(sizes, classes, linked(factors, sizes), mixed=mixed)
        self.fields = nn.ModuleDict()
        self._in_field: dict[str, list[str]] = {}
        ports = {name: port_name(shape) for name, shape in code_shapes.items()}
        for port in dict.fromkeys(ports.values()):
            names = [name for name, own in ports.items() if own == port and port is not None and self._has_field(name)]
            if names:
                assert port is not None
                self._in_field[port] = names
                grid = tuple(code_shapes[names[0]][1:])
                if all(name in bands for name in names):
                    self.fields[port] = BandedField([bands[name] for name in names], grid)
                else:
                    self.fields[port] = ResidualField([code_shapes[name][0] for name in names], grid)

    def features_of(self, name: str) -> AbstractFeatures | None:
        """Return the features of one variable, or None."""
        if module_name(name) not in self.features:
            return None
        features = self.features[module_name(name)]
        assert isinstance(features, AbstractFeatures)
        return features

    def _class_points(self) -> dict[str, Float[Tensor, "c k"]]:
        """Return the features of each class, by category."""
        present = {name: one for name in self._kernels if (one := self.features_of(name)) is not None}
        return {name: points for name, one in present.items() if (points := one.points()) is not None}

    def _has_field(self, name: str) -> bool:
        features = self.features_of(name)
        return features is not None and features.reconstruct(torch.zeros(1, features.size)) is not None

    def _reconstructed(self, name: str, features: Float[Tensor, "b k"]) -> AnyCode:
        """Return the reconstruction of an image's code from its features."""
        present = self.features_of(name)
        code = None if present is None else present.reconstruct(features)
        assert code is not None
        return code

    def fit(
        self,
        codes: Mapping[str, AnyCode | Rows],
        present: Mapping[str, Bool[Tensor, "n"]],
        subjects: Int64[Tensor, "n"] | None = None,
        uncertainty: Mapping[str, Float[Tensor, "_"]] | None = None,
    ) -> None:
        """Fit features, their joint distribution and residual fields to the training rows.

        Memory is that of a block of codes, of the features of all rows, and of the fitted buffers.

        Args:
            codes: of every variable; read in blocks.
            present: rows that have the variable.
            subjects: number of each row's subject, from 0; by default one row per subject.
            uncertainty: by image, the posterior variance of its codec in each channel; by default 0.
        """
        rows = {name: code if isinstance(code, Rows) else Rows(code) for name, code in codes.items()}
        count = len(next(iter(present.values())))
        fold = (torch.arange(count) if subjects is None else subjects) % FOLDS
        folds = range(FOLDS) if count <= MOST_ROWS else ()  # with more rows nothing is shrunk
        fits: dict[str, AbstractFieldFit] = {port: self._field(port).begin_fit() for port in self._in_field}
        unseen = []
        for k in folds:
            unseen.append(self._fit_features(rows, present, fold, left_out=k))
            self._add_residuals(fits, rows, unseen[-1], present, fold == k)
        features = self._fit_features(rows, present, fold)
        if not folds:
            self._add_residuals(fits, rows, features, present, fold >= 0)
        self.joint.fit(features, present, unseen, fold, points=self._class_points())
        for port, names in self._in_field.items():
            certain = {name: torch.zeros(self._code_shapes[name][0]) for name in names}
            variances = {**certain, **(uncertainty or {})}
            fits[port].finish(torch.cat([variances[name] for name in names]))

    def _add_residuals(
        self,
        fits: Mapping[str, AbstractFieldFit],
        codes: Mapping[str, Rows],
        features: Mapping[str, Tensor],
        present: Mapping[str, Bool[Tensor, "n"]],
        chosen: Bool[Tensor, "n"],
    ) -> None:
        """Add the residuals of images in these rows, codes less reconstructions, to the fits of their fields."""
        for port, names in self._in_field.items():
            for positions in codes[names[0]].positions():
                # Fourier transforms take several times the memory of a block
                for kept in positions[chosen[positions]].split(-(-len(positions) // FOLDS)):
                    fitted = [self._reconstructed(name, features[name][kept]) for name in names]
                    residuals = [codes[name].read(kept) - part for name, part in zip(names, fitted, strict=True)]
                    fits[port].add(residuals, [present[name][kept] for name in names])

    def _fit_features(
        self,
        codes: Mapping[str, Rows],
        present: Mapping[str, Bool[Tensor, "n"]],
        fold: Int64[Tensor, "n"],
        left_out: int | None = None,
    ) -> dict[str, Tensor]:
        """Return the features of all rows, fitted to all folds but ``left_out``."""
        found = {}
        for name in self._kernels:
            rows, features = codes[name], self.features_of(name)
            if features is None:
                found[name] = torch.zeros(len(rows), 0)
                continue
            fitted = present[name] if left_out is None else present[name] & (fold != left_out)
            features.fit_rows(rows.select(fitted), fold[fitted])
            found[name] = torch.cat([features.features_of(rows.read(part)) for part in rows.positions()])
        return found

    def forward(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> BaselineOutputs:
        """Return the expected features of every variable given all states, and the baseline's outputs.

        Args:
            states: noisy code of each variable.
            times: of its rows or cells.
            observed: mask of the cells given clean.
        """
        expected = self.joint(self._bank.likelihoods(states, times, observed))
        outputs = self._bank.baselines(states, times, expected)
        return BaselineOutputs(expected, {**outputs, **self._with_residuals(states, times, expected)})

    def _field(self, port: str) -> ResidualField | BandedField:
        field = self.fields[port]
        assert isinstance(field, ResidualField | BandedField)
        return field

    def _with_residuals(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], expected: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return outputs of images: the reconstruction from expected features plus the expected residual field."""
        found: dict[str, Tensor] = {}
        for port, names in self._in_field.items():
            images = [
                Noisy(
                    states[name],
                    self._reconstructed(name, expected[name]),
                    *self._kernels[name].scales(along(times[name], states[name])),
                )
                for name in names
            ]
            for name, estimate in zip(names, self._field(port)(images), strict=True):
                outputs = self._kernels[name].to_prediction(estimate.x0_hat, estimate.noise_hat, times[name])
                assert outputs is not None
                found[name] = outputs
        return found
