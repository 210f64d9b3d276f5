"""The joint model: one network that predicts every variable from all of them, each at its own time."""

from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from metavoxel.network.adapter_bank import AdapterBank
from metavoxel.network.baseline.gaussian import FOLDS, MOST_ROWS
from metavoxel.network.baseline.mixture import MixtureBaseline
from metavoxel.network.residual_field import Noisy, ResidualField
from metavoxel.parts.adapters.base import AbstractAdapter, AdapterContext, Features, Streams
from metavoxel.parts.adapters.embedding import TIME_FEATURES, row_time, time_features
from metavoxel.parts.backbones.base import AbstractBackbone, AbstractBackboneSpec
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.plugins.registry import attribute_errors
from metavoxel.schema.schema import Variable
from metavoxel.typing import AnyCode, AnyMask, AnyTime


def port_name(code_shape: tuple[int, ...]) -> str | None:
    """The grid port of a code: codes on one grid share it. None for a scalar."""
    return "grid_" + "x".join(map(str, code_shape[1:])) if len(code_shape) > 1 else None


_RESERVED = frozenset(dir(nn.ModuleDict()))


def module_name(variable: str) -> str:
    """Under which name a variable's module is kept: its own, unless ``ModuleDict`` has an attribute of that name."""
    return f"{variable}-" if variable in _RESERVED else variable


