"""Abstract kernel: forward and reverse diffusion of one variable's code."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import torch
from jaxtyping import Float, Float64
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask, Target, Time


class Noised(NamedTuple):
    """State x_t of a code, and the network's prediction target."""

    state: Code
    target: Target


class AbstractTransition(ABC):
    """Distribution of the state at an earlier time s, given the state at t and an estimate of the data."""

    @property
    @abstractmethod
    def mean(self) -> Code:
        """Mean of the state at time s."""

    @abstractmethod
    def sample(self, rng: Rng) -> Code:
        """Draw one state per row."""

    @abstractmethod
    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        """Return the log-density (or log-probability) of each cell of ``x``, summed over channels.

        Where the step is deterministic, 0 at the mean and minus infinity elsewhere.
        """

    def log_prob(self, x: Code) -> Float[Tensor, "b"]:
        """Return the log-density (or log-probability) of each row of ``x``, summed over the code."""
        return self.cell_log_prob(x).flatten(1).sum(1)


def along(t: Time, x: Code) -> Float[Tensor, "b 1 *#s"]:
    """Reshape times to broadcast against a code: (b,) becomes (b, 1, ...)."""
    if t.ndim == 1:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
    return t.to(x.device)


class AbstractKernel(BaseModel, ABC):
    """Diffusion process of one variable: frozen settings and stateless functions of continuous time.

    Time is 0 at the data and 1 at the prior, one per row or one per cell of the code grid. Kernels do not receive masks
    or weights; the loss is unreduced, and finite for every t in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    support: ClassVar[str]
    """Type of code that the kernel diffuses, equal to the codec's: "real", "one_hot" or one defined by a plugin."""
    is_gaussian: ClassVar[bool] = False
    """Whether noise is Gaussian: x_t = signal x_0 + noise e with :meth:`scales` and standard normal e.

    Multistep solvers then extrapolate estimates of x_0 linearly, and the code is part of the Gaussian baseline."""

    is_cellwise: ClassVar[bool] = True
    """Whether the cells of a draw are independent given their times. False if they are not, though each cell alone has
    the distribution of an independent one: for example, where a step changes a fixed number of cells."""

    even_steps: ClassVar[bool] = False
    """Whether steps are uniform in time, whatever the times of other variables, and training times are uniform: then
    every step of a masked sequence uncovers the same number of cells."""

    takes_indices: ClassVar[bool] = False
    """Whether :meth:`with_indices` is implemented."""

    @classmethod
    def examples(cls) -> Sequence["AbstractKernel"]:
        """Return settings that ``metavoxel plugins --check`` checks; by default the default settings."""
        return [cls.model_validate({})]

    @property
    def is_categorical(self) -> bool:
        """Whether codes are one-hot over their channels: estimates of x_0 are then class probabilities of each cell."""
        return self.support == "one_hot"

    @property
    def indexed(self) -> bool:
        """Whether codes and states are held as class indices, by :meth:`with_indices`."""
        return False

    def with_indices(self, classes: int) -> Self:
        """Return the same process for one-hot codes held as class indices (b, 1, *s) in int64.

        A state that is no class is -1. Targets are indices too. Predictions, estimates of x_0 and the means of
        transitions remain (b, classes, *s), as does the ``shape`` of ``prior``.
        """
        raise NotImplementedError(f"kernel {self.type!r} has no states held as indices")

    def is_label(self, code_shape: tuple[int, ...]) -> bool:
        """Return whether a code of this shape is one label of K: K class channels and no grid.

        One reverse step from t = 1 then draws it exactly.
        """
        return self.is_categorical and len(code_shape) == 1

    @property
    def predicts_mean(self) -> bool:
        """Whether the prediction at t = 1 determines the posterior mean E[x_0 | evidence] in one evaluation.

        False if the network predicts the noise: recovering x_0 then divides by the signal.
        """
        return True

    def cells_in_turn(self, code_shape: tuple[int, ...]) -> int:
        """Return the number of cells that are drawn one after another; 1 if the order of cells has no part in a draw.

        A draw of fewer steps takes several of these cells in one step, as if they were independent.
        """
        return 1

    def prediction_channels(self, code_channels: int) -> int:
        """Return the number of prediction channels for a code with ``code_channels`` channels."""
        return code_channels

    def problems(self) -> list[str]:
        """Return messages about inconsistent settings; empty if there are none."""
        return []

    @abstractmethod
    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return log(alpha_bar / (1 - alpha_bar)) in float64: infinity at t = 0, minus infinity at zero signal."""

    def scales(self, t: Float[Tensor, "*b"]) -> tuple[Float64[Tensor, "*b"], Float64[Tensor, "*b"]]:
        """Return the signal and noise scales of a state with Gaussian noise.

        Their squares sum to 1 unless overridden.
        """
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def time_of(self, log_snr: Float[Tensor, "*b"]) -> Float64[Tensor, "*b"]:
        """Return the time at which :meth:`log_snr` has this value, by bisection; clipped to [0, 1]."""
        target = log_snr.double()
        low, high = torch.zeros_like(target), torch.ones_like(target)
        for _ in range(60):
            middle = (low + high) / 2
            earlier = self.log_snr(middle) > target
            low, high = torch.where(earlier, middle, low), torch.where(earlier, high, middle)
        time = torch.where(torch.isposinf(target), torch.zeros_like(target), (low + high) / 2)
        return torch.where(target <= self.log_snr(torch.ones_like(target)), torch.ones_like(target), time)

    @abstractmethod
    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        """Draw a state at t = 1 from the prior, on the device and in the dtype of ``like``."""

    @abstractmethod
    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        """Draw from q(x_t | x_0), and return the network's target; the state equals x_0 at t = 0."""

    @abstractmethod
    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        """Draw from q(x_t | x_s) for s <= t."""

    @abstractmethod
    def loss(self, prediction: Float[Tensor, "b p *s"], target: Target, t: Time) -> Float[Tensor, "b 1 *s"]:
        """Return the loss of every cell: the mean over channels of a real code, the cross-entropy of a category."""

    @abstractmethod
    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        """Return E[x_0 | x_t, other inputs of the network]: class probabilities for a one-hot code."""

    def revealed(self, xt: Code) -> Mask:
        """Return the cells whose state is the datum with certainty: they have no loss. None by default."""
        return torch.zeros_like(xt[:, :1], dtype=torch.bool)

    def log_likelihood(self, xt: Code, t: Time) -> Code:
        """Return log q(x_t | x_0 = k) for every class k of a one-hot code, up to a constant.

        0 (an uninformative state) for kernels without a closed form.
        """
        return torch.zeros_like(xt)

    def to_prediction(self, x0_hat: Code, noise_hat: Code, t: Time) -> Float[Tensor, "b p *s"] | None:
        """Convert estimates of data and noise to a prediction; None for kernels without such a conversion."""
        return None

    @abstractmethod
    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> AbstractTransition:
        """Return the reverse step from t to any s <= t; the identity where s = t.

        ``eta`` scales the added noise from 0 (deterministic, if the kernel supports it) to 1 (ancestral).
        """
