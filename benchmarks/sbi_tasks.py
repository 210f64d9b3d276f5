"""Tasks of simulation-based inference at 10,000 simulations: C2ST compared with published figures of Simformer.

python -m benchmarks.sbi_tasks [--task two_moons gaussian_linear gaussian_mixture slcp tree hmm] [--quick]

One model per task is trained on joint rows of parameters and data, each a variable. ``posterior`` is all parameters
given all data; ``any`` is all others given random sets (Gloeckler et al. 2024: none, all data, all parameters, or each
variable with probability .3 or .7). Posteriors are those of the observations of the published means, which exclude
extremely spiked posteriors. Reference draws are exact (``benchmarks.simulators`` and ``benchmarks.grid_simulators``).
Scores are stored one by one, so that an interrupted run continues, and more conditionals can be added later.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.grid_simulators import HMM, Tree
from benchmarks.simulators import AbstractTask, Evidence, GaussianLinear, GaussianMixture, TwoMoons
from benchmarks.slcp import SLCP
from benchmarks.table_run import TableRun, trained
from benchmarks.tables import figure, markdown, publish
from metavoxel.evaluation.metrics.two_sample import c2st
from metavoxel.rng import stream_key
from metavoxel.runs.run import RunFolder
from metavoxel.sampling.settings import Sampling

TASKS: Mapping[str, AbstractTask] = {
    task.name: task for task in (TwoMoons(), GaussianLinear(), GaussianMixture(), SLCP(), Tree(), HMM())
}
SIMULATIONS, VALIDATION_ROWS = 10_000, 1_000
STEPS = {
    "two_moons": 40_000,
    "gaussian_linear": 600,
    "gaussian_mixture": 10_000,
    "slcp": 30_000,
    "tree": 10_000,
    "hmm": 10_000,
}
TRAINING = {
    "batch_size": 256,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "warm_up": 300,
    "ema": 0.999,
    "validate_every": 2000,
    "draw_share": 0.9,
    "time_power": 3,
}
NORMAL = ("gaussian_linear", "hmm")
"""Tasks with jointly Gaussian parameters, whose predictions start from the Gaussian baseline."""
ATTENTION: Mapping[str, Any] = {"type": "transformer", "width": 64, "depth": 4, "dropout": 0.0}
ATTENTIVE = ("gaussian_linear", "hmm", "slcp")
"""Tasks in which a variable depends on few of many others, for which attention is better than a sum of all tokens.

Their model is given the dependences (``factors``), as the undirected Simformer is, and shares layers (``alike``)."""
WEIGHT_OF_DATA = 0.1
"""Loss weight of data in models of the posterior: they are unknown in a tenth of the rows only."""
QUESTIONS = {"posterior": 10, "any": 20}
AIMS = {
    ("two_moons", "posterior"): 0.525,
    ("gaussian_linear", "posterior"): 0.51,
    ("gaussian_mixture", "posterior"): 0.515,
    ("slcp", "posterior"): 0.65,
    ("tree", "any"): 0.54,
    ("hmm", "any"): 0.54,
    ("slcp", "any"): 0.60,
}
PUBLISHED: Mapping[tuple[str, str], tuple[float, float, str]] = {
    ("two_moons", "posterior"): (0.525, 0.513, "NSPE"),
    ("gaussian_linear", "posterior"): (0.635, 0.507, "Simformer, undirected"),
    ("gaussian_mixture", "posterior"): (0.515, 0.515, "Simformer"),
    ("slcp", "posterior"): (0.784, 0.646, "Simformer, undirected"),
    ("tree", "any"): (0.563, 0.541, "Simformer, undirected"),
    ("hmm", "any"): (0.566, 0.541, "Simformer, undirected"),
    ("slcp", "any"): (0.739, 0.600, "Simformer, undirected"),
}
"""Simformer and the best of all methods, read off figures 3 and 4 of Gloeckler et al. (2024); about .002 of error."""


def generator(*parts: str | int) -> np.random.Generator:
    """Return a random generator by purpose."""
    return np.random.default_rng(abs(stream_key("benchmark sbi", *parts)))


def folder(task: AbstractTask, kind: str, output: Path) -> Path:
    """Return the folder of a task's model; with attention one network has all conditionals, as the published ones."""
    return output / f"{task.name}-{'any' if task.name in ATTENTIVE else kind}"


