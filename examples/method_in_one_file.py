"""The complete method on a small table, in plain PyTorch: python examples/method_in_one_file.py [--steps 3000]

One network learns all conditionals of two numbers and one category. This is the package's method without its Gaussian
baseline, codecs and images: the same weights and noise give the same loss, samples and posterior means.

1. Forward processes. A number is diffused by x_t = s x_0 + n e (s^2 + n^2 = 1), a category keeps its class with
   probability a_t and is otherwise uniform. Every variable has a time of its own.
2. Training. Each row has a random evidence set, given clean at t = 0; the others are noised. The network predicts
   v = s e - n x_0 of each number and class logits of the category; the loss covers noised variables only.
3. Conditioning. Evidence stays at t = 0 in sampling too, so p(unknown | evidence) needs no guidance and no replacement.
4. Posterior mean. At t = 1 a state has no signal, so the prediction there is E[x_0 | evidence]: one evaluation.
5. Sampling. DPM-Solver++(2M) for numbers; for categories the exact reverse step, the mixture over classes of
   q(x_s | x_t, x_0 = k) weighted by the predicted p(x_0 = k).
"""

import argparse
import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

NUMBERS = ("x", "y")
CATEGORY, CLASSES = "k", 3
NAMES = (*NUMBERS, CATEGORY)
Table = dict[str, Tensor]
"""Values by variable: numbers (n, 1), categories as indicators (n, CLASSES)."""

MEANS, SD, NOISE = torch.tensor([-1.2, 0.0, 1.2]), 0.5, 0.3


# The data: k is uniform, x given k is normal, and y = sin(2 x) + noise. All conditionals are known.
def make_table(rows: int, random: torch.Generator) -> Table:
    """Draw rows from the joint distribution."""
    k = torch.randint(CLASSES, (rows,), generator=random)
    x = MEANS[k, None] + SD * torch.randn(rows, 1, generator=random)
    y = torch.sin(2 * x) + NOISE * torch.randn(rows, 1, generator=random)
    return {"x": x, "y": y, "k": functional.one_hot(k, CLASSES).float()}


def exact_class_probabilities(x: Tensor) -> Tensor:
    """Return p(k | x) of every row, by Bayes' rule."""
    return torch.softmax(-((x - MEANS) ** 2) / (2 * SD**2), 1)


# 1. Forward processes: cosine schedule (Nichol and Dhariwal 2021), in float64, for 1 - alpha_bar vanishes near t = 0.
def log_alpha_bar(t: Tensor) -> Tensor:
    """Return log alpha_bar: 0 at t = 0, minus infinity at t = 1."""
    t, offset = t.double(), 0.008
    start = math.log(math.cos(offset / (1 + offset) * math.pi / 2))
    value = 2 * (torch.log(torch.cos((t + offset) / (1 + offset) * math.pi / 2).clamp_min(0)) - start)
    value = torch.where(t >= 1, -math.inf, value.clamp_max(0))
    return torch.where(t <= 0, 0.0, value)


def log_snr(t: Tensor) -> Tensor:
    """Return log(alpha_bar / (1 - alpha_bar))."""
    return log_alpha_bar(t) - torch.log(-torch.expm1(log_alpha_bar(t)))


def time_of(wanted: Tensor) -> Tensor:
    """Invert ``log_snr`` by bisection."""
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(60):
        middle = (low + high) / 2
        late = log_snr(middle) < wanted
        low, high = torch.where(late, low, middle), torch.where(late, middle, high)
    return (low + high) / 2


