"""The joint network: predictions of every variable from all of them, each at its own time.

With s_v the Gaussian baseline's outputs for variable v (in closed form: from the posterior mean of its features given
all noisy codes and, of an image, its residual field), n_v those of the network, and w_v the network weight in [0, 1],

    prediction_v = link_v(s_v + w_v n_v(x_t, t, E[f | x_t], s)).                                                 (1)

w_v is 1 in training steps; every validation chooses it on the validation rows. Without a baseline,
prediction_v = link_v(n_v).
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metavoxel.network.adapter_bank import AdapterBank
from metavoxel.network.baseline.baseline import Baseline, linked, module_name
from metavoxel.parts.adapters.base import AbstractAdapter, AdapterContext, AdapterInputs, Streams
from metavoxel.parts.adapters.embedding import TIME_FEATURES, row_time, time_features
from metavoxel.parts.backbones.base import AbstractBackbone, AbstractBackboneSpec
from metavoxel.parts.features.base import AbstractFeatures
from metavoxel.parts.indices import NO_CLASS, is_indices, one_hot
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.plugins.registry import attribute_errors
from metavoxel.sampling.held import AbstractCorrectedDenoiser
from metavoxel.sampling.selected import DenoiserOfSome
from metavoxel.schema.schema import Variable
from metavoxel.typing import AnyCode, AnyMask, AnyTime


class JointModel(nn.Module, AbstractCorrectedDenoiser):
    """f_theta(z_t, t) of the paper (MetaVoxel 3.1): from all noisy codes to a prediction for each. Final.

    All calls of the network go through ``forward``, so that wrappers for many devices intercept them.
    """

    _without_signal: Collection[str] = ()
    """Variables whose states have no signal at t = 1."""

    def __init__(
        self,
        variables: Mapping[str, Variable],
        code_shapes: Mapping[str, tuple[int, ...]],
        backbone: AbstractBackboneSpec,
        *,
        shared_time: bool,
        factors: Sequence[Collection[str]] = (),
        bands: Mapping[str, Sequence[int]] = {},
    ) -> None:
        super().__init__()
        self.kernels: dict[str, AbstractKernel] = {
            name: kernel.with_indices(code_shapes[name][0]) if codec.indexed else kernel
            for name, (_, (codec, kernel, _)) in variables.items()
        }
        self.code_shapes = dict(code_shapes)
        ports = {variables[name].parts.adapter.port(shape): tuple(shape[1:]) for name, shape in code_shapes.items()}
        grids = {port: grid for port, grid in ports.items() if port is not None}
        with attribute_errors(backbone, "backbone"):
            self.backbone: AbstractBackbone = backbone.build(grids)
        self.adapters = nn.ModuleDict()
        features: dict[str, AbstractFeatures | None] = {}
        self.contexts: dict[str, AdapterContext] = {}
        self.common = nn.ModuleList()
        kinds: dict[str, str] = {}
        common: dict[str, nn.Module | None] = {}
        for name, variable in variables.items():
            kernel, shape, spec = self.kernels[name], code_shapes[name], variable.parts.adapter
            kind = kinds[name] = repr((spec, kernel, shape))
            with attribute_errors(spec, f"variables.{name}.adapter"):
                context = spec.context(kernel, shape, self.backbone.ports, variables=len(variables))
                own = features[name] = context.features
                if kind not in common:
                    common[kind] = spec.common(context)
                self.contexts[name] = context._replace(common=common[kind])
                adapter = spec.build(self.contexts[name])
                if any(module is common[kind] or module is own for module in adapter.modules()):
                    raise TypeError(
                        "registers a module of its context as its own; keep it in a tuple, as the model registers it"
                    )
            self.adapters[module_name(name)] = adapter
        self.common.extend(module for module in common.values() if module is not None)
        self._bank = AdapterBank({name: self.adapter(name) for name in variables}, kinds)
        self.baseline = Baseline(
            features, self.kernels, code_shapes, kinds,
            factors=factors, mixed=not grids and not shared_time, bands=bands,
        )  # fmt: skip
        self.register_buffer("network_weights", torch.ones(len(variables)))
        self.network_weights: Tensor
        tokens = {name: self.adapter(name).tokens for name in variables}
        self.register_buffer("links", linked(factors, tokens), persistent=False)
        self.links: Tensor | None
        width = self.backbone.ports.time_width
        self._shared_time = shared_time
        # With one shared time, no training row is at t = 1
        with torch.device("cpu"):  # the model may be on the meta device
            end = torch.ones((), dtype=torch.float64)
            without = [name for name, kernel in self.kernels.items() if torch.isneginf(kernel.log_snr(end))]
        self._without_signal = () if shared_time else tuple(without)
        tags = 1 if shared_time else len(self.kernels)
        self.time_in = nn.Linear(TIME_FEATURES, width)
        self.time_tags = nn.Parameter(torch.randn(tags, width) * 0.5)
        self.time_out = nn.Linear(width, width)

    def adapter(self, name: str) -> AbstractAdapter:
        """Return the adapter of one variable."""
        adapter = self.adapters[module_name(name)]
        assert isinstance(adapter, AbstractAdapter)
        return adapter

    def network_weight(self, name: str) -> float:
        """Return the network weight of one variable, w_v of eq. (1)."""
        return float(self.network_weights[list(self.kernels).index(name)])

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.time_tags.device

    @property
    def has_grids(self) -> bool:
        """Whether any variable has a grid port of the backbone."""
        return any(context.port is not None for context in self.contexts.values())

    @property
    def tokens(self) -> int:
        """Number of inputs of a row: the tokens of all variables, at least one each."""
        return sum(max(self.adapter(name).tokens, 1) for name in self.kernels)

    @property
    def names_without_grids(self) -> list[str]:
        """Variables that can be predicted without grids."""
        return [name for name in self.kernels if not self.adapter(name).needs_grids]

    def _time_embedding(self, times: Mapping[str, AnyTime]) -> Tensor:
        """Return the sum of the variables' tagged time embeddings; one embedding if all share one time."""
        names = list(self.kernels)[:1] if self._shared_time else list(self.kernels)
        row_times = torch.stack([row_time(times[name]) for name in names], 1).to(self.time_tags.device)
        hidden = nn.functional.silu(self.time_in(time_features(row_times)) + self.time_tags)
        embedding: Tensor = self.time_out(hidden.sum(1) / len(names) ** 0.5)
        return embedding

    def forward(
        self,
        states: Mapping[str, AnyCode],
        times: Mapping[str, AnyTime],
        observed: Mapping[str, AnyMask],
        *,
        grid_rows: int | None = None,
        only: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Return the prediction of every variable, in its kernel's parametrisation.

        Args:
            states: noisy code of each variable; clean where observed; where absent, a draw of the prior, taken as zeros
                where the schedule leaves no signal.
            times: of each variable: (b,), or (b, 1, *s) where cells differ.
            observed: mask of the cells of each variable that are given clean: (b, 1), or (b, 1, *s) for a grid.
            grid_rows: number of rows with grids, which dominate the cost; all by default. In the rows after them, only
                ``names_without_grids`` are predicted; predictions of other variables have ``grid_rows`` rows.
            only: variables to predict; by default all. Not together with ``grid_rows``.
        """
        if grid_rows is None:
            return self._predictions(states, times, observed, only=only)

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
        only: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Return the predictions of all variables, or ``only`` some; without ``grids``, of those that need none."""
        states = self._without_noise(states, times)
        expected, baselines = self.baseline(states, times, observed)
        names = list(self.kernels) if grids else self.names_without_grids
        names = names if only is None else [name for name in names if name in only]
        weights = dict(zip(self.kernels, self.network_weights.unbind(), strict=True))
        outputs: dict[str, Tensor] = {}
        if self.training or not all(baselines[name] is not None and not weights[name] for name in names):
            inputs = {
                name: AdapterInputs(
                    self._input(name, states[name]), times[name], observed[name], expected[name], baselines[name]
                )
                for name in self.kernels
            }
            streams = self._bank.embed(inputs, grids=grids)
            outputs = self._network(streams, self._time_embedding(times), names)
        return {name: self._composed(name, baselines[name], outputs.get(name), weights[name]) for name in names}

    def _input(self, name: str, state: AnyCode) -> AnyCode:
        """Return a state in the form that the adapter takes: indices as one-hot where it takes no indices."""
        if not is_indices(state) or self.adapter(name).takes_indices:
            return state
        return one_hot(state[:, 0], self.code_shapes[name][0])

    def _composed(self, name: str, baseline: Tensor | None, network: Tensor | None, weight: Tensor) -> Tensor:
        """Return eq. (1), in single precision."""
        outputs = network if baseline is None else baseline if network is None else baseline + weight * network
        assert outputs is not None
        features = self.contexts[name].features
        return (outputs if features is None else features.link(outputs)).float()

    @property
    def mean_evaluations(self) -> int:
        """Network evaluations of a posterior mean: 1 if no prediction depends on the prior states, else 4."""
        return 1 if set(self.kernels) == set(self._without_signal) else 4

    def _without_noise(self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime]) -> dict[str, AnyCode]:
        """Replace cells at t = 1 without signal by 0, or no class, so that no prediction depends on their noise."""
        return {
            name: torch.where(along(times[name], state) >= 1, NO_CLASS if is_indices(state) else 0.0, state)
            if name in self._without_signal
            else state
            for name, state in states.items()
        }

    def _network(
        self, streams: Mapping[str, Streams], embedding: Float[Tensor, "b w"], names: Collection[str]
    ) -> dict[str, Tensor]:
        """Return the network's outputs for these variables: joined streams, backbone, heads."""
        grids: dict[str, Tensor] = {}
        for one in streams.values():
            for port, grid in one.grids.items():
                grids[port] = grids[port] + grid if port in grids else grid
        tokens = [one.tokens for one in streams.values() if one.tokens is not None]
        context = [one.context for one in streams.values() if one.context is not None]
        joined = Streams(
            grids,
            torch.cat(tokens, 1) if tokens else None,
            torch.cat(context, 1) if context else None,
            links=self.links,
        )
        outputs = self.backbone(joined, embedding)
        own, start = {}, 0
        for name, one in streams.items():
            part = None
            if outputs.tokens is not None and one.tokens is not None:
                part = outputs.tokens[:, start : start + self.adapter(name).tokens]
                start += self.adapter(name).tokens
            own[name] = outputs._replace(tokens=part)
        return self._bank.heads({name: own[name] for name in names})

    def denoise(
        self,
        states: Mapping[str, AnyCode],
        times: Mapping[str, AnyTime],
        observed: Mapping[str, AnyMask],
        *,
        only: Collection[str] | None = None,
    ) -> dict[str, AnyCode]:
        """Return E[x_0 | all states] of every variable, or ``only`` some: class probabilities for a category.

        The network is not evaluated if the network weights of all these variables are 0.
        """
        predictions = self(states, times, observed, only=only)
        return {
            name: self.kernels[name].denoise(prediction, states[name], times[name])
            for name, prediction in predictions.items()
        }

    @property
    def with_baseline(self) -> Collection[str]:
        """Variables that have features in the Gaussian baseline."""
        return [name for name, context in self.contexts.items() if context.features is not None]

    def denoise_baseline(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, AnyCode]:
        """Return the result of ``denoise`` without the network, for every variable with a baseline."""
        _, baselines = self.baseline(self._without_noise(states, times), times, observed)
        none = torch.zeros(())
        return {
            name: self.kernels[name].denoise(self._composed(name, outputs, None, none), states[name], times[name])
            for name, outputs in baselines.items()
            if outputs is not None
        }

    def of(self, names: Collection[str]) -> DenoiserOfSome:
        """Return the joint denoiser restricted to the estimates of some variables, which may cost less."""
        return DenoiserOfSome(self, partial(self.denoise, only=frozenset(names)))