def model(task: AbstractTask, kind: str, output: Path, steps: int) -> TableRun:
    """Return the model of a task, trained on 10,000 simulations, including validation.

    Nine in ten rows are trained at intermediate times, for draws. For a posterior, nine in ten rows have that evidence;
    the others have any.
    """
    attentive = task.name in ATTENTIVE
    values = task.simulate(generator(task.name, "simulations"), SIMULATIONS)
    columns = {name: torch.from_numpy(values[name]) for name in task.names}
    training: dict[str, Any] = {"steps": steps, **TRAINING}
    backbone = ATTENTION if attentive else {"type": "mlp"}
    factors = [list(factor) for factor in task.factors] if attentive else []
    number: dict[str, Any] = {
        "type": "continuous",
        "adapter": {"type": "token", "baseline": task.name in NORMAL, "alike": attentive},
    }
    types = dict.fromkeys(task.names, number)
    for name, ends in task.scales.items():
        types[name] = {**number, "codec": {"type": "linear", "scale": "range", "range": list(ends)}}
    if task.box is not None:
        types |= {name: {**types[name], "valid": [-task.box, task.box]} for name in task.parameters}
    if attentive:
        training |= {"questions": [[], list(task.data), list(task.parameters)], "question_share": 0.6}
        training |= {"optimiser": "muon", "learning_rate": 3e-3}
    elif kind == "posterior":
        training |= {"questions": [list(task.data)], "question_share": 0.9}
        types |= {name: {**types[name], "weight": WEIGHT_OF_DATA} for name in task.data}
    return trained(
        folder(task, kind, output),
        columns,
        categories={},
        settings={"backbone": backbone, "diffusion": {"factors": factors}, "training": training},
        types=types,
        validation=VALIDATION_ROWS,
    )


def questions(task: AbstractTask, kind: str, count: int) -> Iterator[Evidence]:
    """Yield evidence: all data, of the published observations and then of new simulations; or random sets."""
    rng = generator(task.name, kind, "questions")
    published = task.observations() if kind == "posterior" else []
    yield from published[:count]
    for _ in range(count - len(published)):
        row = {name: float(value[0]) for name, value in task.simulate(rng, 1).items()}
        names = task.names
        if kind == "posterior":
            yield {name: row[name] for name in task.data}
            continue
        chosen = [
            np.zeros(len(names), bool),
            np.isin(names, task.data),
            np.isin(names, task.parameters),
            rng.random(len(names)) < 0.3,
            rng.random(len(names)) < 0.7,
        ][rng.integers(5)]
        for whole in task.wholes:
            together = np.isin(names, whole)
            chosen = chosen | together & chosen[together].any()
        yield {} if chosen.all() else {name: row[name] for name, given in zip(names, chosen, strict=True) if given}


def judge(run: TableRun, task: AbstractTask, place: int, given: Evidence, draws: int, sampling: Sampling) -> float:
    """Return the C2ST of one conditional: the model's draws against exact ones."""
    held = {name: torch.full((draws,), value, dtype=torch.float64) for name, value in given.items()}
    drawn = run.draw(held, sampling, rows=draws, seed=place)
    kind = "posterior" if set(given) == set(task.data) else "any"
    exact = task.reference(generator(task.name, kind, "reference", place), given, draws)
    names = [name for name in task.names if name not in given]
    first = np.stack([exact[name] for name in names], 1)
    second = np.stack([drawn[name].numpy() for name in names], 1)
    return c2st(first, second)


def scores_of(record: Path, weights: Path, settings: Mapping[str, object]) -> list[float]:
    """Return the stored scores of these weights and settings."""
    if not record.exists() or record.stat().st_mtime < weights.stat().st_mtime:
        return []
    found = json.loads(record.read_text(encoding="utf-8"))
    return list(found["c2st"]) if {name: found.get(name) for name in settings} == settings else []