class JointModel(nn.Module):
    """f_theta(z_t, t) of the paper (MetaVoxel 3.1): all noisy codes in, a prediction for each out. Final.

    Every use of the network enters through ``forward``, so that wrappers for many devices see it.
    """

    _forgotten: Collection[str] = ()
    """Variables of which nothing is left at t = 1."""

    def __init__(
        self,
        variables: Mapping[str, Variable],
        code_shapes: Mapping[str, tuple[int, ...]],
        backbone: AbstractBackboneSpec,
        *,
        shared_time: bool,
        factors: Sequence[Collection[str]] = (),
    ) -> None:
        super().__init__()
        self.kernels: dict[str, AbstractKernel] = {name: variable.parts.kernel for name, variable in variables.items()}
        self.code_shapes = dict(code_shapes)
        ports = {name: port_name(shape) for name, shape in code_shapes.items()}
        grids = {port: tuple(code_shapes[name][1:]) for name, port in ports.items() if port is not None}
        with attribute_errors(backbone, "backbone"):
            self.backbone: AbstractBackbone = backbone.build(grids)
        self.adapters = nn.ModuleDict()
        self.contexts: dict[str, AdapterContext] = {}
        self.common = nn.ModuleList()
        kinds: dict[str, str] = {}
        common: dict[str, nn.Module | None] = {}
        for name, variable in variables.items():
            shape = code_shapes[name]
            channels = self.kernels[name].prediction_channels(shape[0])
            context = AdapterContext(
                self.kernels[name], shape, channels, ports[name], self.backbone.ports, variables=len(variables)
            )
            kind = kinds[name] = repr((variable.parts.adapter, self.kernels[name], shape))
            with attribute_errors(variable.parts.adapter, f"variables.{name}.adapter"):
                if kind not in common:
                    common[kind] = variable.parts.adapter.common(context)
                self.contexts[name] = context._replace(common=common[kind])
                adapter = variable.parts.adapter.build(self.contexts[name])
                if any(module is common[kind] for module in adapter.modules()):
                    raise TypeError("registers context.common as its own; keep it in a tuple, for it is the model's")
            self.adapters[module_name(name)] = adapter
        self.common.extend(module for module in common.values() if module is not None)
        self._everyone = AdapterBank({name: self.adapter(name) for name in variables}, kinds)
        tokens = {name: self.adapter(name).tokens for name in variables}
        features = {name: self.adapter(name).features for name in variables}
        self.register_buffer("links", self._linked(factors, tokens), persistent=False)
        self.links: Tensor | None
        points = {name: self.adapter(name).points() for name in variables}
        self.baseline = MixtureBaseline(
            features,
            {name: 0 if found is None else len(found) for name, found in points.items()},
            self._linked(factors, features),
            mixed=not grids and not shared_time,
        )
        self.fields = nn.ModuleDict()
        self._in_field: dict[str, list[str]] = {}
        for port, grid in grids.items():
            names = [name for name, own in ports.items() if own == port and self._leaves_field(name)]
            if names:
                self._in_field[port] = names
                self.fields[port] = ResidualField([code_shapes[name][0] for name in names], grid)
        width = self.backbone.ports.level_width
        self._shared_time = shared_time
        end = torch.ones((), dtype=torch.float64)
        # One shared time is 1 in no training row.
        forgotten = [name for name, kernel in self.kernels.items() if torch.isneginf(kernel.log_snr(end))]
        self._forgotten = () if shared_time else tuple(forgotten)
        clocks = 1 if shared_time else len(self.kernels)
        self.time_in = nn.Linear(TIME_FEATURES, width)
        self.time_tags = nn.Parameter(torch.randn(clocks, width) * 0.5)
        self.time_out = nn.Linear(width, width)

    @staticmethod
    def _linked(factors: Sequence[Collection[str]], sizes: Mapping[str, int]) -> Bool[Tensor, "n n"] | None:
        """Which of so many entries a variable are of variables that share a factor: its own among them."""
        if not factors:
            return None
        owners = [name for name, size in sizes.items() for _ in range(size)]
        shared = {(one, other) for factor in factors for one in factor for other in factor}
        pairs = [one == other or (one, other) in shared for one in owners for other in owners]
        return torch.tensor(pairs, dtype=torch.bool).reshape(len(owners), len(owners))

    def adapter(self, name: str) -> AbstractAdapter:
        """The two ends of one variable."""
        adapter = self.adapters[module_name(name)]
        assert isinstance(adapter, AbstractAdapter)
        return adapter

    def _leaves_field(self, name: str) -> bool:
        adapter = self.adapter(name)
        return adapter.explained(torch.zeros(1, adapter.features)) is not None

    def fit(
        self,
        codes: Mapping[str, AnyCode],
        present: Mapping[str, Bool[Tensor, "n"]],
        people: Int64[Tensor, "n"] | None = None,
        uncertainty: Mapping[str, Float[Tensor, "_"]] | None = None,
    ) -> None:
        """Take what is known in closed form of the training rows' codes: adapters' statistics, the joint normal law.

        Args:
            codes: of every variable.
            present: rows that have it.
            people: number of the person whose row it is, from 0; by default every row is of somebody else.
            uncertainty: by image, each channel's variance of draws of its codec about such a code; by default none.
        """
        rows = len(next(iter(present.values())))
        fold = (torch.arange(rows) if people is None else people) % FOLDS
        folds = range(FOLDS) if rows <= MOST_ROWS else ()  # more rows shrink nothing, and need no judge
        unseen, left = [], []
        for k in folds:
            unseen.append(self._described(codes, present, fold, left_out=k))
            left.append(self._left_over(codes, unseen[-1], present, fold == k))
        features = self._described(codes, present, fold)
        if not folds:
            left = [self._left_over(codes, features, present, fold == k) for k in range(FOLDS)]
        points = {name: found for name in self.kernels if (found := self.adapter(name).points()) is not None}
        self.baseline.fit(features, present, unseen, fold, points=points)
        for port, names in self._in_field.items():
            certain = {name: torch.zeros(self.code_shapes[name][0]) for name in names}
            drawn = {**certain, **(uncertainty or {})}
            self._field(port).fit(
                (([part[name] for name in names], [here[name] for name in names]) for part, here in left),
                torch.cat([drawn[name] for name in names]),
            )

    def _left_over(
        self,
        codes: Mapping[str, AnyCode],
        features: Mapping[str, Tensor],
        present: Mapping[str, Bool[Tensor, "n"]],
        rows: Bool[Tensor, "n"],
    ) -> tuple[dict[str, AnyCode], dict[str, Bool[Tensor, "_"]]]:
        """What features leave unexplained of these rows' codes, and which rows have them."""
        found = {}
        for name in (name for names in self._in_field.values() for name in names):
            explained = self.adapter(name).explained(features[name][rows])
            assert explained is not None
            found[name] = codes[name][rows] - explained
        return found, {name: present[name][rows] for name in found}

    def _described(
        self,
        codes: Mapping[str, AnyCode],
        present: Mapping[str, Bool[Tensor, "n"]],
        fold: Int64[Tensor, "n"],
        left_out: int | None = None,
    ) -> dict[str, Tensor]:
        """Features of all rows, after adapters have seen those in all folds but one."""
        features = {}
        for name in self.kernels:
            code, adapter = codes[name], self.adapter(name)
            batches = [code[present[name] & (fold == k)] for k in range(FOLDS) if k != left_out]
            adapter.fit(lambda batches=batches: batches)  # type: ignore[misc]
            features[name] = adapter.describe(code)
        return features

    @property
    def names_without_grids(self) -> list[str]:
        """Variables that can be predicted without any work on grids."""
        return [name for name in self.kernels if not self.adapter(name).needs_grids]

    def _level(self, times: Mapping[str, AnyTime]) -> Tensor:
        """Tagged sum of the variables' time embeddings; one embedding where all share one time."""
        names = list(self.kernels)[:1] if self._shared_time else list(self.kernels)
        clocks = torch.stack([row_time(times[name]) for name in names], 1).to(self.time_tags.device)
        hidden = nn.functional.silu(self.time_in(time_features(clocks)) + self.time_tags)
        level: Tensor = self.time_out(hidden.sum(1) / len(names) ** 0.5)
        return level

    def forward(
        self,
        states: Mapping[str, AnyCode],
        times: Mapping[str, AnyTime],
        observed: Mapping[str, AnyMask],
        *,
        grid_rows: int | None = None,
    ) -> dict[str, Tensor]:
        """Predictions of every variable, as its kernel asked for them.

        Args:
            states: noisy code of each variable; clean where observed, a prior draw where absent.
            times: for each variable, its time: (b,), or (b, 1, *s) where cells differ.
            observed: for each variable, which cells are given clean: (b, 1), or (b, 1, *s) for a grid.
            grid_rows: rows after the first so many leave out all work on grids, by far the dearest: of those rows only
                ``names_without_grids`` are predicted; predictions of other variables have no more than so many rows.
        """
        if grid_rows is None:
            return self._predictions(states, times, observed)

        def part(rows: slice) -> tuple[dict[str, Tensor], ...]:
            return tuple({name: entry[rows] for name, entry in all_.items()} for all_ in (states, times, observed))

        predictions = self._predictions(*part(slice(grid_rows)))
        for name, prediction in self._predictions(*part(slice(grid_rows, None)), grids=False).items():
            predictions[name] = torch.cat([predictions[name], prediction])
        return predictions

    def _predictions(
        self,
        states: Mapping[str, AnyCode],
        times: Mapping[str, AnyTime],
        observed: Mapping[str, AnyMask],
        *,
        grids: bool = True,
    ) -> dict[str, Tensor]:
        """Of all variables; without any work on grids, of those that need none."""
        states = self._without_noise(states, times)
        beliefs = self._beliefs(states, times, observed)
        inlets = self._everyone.each(
            lambda adapter: adapter.embed if grids else adapter.embed_without_grids, lambda stack: stack.embed,
            self.kernels, states, times, observed, beliefs,
        )  # fmt: skip
        inlets |= self._with_fields(inlets, states, times, beliefs)
        return self._heads(inlets, self._level(times), list(self.kernels) if grids else self.names_without_grids)

    @property
    def forgets(self) -> bool:
        """Whether no prediction depends on what states at t = 1 are: one evaluation then says what several would."""
        return set(self.kernels) == set(self._forgotten)

    def _without_noise(self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime]) -> dict[str, AnyCode]:
        """States with 0 in the place of cells of which nothing is left, so that no answer depends on what they are."""
        return {
            name: torch.where(along(times[name], state) >= 1, 0.0, state) if name in self._forgotten else state
            for name, state in states.items()
        }

    def _field(self, port: str) -> ResidualField:
        field = self.fields[port]
        assert isinstance(field, ResidualField)
        return field

    def _with_fields(
        self,
        inlets: Mapping[str, Streams],
        states: Mapping[str, AnyCode],
        times: Mapping[str, AnyTime],
        beliefs: Mapping[str, Tensor],
    ) -> dict[str, Streams]:
        """Streams of images, past the backbone what is expected of them: their components, and a field beside them."""
        found = {}
        for port, names in self._in_field.items():
            images = []
            for name in names:
                explained = self.adapter(name).explained(beliefs[name])
                assert explained is not None
                images.append(
                    Noisy(states[name], explained, *self.kernels[name].scales(along(times[name], states[name])))
                )
            for name, said in zip(names, self._field(port)(images), strict=True):
                skip = self.kernels[name].to_prediction(said.x0_hat, said.noise_hat, times[name])
                assert skip is not None
                found[name] = self.adapter(name).begun(inlets[name], skip)
        return found

    def _beliefs(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, Tensor]:
        """What the joint normal law expects of every variable's features."""
        said = self._everyone.each(
            lambda adapter: adapter.measure, lambda stack: stack.measure, self.kernels, states, times, observed
        )
        return self.baseline(said)

    def _heads(self, inlets: Mapping[str, Streams], level: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The backbone between what enters and what these variables' heads give.

        Where validation gave the network no weight, its work is left out.
        """
        adapters = {name: self.adapter(name) for name in names}
        unused = [inlets[name].skip is not None and not adapter.network_weight for name, adapter in adapters.items()]
        if not self.training and all(unused):
            return {
                name: adapter.head(Features({}, {}, None, inlets[name].skip)).float()
                for name, adapter in adapters.items()
            }
        grids: dict[str, Tensor] = {}
        for streams in inlets.values():
            for port, grid in streams.grids.items():
                grids[port] = grids[port] + grid if port in grids else grid
        tokens = [streams.tokens for streams in inlets.values() if streams.tokens is not None]
        context = [streams.context for streams in inlets.values() if streams.context is not None]
        joined = Streams(
            grids,
            torch.cat(tokens, 1) if tokens else None,
            torch.cat(context, 1) if context else None,
            links=self.links,
        )
        features = self.backbone(joined, level)
        seen, start = {}, 0
        for name, streams in inlets.items():
            own = None
            if features.tokens is not None and streams.tokens is not None:
                own = features.tokens[:, start : start + self.adapter(name).tokens]
                start += self.adapter(name).tokens
            seen[name] = features._replace(tokens=own, skip=streams.skip)
        predictions = self._everyone.each(lambda adapter: adapter.head, lambda stack: stack.head, names, seen)
        return {name: prediction.float() for name, prediction in predictions.items()}

    def denoise(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, AnyCode]:
        """E[x_0 | all states] of every variable: class probabilities for a category."""
        predictions = self(states, times, observed)
        return {
            name: kernel.denoise(predictions[name], states[name], times[name]) for name, kernel in self.kernels.items()
        }