def scales(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return signal and noise scales, (b, 1) in float64."""
    log = log_alpha_bar(t)[:, None]
    return torch.exp(log / 2), torch.sqrt(-torch.expm1(log))


def log_forward(start: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Return log q(x_t = j | x_s) of every class j: a class is kept with probability r = alpha_bar_t / alpha_bar_s."""
    log_t, log_s = log_alpha_bar(t)[:, None], log_alpha_bar(s)[:, None]
    log_r = torch.where(log_t == log_s, 0.0, log_t - log_s).clamp_max(0)
    log_uniform = (torch.log(-torch.expm1(log_r)) - math.log(CLASSES)).float()
    return torch.logaddexp(torch.log(start) + log_r.float(), log_uniform.expand_as(start))


class Noise:
    """Standard normal and Gumbel noise, by variable. A test substitutes the package's noise."""

    def __init__(self, random: torch.Generator) -> None:
        self.random = random

    def normal(self, name: str, shape: tuple[int, int]) -> Tensor:
        """Draw independent standard normal numbers."""
        return torch.randn(shape, generator=self.random)

    def gumbel(self, name: str, shape: tuple[int, int]) -> Tensor:
        """Draw independent Gumbel numbers: the argmax of log-probabilities plus these is a draw of the category."""
        return -torch.log(-torch.log(torch.rand(shape, generator=self.random).clamp(1e-20, 1 - 1e-7)))

    def draw_class(self, name: str, log_p: Tensor) -> Tensor:
        """Draw one-hot classes from log-probabilities."""
        drawn = (log_p + self.gumbel(name, tuple(log_p.shape))).argmax(1)
        return functional.one_hot(drawn, CLASSES).float()

    def prior(self, name: str, rows: int) -> Tensor:
        """Draw a state at t = 1."""
        if name in NUMBERS:
            return self.normal(name, (rows, 1))
        return self.draw_class(name, torch.zeros(rows, CLASSES))


# The network: a token for each variable, residual layers over their sum, a head for each variable.
FEATURES = 16


def time_features(t: Tensor) -> Tensor:
    """Return features of times in [0, 1], with indicators of both ends, where most conditionals are."""
    t = t[..., None].double()
    angles = t * math.pi * 2.0 ** torch.arange((FEATURES - 4) // 2, dtype=torch.float64)
    ends = [2 * t - 1, (t <= 0).double(), (t >= 1).double(), torch.sqrt(t)]
    return torch.cat([*ends, torch.sin(angles), torch.cos(angles)], -1).float()


class Ends(nn.Module):
    """Input and output layers of one variable's token."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.in_proj = nn.Sequential(nn.Linear(channels + FEATURES + 1, width), nn.SiLU(), nn.Linear(width, width))
        with torch.no_grad():  # else sixteen time features dominate the one value
            self.in_proj[0].weight[:, channels : channels + FEATURES] *= 0.1
        self.out_proj = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Identity(), nn.Linear(width, channels)
        )


class Block(nn.Module):
    """Residual block, modulated by the time embedding (Peebles and Xie 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():
            self.modulation.bias[2 * width :] = 1.0
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Identity(), nn.Linear(width, width))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Return the updated hidden features, (b, w)."""
        shift, scale, gate = self.modulation(functional.silu(embedding)).chunk(3, -1)
        return hidden + gate * self.layers(self.norm(hidden) * (1 + scale) + shift)


class Network(nn.Module):
    """Prediction of every variable from all states and times."""

    def __init__(self, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        self.ends = nn.ModuleDict({name: Ends(1 if name in NUMBERS else CLASSES, width) for name in NAMES})
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.time_in, self.time_out = nn.Linear(FEATURES, width), nn.Linear(width, width)
        self.time_tags = nn.Parameter(torch.randn(len(NAMES), width) * 0.5)

    def forward(self, states: Table, times: Table, observed: Table) -> Table:
        """Return the predictions: v of numbers, logits of the category."""
        # a state without signal enters as 0, so that no prediction depends on its noise
        states = {name: torch.where(times[name][:, None] >= 1, 0.0, states[name]) for name in NAMES}
        clocks = time_features(torch.stack([times[name] for name in NAMES], 1))
        embedding = self.time_out(functional.silu(self.time_in(clocks) + self.time_tags).sum(1) / len(NAMES) ** 0.5)
        inputs = {
            name: torch.cat([states[name], time_features(times[name]), observed[name].float()], 1) for name in NAMES
        }
        tokens = {name: self.ends[name].in_proj(inputs[name]) for name in NAMES}
        hidden = torch.stack(list(tokens.values()), 1).sum(1)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return {name: self.ends[name].out_proj(tokens[name] + hidden) for name in NAMES}

    def denoise(self, states: Table, times: Table, observed: Table) -> Table:
        """Return E[x_0 | all states]; class probabilities of the category."""
        found = self(states, times, observed)
        for name in NUMBERS:
            signal, noise = (scale.float() for scale in scales(times[name]))
            found[name] = signal * states[name] - noise * found[name]
        return {**found, CATEGORY: torch.softmax(found[CATEGORY], 1)}


# 2. Training.
def sample_times(rows: int, random: torch.Generator) -> tuple[Table, Table]:
    """Sample times and conditioning masks of each row: any evidence set, often with all unknown variables at t = 1."""
    chance = torch.rand(rows, 4, generator=random, dtype=torch.float64)
    rank = torch.rand(rows, len(NAMES), generator=random).argsort(1).argsort(1)
    size = (chance[:, 0] * len(NAMES)).long()
    size = torch.where(chance[:, 1] < 0.3, len(NAMES) - 1, size)
    observed = rank < size[:, None]
    own = torch.rand(rows, len(NAMES), generator=random, dtype=torch.float64)
    t = torch.where((chance[:, 2] < 0.5)[:, None], chance[:, 3:], own) ** 2
    posterior = torch.rand(rows, generator=random) < 0.5
    t = torch.where(posterior[:, None], 1.0, t)
    t = torch.where(observed, 0.0, t)
    return (
        {name: t[:, place] for place, name in enumerate(NAMES)},
        {name: observed[:, place, None] for place, name in enumerate(NAMES)},
    )


def noised(table: Table, times: Table, noise: Noise) -> tuple[Table, Table]:
    """Draw states at these times; return them with the prediction targets."""
    states, targets = {}, {}
    for name in NUMBERS:
        signal, spread = (scale.float() for scale in scales(times[name]))
        e = noise.normal(name, tuple(table[name].shape))
        states[name], targets[name] = signal * table[name] + spread * e, signal * e - spread * table[name]
    log_q = log_forward(table[CATEGORY], torch.zeros_like(times[CATEGORY]), times[CATEGORY])
    states[CATEGORY], targets[CATEGORY] = noise.draw_class(CATEGORY, log_q), table[CATEGORY]
    return states, targets


def loss(network: Network, table: Table, times: Table, observed: Table, noise: Noise) -> Tensor:
    """Return the sum over variables of the mean loss over rows in which they are not evidence."""
    states, targets = noised(table, times, noise)
    states = {name: torch.where(observed[name], table[name], states[name]) for name in NAMES}
    predictions = network(states, times, observed)
    terms = {name: (predictions[name] - targets[name]).square().mean(1, keepdim=True) for name in NUMBERS}
    terms[CATEGORY] = -(targets[CATEGORY] * torch.log_softmax(predictions[CATEGORY], 1)).sum(1, keepdim=True)
    return sum(
        torch.where(observed[name], 0.0, terms[name]).sum() / (~observed[name]).sum().clamp_min(1e-6) for name in NAMES
    )


def train(table: Table, steps: int, random: torch.Generator) -> Network:
    """Train a network; return it with the exponential moving average of its weights."""
    network = Network()
    average = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        rows = torch.randint(len(table["x"]), (256,), generator=random)
        batch = {name: values[rows] for name, values in table.items()}
        value = loss(network, batch, *sample_times(len(rows), random), Noise(random))
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        decay = min(0.995, (step + 1) / (step + 10))
        for key, weight in network.state_dict().items():
            average[key].lerp_(weight, 1 - decay)
        if step % max(steps // 5, 1) == 0:
            print(f"step {step}: loss {value.item():.3f}")
    network.load_state_dict(average)
    return network


# 3 and 4. Evidence stays clean; at t = 1 the prediction is the posterior mean.
def inputs(given: Table, states: Table, t: Tensor, marginal: tuple[str, ...] = ()) -> tuple[Table, Table, Table]:
    """Return states, times and masks: evidence at t = 0, marginalised variables at t = 1, the others at t."""
    rows = len(next(iter(states.values())))
    times = {name: (torch.ones(()) if name in marginal else t).double().expand(rows) for name in NAMES}
    times |= {name: torch.zeros(rows, dtype=torch.float64) for name in given}
    observed = {name: torch.full((rows, 1), name in given) for name in NAMES}
    return {**states, **given}, times, observed


@torch.inference_mode()
def posterior_mean(network: Network, given: Table, rows: int, noise: Noise) -> Table:
    """Return the marginal E[variable | given] of every variable, in one evaluation."""
    states = {name: noise.prior(name, rows) for name in NAMES}
    return network.denoise(*inputs(given, states, torch.ones(())))


# 5. Sampling.
def time_grid(steps: int) -> Tensor:
    """Return times from 1 to 0, interior ones uniform in log SNR."""
    first = max(-8.0, float(log_snr(torch.tensor(0.999))))
    last = min(max(first + 0.4 * (steps - 2), 8.0), 12.0)
    interior = time_of(torch.linspace(first, last, steps - 1, dtype=torch.float64))
    return torch.cat([torch.ones(1).double(), interior, torch.zeros(1).double()])


def step_number(x0_hat: Tensor, xt: Tensor, t: Tensor, s: Tensor, before: tuple[Tensor, Tensor] | None) -> Tensor:
    """Take a step of DPM-Solver++(2M) (Lu et al. 2022): DDIM, with x0_hat extrapolated from the last two estimates."""
    if before is not None:
        earlier, now, later = log_snr(before[1]), log_snr(t), log_snr(s)
        weight = (later - now) / (2 * (now - earlier))
        weight = torch.where(torch.isfinite(weight) & torch.isfinite(later), weight, 0.0)[:, None].float()
        x0_hat = x0_hat + weight * (x0_hat - before[0])
    (signal_t, noise_t), (signal_s, noise_s) = scales(t), scales(s)
    state_factor = noise_s / torch.where(noise_t > 0, noise_t, 1.0)
    return (signal_s - state_factor * signal_t).float() * x0_hat + state_factor.float() * xt


def log_step_category(p: Tensor, xt: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return log p(x_s | x_t) = log sum_k p_k q(x_t | x_s) q(x_s | x_0 = k) / q(x_t | x_0 = k), for any step size."""
    zero, log_p = torch.zeros_like(t), torch.log(p)
    log_weight = log_p - log_forward(xt, zero, t).clamp_min(torch.finfo(xt.dtype).min)  # Q is symmetric
    log_weight = torch.where(torch.isneginf(log_p), log_p, log_weight)
    each = [log_forward(indicator.expand_as(xt), zero, s) for indicator in torch.eye(CLASSES)]  # log q(x_s | x_0 = k)
    log_mixture = torch.logsumexp(torch.stack([log_weight[:, k, None] + log_q for k, log_q in enumerate(each)]), 0)
    return torch.log_softmax(log_forward(xt, s, t) + log_mixture, 1)


@torch.inference_mode()
def sample(
    network: Network, given: Table, rows: int, noise: Noise, *, steps: int = 50, marginal: tuple[str, ...] = ()
) -> Table:
    """Draw every variable that is neither given nor marginalised from p(unknown | given)."""
    states = {name: noise.prior(name, rows) for name in NAMES}
    before: dict[str, tuple[Tensor, Tensor]] = {}
    unknown = [name for name in NAMES if name not in given and name not in marginal]
    numbers = any(name in NUMBERS for name in unknown)
    grid = time_grid(steps) if numbers else torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for start, stop in pairwise(grid):
        x0_hats = network.denoise(*inputs(given, states, start, marginal))
        t, s = start.expand(rows), stop.expand(rows)
        for name in unknown:
            if name in NUMBERS:
                states[name] = step_number(x0_hats[name], states[name], t, s, before.get(name))
            else:
                states[name] = noise.draw_class(name, log_step_category(x0_hats[name], states[name], t, s))
            before[name] = (x0_hats[name], t)
    return {**states, **given}


def main(steps: int, show: Callable[[str], None] = print) -> None:
    """Train, predict and sample, and compare with the exact conditionals."""
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = train(make_table(5000, random), steps, random).eval()
    fresh, noise = make_table(1000, random), Noise(random)
    p = posterior_mean(network, {"x": fresh["x"]}, 1000, noise)["k"]
    show(f"p(k | x): largest error {(p - exact_class_probabilities(fresh['x'])).abs().max():.3f}")
    y = posterior_mean(network, {"x": fresh["x"]}, 1000, noise)["y"]
    error = (y - torch.sin(2 * fresh["x"])).square().mean().sqrt()
    show(f"E[y | x]: root mean squared error {error:.3f}; noise has {NOISE}")
    drawn = sample(network, {"k": fresh["k"]}, 1000, noise)
    k = fresh["k"].argmax(1)
    means = torch.stack([drawn["x"][k == one].mean() for one in range(CLASSES)])
    show(f"draws of x given k: means {means.numpy().round(2)}, exact {MEANS.numpy()}")
    residual = drawn["y"] - torch.sin(2 * drawn["x"])
    show(f"draws of (x, y) given k: sd of y - sin(2 x) {residual.std():.3f}, exact {NOISE}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    main(parser.parse_args().steps)