def page(output: Path) -> Path:
    """Write the page from all available results."""
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for task, kind in AIMS:
        path = output / f"{task}-{kind}.json"
        if path.exists():
            results[task, kind] = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for key, found in results.items():
        scores, (simformer, best, name) = np.array(found["c2st"]), PUBLISHED[key]
        error = scores.std(ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
        measured = f"{scores.mean():.3f} ± {error:.3f}"
        which = "published observations" if found["published"] == len(scores) else "conditionals"
        asked = f"{len(scores)} {which}, {found['draws']} draws, {found['training_steps']} training steps"
        rows.append([*key, f"{simformer:.3f}", f"{best:.3f} ({name})", f"≤ {AIMS[key]:.3f}", measured, asked])
    header = ["task", "conditionals", "Simformer", "best published", "aim", "metavoxel", "measured on"]
    picture, (axis,) = figure(1)
    for place, (key, found) in enumerate(results.items()):
        axis.scatter([place] * len(found["c2st"]), found["c2st"], s=10, color="tab:blue", alpha=0.6)
        axis.plot([place - 0.3, place + 0.3], [PUBLISHED[key][1]] * 2, color="tab:orange")
    axis.axhline(0.5, color="grey", linewidth=0.8)
    axis.set_xticks(range(len(results)), ["\n".join([*task.split("_"), kind]) for task, kind in results], fontsize=7)
    axis.set(ylabel="C2ST", title="dots: conditionals; lines: best published mean")
    return publish(
        "sbi_tasks",
        "Simulation-based inference at 10,000 simulations",
        [
            "Two-sample accuracy of a random forest (5 folds): .5 is indistinguishable from the exact posterior. "
            "Posteriors are those of the observations of the published means, where stated; other conditionals are "
            "drawn as the published ones were. ± is the standard error of the mean over conditionals. Reference draws "
            "are exact, while those of the published 'any' are Markov chains. "
            "`python -m benchmarks.sbi_tasks`",
            markdown(header, rows),
        ],
        picture,
    )


def main() -> None:
    """Train unless trained, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--kind", nargs="+", choices=["posterior", "any"], default=["posterior", "any"])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-sbi"))
    parser.add_argument("--training-steps", type=int, default=None, help="default: those of the task")
    parser.add_argument("--steps", type=int, default=50, help="network evaluations per draw")
    asked = "conditionals per row; by default 10 of a posterior, the published ones first, and 20 of 'any'"
    parser.add_argument("--questions", type=int, default=None, help=asked)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="few conditionals and draws")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.questions, arguments.draws = 3, 2_000
    torch.set_num_threads(1)
    for name, kind in AIMS:
        if name not in arguments.task or kind not in arguments.kind:
            continue
        task, start = TASKS[name], time.perf_counter()
        steps = arguments.training_steps or STEPS[name]
        run = model(task, kind, arguments.output, steps)
        print(f"{name}: a model after {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)
        settings = {"draws": arguments.draws, "steps": arguments.steps, "training_steps": steps}
        record, count = arguments.output / f"{name}-{kind}.json", arguments.questions or QUESTIONS[kind]
        scores = scores_of(record, RunFolder(folder(task, kind, arguments.output)).weights, settings)
        published = len(task.observations()) if kind == "posterior" else 0
        for place, given in enumerate(questions(task, kind, count)):
            if place < len(scores):
                continue
            start = time.perf_counter()
            scores.append(judge(run, task, place, given, arguments.draws, Sampling(steps=arguments.steps)))
            found = {"c2st": scores, **settings, "published": min(len(scores), published)}
            record.write_text(json.dumps(found), encoding="utf-8")
            seconds = time.perf_counter() - start
            print(f"  {name} {kind} {place + 1}/{count}: {scores[-1]:.3f} ({seconds:.0f} s)", flush=True)
        print(f"{name} {kind}: {np.mean(scores):.3f}; {page(arguments.output)}", flush=True)


if __name__ == "__main__":
    main()
