"""Train on pictures with reports, and compare facts of drawn reports and pictures with the truth.

python examples/reports/run.py OUTPUT [--subjects 6000] [--steps 14000] [--seed 0]

The folder OUTPUT gets the phantom cohort, the run and results.txt. A cohort or run that is there is used again.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas
import torch
import yaml
from facts import GAP, Filled, Report, Stopwatch, all_right, facts_in, facts_of, gap_of, read_subjects
from jaxtyping import Float64
from PIL import Image

import metavoxel as mv
from metavoxel.cohort.phantoms.reports import Facts, read_report_truth
from metavoxel.cohort.phantoms.reports.drawing import BRAIN
from metavoxel.inference.answer import Answer
from metavoxel.inference.model import Model
from metavoxel.runs.run import RunFolder
from metavoxel.sampling.sample import row_streams, sample_codes

SCHEMA = Path(__file__).parent / "schema.yaml"
STEPS = 24
"""Evaluations of a draw: one for each token of a report."""
CALIBRATED, DRAWS, JOINT = 50, 20, 100
"""Rows and draws of the calibration, and rows drawn without any evidence."""


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


def filled(model: Model, rows: pandas.DataFrame, cohort: Path, seed: int) -> Filled:
    """Draw the words in the gap of each report given its picture and the other words.

    The evidence is that of ``model.sample`` with ``[MASK]`` for each word of the gap, of all rows at once.
    """
    read = model.read(rows, ["image", "report"], folder=cohort)
    given = model.evidence_of(read, ["image", "report"])
    report = given["report"]
    given["report"] = report._replace(known=report.known & ~gap_of(report.code[:, 0])[:, None])
    others = [name for name in model.names if name not in given]
    streams, sampling = row_streams(seed, read.row_keys, 0), model.default_sampling(steps=STEPS)
    drawn = sample_codes(model.joint, given, streams, sampling, marginal=others)
    return Filled(drawn["report"][:, 0], report.code[:, 0])


def measure(model: Model, run: RunFolder, cohort: Path, report: Report, seed: int) -> None:
    """Draw reports and pictures of the test part, and add the results."""
    truth = read_report_truth(cohort).table.set_index("participant_id")
    train, _, test = read_subjects(run, cohort)
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

    def right(found: Sequence[Facts | None]) -> list[bool]:
        return all_right(found, facts)

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

    report.heading(f"image, and the words around a gap of {GAP} -> the gap")
    report.filled("model, one draw", model, filled(model, test, cohort, seed), facts)

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
    report.share(f"model, {len(texts)} draws", all_right(texts, images))

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
    parser.add_argument("--steps", type=int, help="training steps, by default those of schema.yaml")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    cohort, run, report = chosen.output / "cohort", chosen.output / "run", Report()
    mv.phantom(cohort, reports=True, subjects=chosen.subjects, progress=True)
    schema = SCHEMA.read_text(encoding="utf-8")
    if chosen.steps is not None:
        raw = yaml.safe_load(schema)
        raw["training"]["steps"] = chosen.steps
        schema = yaml.safe_dump(raw, sort_keys=False)
    (cohort / "schema.yaml").write_text(schema, encoding="utf-8")
    watch = Stopwatch()
    if not (run / "model.safetensors").exists():
        mv.train(cohort / "schema.yaml", run, progress=True)
        report.heading(f"trained in {watch}")
    measure(mv.load(run), RunFolder(run), cohort, report, chosen.seed)
    report.write(chosen.output / "results.txt")


if __name__ == "__main__":
    main()
