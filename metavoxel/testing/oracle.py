"""Joints whose conditionals are known: a mixture of normals over scalars, with categories that go with the component.

Given its component, every category is independent of the rest, so that all dependence runs through the components and
the covariances: rich enough to be non-normal, multimodal and unequally spread, and exact for every subset of variables.
All in float64. A scalar's code is the scalar itself, a category's its one-hot code.
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
"""Values of each variable, one a row: scalars in float64, categories as indices."""
Codes: TypeAlias = Mapping[str, Float[Tensor, "_ _"]]
Times: TypeAlias = Mapping[str, Float[Tensor, "..."]]
Denoiser: TypeAlias = Callable[[Codes, Times], dict[str, Any]]


class MixtureOracle:
    """An analytic joint of scalars and categories. Final.

    Attributes:
        scalars: names of the scalars, in the order of ``means``.
        categories: names of the categories, each with its number of classes.
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
        """A joint of ``m`` components.

        Args:
            weights: probability of each component; scaled to sum to 1.
            scalars: names of the ``d`` scalars.
            means: of the scalars in each component.
            covariances: of the scalars in each component, positive definite.
            categories: name to the probabilities of its classes in each component; scaled to sum to 1.
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
        """Six variables: four scalars in three components, of about unit spread, a binary and a five-class category."""
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
        """All variables, scalars first."""
        return (*self.scalars, *self.categories)

    def subsets(self) -> Iterator[tuple[str, ...]]:
        """Every set of variables that leaves something to predict and something to predict it from, small first."""
        for size in range(1, len(self.names)):
            yield from combinations(self.names, size)

    def sample(self, rng: Rng) -> dict[str, Shaped[Tensor, "_"]]:
        """An exact draw of all variables for every stream of ``rng``."""
        return self.given({}, rows=len(rng)).sample(rng)

    def log_density(self, values: Rows) -> Float[Tensor, "b"]:
        """Exact log-density of the rows' values of some variables, or of all, the others marginalised."""
        return self.given({}, rows=len(next(iter(values.values())))).log_prob(values)

    def given(
        self, evidence: Rows, *, sds: Mapping[str, float] | None = None, rows: int | None = None
    ) -> MixturePosterior:
        """The exact joint of all variables given those in the evidence.

        Args:
            evidence: known values, one a row.
            sds: spread of the error of known scalars that are known only so well; 0 for those not named.
            rows: how many rows, when the evidence is empty.

        Raises:
            KeyError: evidence of a variable that is not there.
        """
        unknown = set(evidence) - set(self.names)
        if unknown:
            raise KeyError(f"no variable {', '.join(sorted(unknown))}; there is {', '.join(self.names)}")
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
        """Values as codes: scalars (b, 1), categories one-hot (b, classes)."""
        return {
            name: torch.eye(self.categories[name], dtype=torch.float64)[value.long()]
            if name in self.categories
            else value.double()[:, None]
            for name, value in values.items()
        }

    def denoiser(self, kernels: Mapping[str, AbstractKernel]) -> Denoiser:
        """What a perfect network knows: E[x_0 | all states], every variable at a time of its own.

        Noising a mixture of normals leaves it one, and a category's state bears on its class through q(x_t | x_0), so
        the answer is exact. Scalars have to have a ``GaussianKernel`` (any prediction) and categories a
        ``UniformD3PMKernel``.

        Args:
            kernels: of every variable.

        Returns:
            A function of the variables' codes, and of their times (b,) or (b, 1), to codes: posterior means, and class
            probabilities, in the precision of the codes.

        Raises:
            ValueError: a kernel that does not suit; all at once.
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
            answers = means | {name: posterior.probabilities(name) for name in self.categories}
            return {name: answer.to(states[name]) for name, answer in answers.items()}

        return denoise

    def given_states(self, states: Codes, log_snrs: Times) -> MixturePosterior:
        """The exact joint of the data given noised codes and their log(alpha_bar / (1 - alpha_bar)), (b,) or (b, 1)."""
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
        """Given signal x + noise e = state for scalars, and a likelihood of every class for some categories."""
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
