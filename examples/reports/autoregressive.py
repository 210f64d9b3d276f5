"""Train an autoregressive writer of reports of the size and budget of the joint model, and compare the facts.

python examples/reports/autoregressive.py OUTPUT [--depth N] [--steps N] [--seed 0]

OUTPUT is the folder of run.py, whose cohort, split, codes of pictures and tokens of reports are used. The writer is a
decoder-only transformer of the joint model's width and depth: with z the codes of the picture's blocks and w_j the
tokens of the report,

    p(w | z) = prod_j p(w_j | z, w_1 ... w_{j-1}).

It is trained by cross-entropy with the steps, batch size and optimiser of the run, and the step of the least loss on
validation subjects is kept. It answers one question: picture to report. In a gap it cannot use the words to the right.
The results are in autoregressive.txt.
"""

import argparse
import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas
import torch
from facts import GAP, Filled, Report, Stopwatch, all_right, facts_of, gap_of, read_subjects, texts_of
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

import metavoxel as mv
from metavoxel.cohort.phantoms.reports import Facts
from metavoxel.inference.model import Model
from metavoxel.runs.run import RunFolder

SPREAD = 0.1
"""Initial standard deviation of the learnt positions."""


class Pairs(NamedTuple):
    """Pictures as the codes of their blocks, and reports as the classes of their tokens."""

    blocks: Float[Tensor, "n b c"]
    words: Int64[Tensor, "n l"]


class Writer(nn.Module):
    """Decoder-only transformer: the blocks of a picture, all visible, then the tokens of a report in order. Final."""

    def __init__(self, pairs: Pairs, vocabulary: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self._blocks, channels = pairs.blocks.shape[1:]
        places = self._blocks + pairs.words.shape[1] - 1
        self.picture, self.word = nn.Linear(channels, width), nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(places, width) * SPREAD)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)
        hidden = torch.ones(places, places, dtype=torch.bool).triu(1)
        hidden[:, : self._blocks] = False
        self.register_buffer("hidden", hidden)
        self.hidden: Tensor

    def forward(self, blocks: Float[Tensor, "n b c"], words: Int64[Tensor, "n k"]) -> Float[Tensor, "n k+1 v"]:
        """Return the logits of each token given the picture and all tokens before it, also of one after the last."""
        tokens = torch.cat([self.picture(blocks), self.word(words)], 1)
        count = tokens.shape[1]
        tokens = self.layers(tokens + self.positions[:count], mask=self.hidden[:count, :count])
        return self.head(tokens[:, self._blocks - 1 :])


