"""Joint distributions with exact conditionals: Gaussian mixtures over scalars and categories.

Categories are conditionally independent given the component. The joint is non-Gaussian, multimodal and
heteroscedastic, and its conditionals are exact for every subset of variables. All computations use float64. The code of
a scalar is the scalar itself, that of a category is one-hot.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.testing.posterior import MixturePosterior

Rows: TypeAlias = Mapping[str, Shaped[Tensor, "_"]]
"""Values of each variable, one per row: scalars in float64, categories as indices."""
Codes: TypeAlias = Mapping[str, Float[Tensor, "_ _"]]
Times: TypeAlias = Mapping[str, Float[Tensor, "..."]]
Denoiser: TypeAlias = Callable[[Codes, Times], dict[str, Any]]


class MixtureOracle:
    """Analytic joint distribution of scalars and categories. Final.

    Attributes:
        scalars: names of the scalars, in the order of ``means``.
        categories: number of classes of each category, by name.
    """

    def __init__(
        self,
        *,
        weights: Sequence[float] | Float[Tensor, "m"],
        scalars: Sequence[str],
        means: Float[Tensor, "m d"],
        covariances: Float[Tensor, "m d d"],
        categories: Mapping[str, Float[Tensor, "m _"]],
    ) -> None:
        """Define a joint distribution with ``m`` components.

        Args:
            weights: probability of each component; normalised to sum to 1.
            scalars: names of the ``d`` scalars.
            means: mean of the scalars in each component.
            covariances: covariance of the scalars in each component, positive definite.
            categories: class probabilities in each component, by name; normalised to sum to 1.
        """
        self.scalars = tuple(scalars)
        self.categories = {name: table.shape[1] for name, table in categories.items()}
        weight = torch.as_tensor(weights, dtype=torch.float64)
        self._weights = weight / weight.sum()
        self._means, self._covariances = means.double(), covariances.double()
        self._tables = {
            name: table.double() / table.double().sum(1, keepdim=True) for name, table in categories.items()
        }

    @classmethod
    def default(cls) -> "MixtureOracle":
        """Return a three-component joint of four scalars (about unit variance), a binary and a five-class category."""
        means = torch.tensor([[-1.1, 0.6, -0.2, 0.9], [0.9, 0.4, 1.1, -0.6], [0.3, -1.3, -0.8, -0.4]])
        loadings = torch.tensor(
            [
                [[0.6, 0.0, 0.0, 0.0], [0.4, 0.4, 0.0, 0.0], [-0.3, 0.2, 0.4, 0.0], [0.1, -0.3, 0.3, 0.3]],
                [[0.5, 0.0, 0.0, 0.0], [-0.4, 0.5, 0.0, 0.0], [0.2, 0.3, 0.3, 0.0], [0.3, 0.0, -0.3, 0.4]],
                [[0.7, 0.0, 0.0, 0.0], [0.2, 0.3, 0.0, 0.0], [0.5, -0.2, 0.3, 0.0], [-0.4, 0.2, 0.2, 0.3]],
            ]
        )
        return cls(
            weights=(0.4, 0.35, 0.25),
            scalars=("s1", "s2", "s3", "s4"),
            means=means,
            covariances=loadings @ loadings.mT,
            categories={
                "binary": torch.tensor([[0.9, 0.1], [0.35, 0.65], [0.15, 0.85]]),
                "five": torch.tensor(
                    [[0.6, 0.2, 0.1, 0.05, 0.05], [0.05, 0.1, 0.15, 0.4, 0.3], [0.1, 0.45, 0.35, 0.05, 0.05]]
                ),
            },
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables, scalars first."""
        return (*self.scalars, *self.categories)

    def subsets(self) -> Iterator[tuple[str, ...]]:
        """Yield every proper, non-empty subset of the variables, by increasing size."""
        for size in range(1, len(self.names)):
            yield from combinations(self.names, size)

    def sample(self, rng: Rng) -> dict[str, Shaped[Tensor, "_"]]:
        """Draw all variables, once per stream of ``rng``."""
        return self.given({}, rows=len(rng)).sample(rng)

    def log_density(self, values: Rows) -> Float[Tensor, "b"]:
        """Return the exact log-density of the given variables, one value per row, marginalising the others."""
        return self.given({}, rows=len(next(iter(values.values())))).log_prob(values)

    def given(
        self, evidence: Rows, *, sds: Mapping[str, float] | None = None, rows: int | None = None
    ) -> MixturePosterior:
        """Return the exact posterior of all variables given evidence.

        Args:
            evidence: known values, one per row.
            sds: standard deviation of the measurement error of known scalars; 0 where omitted.
            rows: number of rows when ``evidence`` is empty.

        Raises:
            KeyError: evidence for an unknown variable.
        """
        unknown = set(evidence) - set(self.names)
        if unknown:
            raise KeyError(f"no variable {', '.join(sorted(unknown))}; the variables are {', '.join(self.names)}")
        count = len(next(iter(evidence.values()))) if evidence else (1 if rows is None else rows)
        state = torch.zeros(count, len(self.scalars), dtype=torch.float64)
        signal, noise = torch.zeros_like(state), torch.ones_like(state)
        for index, name in enumerate(self.scalars):
            if name in evidence:
                state[:, index] = evidence[name]
                signal[:, index], noise[:, index] = 1.0, (sds or {}).get(name, 0.0)
        likelihoods = {
            name: torch.eye(classes, dtype=torch.float64)[evidence[name].long()]
            for name, classes in self.categories.items()
            if name in evidence
        }
        return self._posterior(state, signal, noise, likelihoods)

    def codes(self, values: Rows) -> dict[str, Float[Tensor, "_ _"]]:
        """Return values as codes: scalars (b, 1), categories one-hot (b, classes)."""
        return {
            name: torch.eye(self.categories[name], dtype=torch.float64)[value.long()]
            if name in self.categories
            else value.double()[:, None]
            for name, value in values.items()
        }

    def denoiser(self, kernels: Mapping[str, AbstractKernel]) -> Denoiser:
        """Return the ideal denoiser E[x_0 | all states], with a separate time per variable.

        It is exact: a noised Gaussian mixture is a Gaussian mixture, and a category's state has the likelihood
        q(x_t | x_0). Scalars require a ``GaussianKernel`` (any prediction), categories a ``UniformD3PMKernel``.

        Args:
            kernels: kernel of every variable.

        Returns:
            A function from states and times, (b,) or (b, 1), of all variables to posterior means of scalars and class
            probabilities of categories, in the dtype of the states.

        Raises:
            ValueError: unsuitable kernels, all listed in one message.
        """
        expected = {**dict.fromkeys(self.scalars, "gaussian"), **dict.fromkeys(self.categories, "d3pm_uniform")}
        wrong = [
            f"{name!r} needs a kernel of type {kind!r}, not {kernels[name].type if name in kernels else None!r}"
            for name, kind in expected.items()
            if name not in kernels or kernels[name].type != kind
        ]
        if wrong:
            raise ValueError("; ".join(wrong))

        def denoise(states: Codes, times: Times) -> dict[str, Any]:
            posterior = self.given_states(states, {name: kernels[name].log_snr(times[name]) for name in self.names})
            means = {name: posterior.mean(name)[:, None] for name in self.scalars}
            x0_hat = means | {name: posterior.probabilities(name) for name in self.categories}
            return {name: estimate.to(states[name]) for name, estimate in x0_hat.items()}

        return denoise

    def given_states(self, states: Codes, log_snrs: Times) -> MixturePosterior:
        """Return the exact posterior of x_0 given states and their log(alpha_bar / (1 - alpha_bar)), (b,) or (b, 1)."""
        alpha_bar = {name: torch.sigmoid(log_snrs[name].double().reshape(-1)) for name in self.names}
        rest = {name: torch.sigmoid(-log_snrs[name].double().reshape(-1)) for name in self.names}
        state = torch.cat([states[name].double() for name in self.scalars], 1)
        signal = torch.stack([alpha_bar[name].sqrt() for name in self.scalars], 1)
        noise = torch.stack([rest[name].sqrt() for name in self.scalars], 1)
        likelihoods = {
            name: alpha_bar[name][:, None] * states[name].double() + rest[name][:, None] / classes
            for name, classes in self.categories.items()
        }
        return self._posterior(state, signal, noise, likelihoods)

    def _posterior(
        self,
        state: Float[Tensor, "b d"],
        signal: Float[Tensor, "b d"],
        noise: Float[Tensor, "b d"],
        likelihoods: Mapping[str, Float[Tensor, "_ _"]],
    ) -> MixturePosterior:
        """Condition on signal x + noise e = state for scalars, and on class likelihoods for some categories."""
        gain = signal[:, None, :, None] * self._covariances  # cov(state, x) of each component: (b, m, d, d)
        total = gain * signal[:, None, None, :] + torch.diag_embed(noise.square())[:, None]
        root = torch.linalg.cholesky(total)
        error = state[:, None] - signal[:, None] * self._means
        white = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
        log_weights = self._weights.log() - 0.5 * white.square().sum(-1) - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        tables = {}
        for name, table in self._tables.items():
            joint = (
                table[None] * likelihoods[name][:, None] if name in likelihoods else table.expand(len(state), -1, -1)
            )
            evidence = joint.sum(-1, keepdim=True)
            tables[name] = torch.where(evidence > 0, joint / evidence, table)
            log_weights = log_weights + evidence[..., 0].log()
        weighted = torch.cholesky_solve(gain, root)  # total^-1 cov(state, x)
        return MixturePosterior(
            scalars=self.scalars,
            log_weights=torch.log_softmax(log_weights, 1),
            means=self._means + (weighted.mT @ error[..., None])[..., 0],
            covariances=self._covariances - gain.mT @ weighted,
            tables=tables,
        )
