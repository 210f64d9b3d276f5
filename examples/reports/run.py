"""Train on pictures with reports, and compare facts of drawn reports and pictures with the truth.

python examples/reports/run.py OUTPUT [--subjects 6000] [--seed 0]

The folder OUTPUT gets the phantom cohort, the run and results.txt. A cohort or run that is there is used again.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas
import torch
from jaxtyping import Bool, Float64
from PIL import Image

import metavoxel as mv
from metavoxel.cohort.phantoms.reports import Facts, parse_report, read_picture, read_report_truth
from metavoxel.cohort.phantoms.reports.drawing import BRAIN
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.inference.answer import Answer
from metavoxel.inference.model import Model
from metavoxel.runs.run import RunFolder

SCHEMA = Path(__file__).parent / "schema.yaml"
STEPS = 24
"""Evaluations of a draw: one for each token of a report."""
CALIBRATED, DRAWS, JOINT = 50, 20, 100
"""Rows and draws of the calibration, and rows drawn without any evidence."""


def facts_of(report: str) -> Facts | None:
    """Return the facts of a report, or None if it is not of the grammar."""
    reading = parse_report(report)
    return None if reading is None else reading.facts


def facts_in(picture: Float64[np.ndarray, "n n"]) -> Facts | None:
    """Return the facts of a picture, or None if it shows no head."""
    reading = read_picture(picture)
    return None if reading is None else reading.facts


class Report:
    """Lines of results, printed and kept. Final."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def heading(self, text: str) -> None:
        """Add a heading."""
        self._add(f"\n{text}")

    def share(self, name: str, right: Sequence[bool] | Bool[np.ndarray, " n"]) -> None:
        """Add a share of subjects with its interval."""
        self.number(name, np.array(right, np.float64))

    def number(self, name: str, values: Float64[np.ndarray, " n"]) -> None:
        """Add a mean over subjects with its interval."""
        found = bootstrap_mean(values)
        bounds = f" [{found.low:.3f}, {found.high:.3f}]" if np.isfinite(found.low) else ""
        self._add(f"  {name:<58} {found.value:.3f}{bounds}")

    def _add(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)


def pictures_of(model: Model, codes: torch.Tensor) -> list[Float64[np.ndarray, "n n"]]:
    """Decode pictures, as in their files: rows from the top, and the brain's median intensity as it is drawn.

    The model's first axis is from left to right and its second from bottom to top, and each image is scaled by its own
    percentiles.
    """
    with torch.inference_mode():
        images = [image[0].double().cpu().numpy().T[::-1] for image in model.codecs["image"].decode(codes)]
    return [image * 255 * BRAIN / max(float(np.median(image[image > image.max() / 3])), 0.1) for image in images]


def nearest(of: Float64[np.ndarray, "n d"], among: Float64[np.ndarray, "m d"]) -> list[int]:
    """Return the row of ``among`` nearest to each row of ``of``."""
    return (np.square(among).sum(1) - 2 * of @ among.T).argmin(1).tolist()


def word_counts(reports: Sequence[str]) -> Callable[[Sequence[str]], Float64[np.ndarray, "n w"]]:
    """Return a function to unit vectors of the words of texts, with the words of these reports."""
    words = {word: place for place, word in enumerate(sorted({word for text in reports for word in text.split()}))}

    def vectors(texts: Sequence[str]) -> Float64[np.ndarray, "n w"]:
        found = np.zeros((len(texts), len(words)))
        for row, text in enumerate(texts):
            for word in text.split():
                if word in words:
                    found[row, words[word]] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9)

    return vectors


