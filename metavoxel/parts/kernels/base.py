"""What a kernel is: how one variable's code is lost to noise, and won back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Float64
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from metavoxel.rng import Rng
from metavoxel.typing import Code, Time


class Noised(NamedTuple):
    """A noised code, and what the network is to predict from it."""

    state: Code
    target: Float[Tensor, "b p *s"]


class AbstractTransition(ABC):
    """The distribution of the state at an earlier time s, given the state at t and a belief about the data."""

    @property
    @abstractmethod
    def mean(self) -> Code:
        """Expected state."""

    @abstractmethod
    def sample(self, rng: Rng) -> Code:
        """A draw for every row."""

    @abstractmethod
    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        """Log-density (or log-probability) of each cell of ``x``, its channels together.

        Where the step has no noise, 0 at the mean and minus infinity elsewhere.
        """

    def log_prob(self, x: Code) -> Float[Tensor, "b"]:
        """Log-density (or log-probability) of each row of ``x``, summed over the code."""
        return self.cell_log_prob(x).flatten(1).sum(1)


def along(t: Time, x: Code) -> Float[Tensor, "b 1 *#s"]:
    """Times shaped to broadcast against a code: (b,) becomes (b, 1, ...)."""
    if t.ndim == 1:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
    return t.to(x.device)


class AbstractKernel(BaseModel, ABC):
    """Frozen settings and pure mathematics of one variable's diffusion: no state, no integer steps.

    Times are continuous, 0 for data and 1 for the prior, one a row or one a cell of the code grid. A kernel never sees
    masks or weights: its loss is unreduced and finite for every t in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    support: ClassVar[str]
    """Which codes it can noise: the word that a codec must give too ("real", "one_hot", or a plugin's own)."""
    is_gaussian: ClassVar[bool] = False
    """Whether noise is normal, x_t = signal x_0 + noise e with :meth:`scales`: beliefs about the data may then be
    extrapolated linearly, as multistep solvers do, and take part in the joint normal law."""

    @classmethod
    def examples(cls) -> Sequence["AbstractKernel"]:
        """Settings that ``metavoxel plugins --check`` tries: by default the kernel with its default settings."""
        return [cls.model_validate({})]

    @property
    def predicts_mean(self) -> bool:
        """Whether the network's prediction at t = 1 tells E[x_0 | evidence], which one evaluation then reads out.

        Not so where the prediction is of the noise, from which the data are won by dividing by the signal.
        """
        return True

    def prediction_channels(self, code_channels: int) -> int:
        """Channels that the network gives for a code of so many."""
        return code_channels

    def problems(self) -> list[str]:
        """What is wrong with the settings together, in words; nothing when they fit."""
        return []

    @abstractmethod
    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """log(alpha_bar / (1 - alpha_bar)) in float64: infinity at t = 0; minus infinity where no signal is left."""

    def scales(self, t: Float[Tensor, "*b"]) -> tuple[Float64[Tensor, "*b"], Float64[Tensor, "*b"]]:
        """Signal and noise of a state of normal noise, whose squares sum to 1 unless a kernel says otherwise."""
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def time_of(self, log_snr: Float[Tensor, "*b"]) -> Float64[Tensor, "*b"]:
        """The time at which :meth:`log_snr` has this value, by bisection; the ends for what is beyond them."""
        wanted = log_snr.double()
        low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
        for _ in range(60):
            middle = (low + high) / 2
            earlier = self.log_snr(middle) > wanted
            low, high = torch.where(earlier, middle, low), torch.where(earlier, high, middle)
        time = torch.where(torch.isposinf(wanted), torch.zeros_like(wanted), (low + high) / 2)
        return torch.where(wanted <= self.log_snr(torch.ones_like(wanted)), torch.ones_like(wanted), time)

    @abstractmethod
    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        """A state at t = 1 of which the data say nothing, on the device and in the precision of ``like``."""

    @abstractmethod
    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        """A draw of q(x_t | x_0), and the network's target; the state is x_0 itself where t = 0."""

    @abstractmethod
    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        """A draw of q(x_t | x_s) for s <= t."""

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "b p *s"], target: Float[Tensor, "b p *s"], t: Time
    ) -> Float[Tensor, "b 1 *s"]:
        """Training loss of every cell, averaged over channels."""

    @abstractmethod
    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        """E[x_0 | x_t, everything else the network saw]: class probabilities for a one-hot code."""

    def log_likelihood(self, xt: Code, t: Time) -> Code:
        """log q(x_t | x_0 = k) of every class k of a one-hot code, up to a number that is the same for all.

        0, as of a state that tells nothing, for a kernel that has no such form.
        """
        return torch.zeros_like(xt)

    def to_prediction(self, x0_hat: Code, noise_hat: Code, t: Time) -> Float[Tensor, "b p *s"] | None:
        """The prediction that states a belief about data and noise; None for a kernel that has no such form."""
        return None

    @abstractmethod
    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> AbstractTransition:
        """The step from t to s <= t, of any stride; the identity where s = t.

        ``eta`` scales the step's own noise from 0 (none, where the kernel allows it) to 1 (ancestral).
        """
