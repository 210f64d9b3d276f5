"""Held-out slices, reconstructions, inpainting and draws of a model of slices, as one picture.

python -m benchmarks.slices RUN [--output docs/images/oasis2d.png]

RUN is a run of examples/oasis2d. Rows: held-out slices with their rating and its probability predicted from the slice;
their reconstructions by the autoencoder; their right half inpainted; new subjects; and one draw at increasing age, and
two at increasing rating, with other variables drawn.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

import metavoxel as mv
from metavoxel.inference.plot import Picture, Row, draw_sheet
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder

SHOWN = 6
AGES = (60, 67, 74, 81, 88, 95)
RATINGS = ("0", "0.5", "1")


def rows(model: mv.Model, run: Path) -> Iterator[Row]:
    """Yield the rows of the sheet."""
    table = part_table(model, RunFolder(run), "test")
    truth = table.frame["CDR"].to_numpy()
    chosen = [index for label in RATINGS for index in (truth == label).nonzero()[0][: SHOWN // len(RATINGS)]]
    cohort = model.read(table, ["axial"])
    slices = cohort.columns["axial"].read(chosen)
    probability = model.predict(table, "CDR", ["axial"])["CDR_p[0]"].astype(float).to_numpy()
    labels = [f"CDR {truth[index]}, p(ill) {1 - probability[index]:.2f}" for index in chosen]
    yield Row("held out", [Picture(image, caption) for image, caption in zip(slices, labels, strict=True)])
    with torch.inference_mode():
        codec = model.codecs["axial"]
        rebuilt = codec.decode(codec.encode(slices).mean)
    yield Row("reconstructed", [Picture(image, "") for image in rebuilt])
    known = torch.zeros(slices.shape[1:], dtype=torch.bool)
    known[:, : known.shape[1] // 2] = True
    filled = [model.sample(1, {"axial": image}, {"axial": known}, seed=1)["axial"][0] for image in slices]
    yield Row("right half\ninpainted", [Picture(image, "") for image in filled])
    new = model.sample(SHOWN, seed=1)
    captions = [
        f"{age:.0f} y, {'FM'[int(sex)]}, CDR {RATINGS[int(rating)]}"
        for age, sex, rating in zip(new["age"], new["sex"], new["CDR"], strict=True)
    ]
    yield Row("new subjects", [Picture(image, text) for image, text in zip(new["axial"], captions, strict=True)])
    yield Row("one draw,\nolder", [drawn(model, 3, age=age) for age in AGES])
    yield Row("two draws,\nrated higher", [drawn(model, seed, CDR=label) for seed in (4, 5) for label in RATINGS])


def drawn(model: mv.Model, seed: int, **given: object) -> Picture:
    """Draw a slice given some values."""
    return Picture(model.sample(1, given, seed=seed)["axial"][0], ", ".join(f"{k} {v}" for k, v in given.items()))


def main() -> None:
    """Predict, and draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/images/oasis2d.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draw_sheet(list(rows(mv.load(arguments.run), arguments.run)), arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    main()