def measure(model: Model, run: RunFolder, cohort: Path, report: Report, seed: int) -> None:
    """Draw reports and pictures of the test part, and add the results."""
    table = pandas.read_csv(cohort / "participants.tsv", sep="\t").set_index("participant_id", drop=False)
    truth = read_report_truth(cohort).table.set_index("participant_id")
    split = run.read_record()["split"]
    train, test = table.loc[split["train"]], table.loc[split["test"]]
    facts = [facts_of(text) for text in test["report"]]

    def pixels(rows: pandas.DataFrame) -> Float64[np.ndarray, "n d"]:
        return np.stack([np.asarray(Image.open(cohort / name), np.float64).ravel() for name in rows["image"]])

    seen, known = pixels(test), pixels(train)
    size, random = int(seen.shape[1] ** 0.5), np.random.default_rng(seed)

    def seen_facts(values: Float64[np.ndarray, " d"]) -> Facts | None:
        return facts_in(values.reshape(size, size))

    def answer(rows: pandas.DataFrame, target: list[str], given: list[str], draws: int = 1) -> Answer:
        order = "together" if len(target) > 1 else None
        return model.answer(rows, target, given, draws=draws, steps=STEPS, seed=seed, folder=cohort, order=order)

    def right(found: Sequence[Facts | None], true: Sequence[Facts | None] = facts) -> list[bool]:
        return [one is not None and one == other for one, other in zip(found, true, strict=True)]

    def right_lesion(found: Sequence[Facts | None]) -> list[bool]:
        pairs = zip(found, facts, strict=True)
        return [one is not None and true is not None and one.lesion == true.lesion for one, true in pairs]

    report.heading(f"image -> report: all facts right ({len(test)} test subjects)")
    drawn = [facts_of(text) for text in answer(test, ["report"], ["image"]).table()["report"]]
    copied = [facts_of(train["report"].iloc[row]) for row in nearest(seen, known)]
    chance = [facts_of(train["report"].iloc[row]) for row in random.integers(0, len(train), len(test))]
    code = model.evidence_of(model.read(test, ["image"], folder=cohort), ["image"])["image"].code
    report.share("model, one draw", right(drawn))
    report.share("model: lesion right, with side, lobe, size and signal", right_lesion(drawn))
    report.share("model: of the grammar", [one is not None for one in drawn])
    report.share("retrieval: report of the nearest training picture", right(copied))
    report.share("random training report", right(chance))
    report.share("ceiling: reader on pixels", right([seen_facts(image) for image in seen]))
    report.share("ceiling: reader on reconstructions", right([facts_in(image) for image in pictures_of(model, code)]))

    report.heading("report -> image: all facts right, by the reader")
    (joint,) = answer(test, ["image"], ["report"]).draws
    drawn = [facts_in(image) for image in pictures_of(model, joint.codes["image"])]
    vectors = word_counts(list(train["report"]))
    rows = nearest(vectors(list(test["report"])), vectors(list(train["report"])))
    chosen = random.integers(0, len(train), len(test))
    report.share("model, one draw", right(drawn))
    report.share("model: lesion right, with side, lobe, size and signal", right_lesion(drawn))
    report.share("retrieval: picture of the nearest training report", right([seen_facts(known[row]) for row in rows]))
    report.share("random training picture", right([seen_facts(known[row]) for row in chosen]))

    report.heading("image and report drawn together: consistent")
    samples = answer(test.head(JOINT), ["image", "report"], [])
    texts = [facts_of(text) for text in samples.long_table()["report"]]
    images = [facts_in(image) for image in pictures_of(model, samples.draws[0].codes["image"])]
    report.share(f"model, {len(texts)} draws", right(texts, images))

    report.heading("age, mean absolute error in years")
    for name, given in (("image", ["image"]), ("report", ["report"]), ("both", ["image", "report"])):
        predicted = model.predict(test, "age", given, folder=cohort)["age"].to_numpy(np.float64)
        exact = truth.loc[test.index, f"age_median_given_{name}"].to_numpy(np.float64)
        report.number(f"model, from {name}", np.abs(predicted - test["age"].to_numpy()))
        report.number(f"exact, from {name}, same subjects", np.abs(exact - test["age"].to_numpy()))

    report.heading(f"P(lesion given image), {DRAWS} draws of {CALIBRATED} subjects: Brier score")
    some = test.head(CALIBRATED)
    truly = np.array([one is not None and one.lesion is not None for one in facts[:CALIBRATED]], np.float64)
    drawn = [facts_of(text) for text in answer(some, ["report"], ["image"], DRAWS).long_table()["report"]]
    lesions = np.array([one is not None and one.lesion is not None for one in drawn], np.float64)
    report.number("model", (lesions.reshape(len(some), DRAWS).mean(1) - truly) ** 2)
    report.number("prevalence", (truly.mean() - truly) ** 2)


def main() -> None:
    """Write, train and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--subjects", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    cohort, run, report = chosen.output / "cohort", chosen.output / "run", Report()
    mv.phantom(cohort, reports=True, subjects=chosen.subjects, progress=True)
    (cohort / "schema.yaml").write_text(SCHEMA.read_text(encoding="utf-8"), encoding="utf-8")
    start, before = time.perf_counter(), os.times()
    if not (run / "model.safetensors").exists():
        mv.train(cohort / "schema.yaml", run, progress=True)
        used = os.times()
        spent = used.user + used.system - before.user - before.system
        report.heading(f"trained in {time.perf_counter() - start:.0f} s, {spent:.0f} s of CPU")
    measure(mv.load(run), RunFolder(run), cohort, report, chosen.seed)
    (chosen.output / "results.txt").write_text("\n".join(report.lines).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