def loss_of(writer: Writer, pairs: Pairs) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of a token, in nats."""
    logits = writer(pairs.blocks, pairs.words[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), pairs.words.flatten())


def read_pairs(model: Model, rows: pandas.DataFrame, cohort: Path) -> Pairs:
    """Encode pictures and reports by the codecs of the joint model."""
    evidence = model.evidence_of(model.read(rows, ["image", "report"], folder=cohort), ["image", "report"])
    return Pairs(evidence["image"].code.flatten(2).transpose(1, 2), evidence["report"].code[:, 0])


def batches(pairs: Pairs, size: int, generator: torch.Generator) -> Iterator[Pairs]:
    """Yield random batches without end; every pair is in one before any is again."""
    rows = torch.zeros(0, dtype=torch.int64)
    while True:
        while len(rows) < size:
            rows = torch.cat([rows, torch.randperm(len(pairs.words), generator=generator)])
        yield Pairs(pairs.blocks[rows[:size]], pairs.words[rows[:size]])
        rows = rows[size:]


def train(writer: Writer, model: Model, pairs: Pairs, validation: Pairs, *, steps: int, seed: int) -> tuple[float, int]:
    """Train by the settings of the run; load the best moving average of the weights, and return its loss and step.

    Without validation subjects the last average is the best.
    """
    settings = model.schema.training
    rate, batch = settings.learning_rate, settings.batch_size
    assert rate is not None and batch is not None, "the schema of this example has both"
    decayed = [weight for weight in writer.parameters() if weight.ndim > 1]
    others = [weight for weight in writer.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, rate, betas=(0.9, 0.99), fused=True)
    average, best = copy.deepcopy(writer).eval(), (math.inf, 0, writer.state_dict())
    feed = batches(pairs, batch, torch.Generator().manual_seed(seed))
    for step in range(steps):
        for group in optimiser.param_groups:
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = rate * min(1.0, (step + 1) / max(settings.warm_up, 1)) * cosine
        optimiser.zero_grad()
        loss_of(writer, next(feed)).backward()
        nn.utils.clip_grad_norm_(writer.parameters(), settings.clip)
        optimiser.step()
        kept = min(settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), writer.parameters(), strict=True):
                mean.lerp_(weight, 1 - kept)
            if (step + 1) % settings.validate_every == 0 or step + 1 == steps:
                loss = float(loss_of(average, validation)) if len(validation.words) else best[0]
                if loss < best[0] or not len(validation.words):
                    best = loss, step + 1, copy.deepcopy(average.state_dict())
    writer.load_state_dict(best[2])
    writer.eval()
    return best[:2]


@torch.inference_mode()
def written(
    writer: Writer, pairs: Pairs, gap: Bool[Tensor, "n l"], generator: torch.Generator | None
) -> Int64[Tensor, "n l"]:
    """Write the tokens in the gaps from left to right: drawn, or without a generator the most probable ones.

    Tokens to the right of a gap have no effect.
    """
    words = pairs.words.masked_fill(gap, 0)
    for place in range(words.shape[1]):
        logits = writer(pairs.blocks, words[:, :place])[:, -1]
        if generator is None:
            chosen = logits.argmax(1)
        else:
            chosen = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        words[:, place] = torch.where(gap[:, place], chosen, words[:, place])
    return words


def measure(
    writer: Writer, model: Model, pairs: Pairs, facts: Sequence[Facts | None], report: Report, seed: int
) -> None:
    """Write the reports of the test part, and the words of their gaps, and add the results."""
    everywhere = torch.ones_like(pairs.words, dtype=torch.bool)
    ways = (("one draw", torch.Generator().manual_seed(seed)), ("most probable words", None))
    report.heading(f"image -> report: all facts right ({len(facts)} test subjects)")
    for name, generator in ways:
        found = [facts_of(text) for text in texts_of(model, written(writer, pairs, everywhere, generator))]
        report.share(f"autoregressive, {name}", all_right(found, facts))
        report.share(f"autoregressive, {name}: of the grammar", [one is not None for one in found])
    report.heading(f"image, and the words left of a gap of {GAP} -> the gap")
    for name, generator in ways:
        filled = Filled(written(writer, pairs, gap_of(pairs.words), generator), pairs.words)
        report.filled(f"autoregressive, {name}", model, filled, facts)


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of run.py")
    parser.add_argument("--depth", type=int, help="layers, by default as many as the run's network has")
    parser.add_argument("--steps", type=int, help="training steps, by default those of the run")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    cohort, run, report = chosen.output / "cohort", chosen.output / "run", Report()
    if not (run / "model.safetensors").exists():
        parser.error(f"{run}: no trained run; first: python examples/reports/run.py {chosen.output}")
    model, subjects = mv.load(run), read_subjects(RunFolder(run), cohort)
    train_pairs, validation, test = (read_pairs(model, rows, cohort) for rows in subjects)
    torch.manual_seed(chosen.seed)
    size = model.schema.backbone.model_dump(include={"width", "depth", "heads"})
    size["depth"] = chosen.depth or size["depth"]
    writer = Writer(train_pairs, model.codecs["report"].code_shape[0], **size)
    steps = chosen.steps or model.schema.training.steps
    watch = Stopwatch()
    loss, best = train(writer, model, train_pairs, validation, steps=steps, seed=chosen.seed)
    weights, joint = (sum(each.numel() for each in one.parameters()) for one in (writer, model.joint))
    report.heading(f"trained in {watch}: {weights:,} weights (joint model {joint:,}), {steps:,} steps")
    report.heading(f"validation: {loss:.3f} nats a token at the best step, {best:,}")
    measure(writer, model, test, [facts_of(text) for text in subjects.test["report"]], report, chosen.seed)
    report.write(chosen.output / "autoregressive.txt")


if __name__ == "__main__":
    main()
