"""What a model of slices sees and draws, as one picture.

python -m benchmarks.slices RUN [--output docs/images/oasis2d.png]

RUN is a run of examples/oasis2d. Rows: held-out slices with their rating and what the model says of it from the slice
alone; the same rebuilt by the autoencoder; their right half filled in; new people, and one draw at rising age and at
rising rating, all else being drawn.
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
    """The rows of the sheet."""
    table = part_table(model, RunFolder(run), "test")
    truth = table.frame["CDR"].to_numpy()
    asked = [index for label in RATINGS for index in (truth == label).nonzero()[0][: SHOWN // len(RATINGS)]]
    cohort = model.read(table, ["axial"])
    slices = cohort.columns["axial"].read(asked)
    said = model.predict(table, "CDR", ["axial"])["CDR_p[0]"].astype(float).to_numpy()
    told = [f"CDR {truth[index]}, p(ill) {1 - said[index]:.2f}" for index in asked]
    yield Row("held out", [Picture(image, caption) for image, caption in zip(slices, told, strict=True)])
    with torch.inference_mode():
        codec = model.codecs["axial"]
        rebuilt = codec.decode(codec.encode(slices).mean)
    yield Row("rebuilt", [Picture(image, "") for image in rebuilt])
    known = torch.zeros(slices.shape[1:], dtype=torch.bool)
    known[:, : known.shape[1] // 2] = True
    filled = [model.sample(1, {"axial": image}, {"axial": known}, seed=1)["axial"][0] for image in slices]
    yield Row("right half\nfilled in", [Picture(image, "") for image in filled])
    new = model.sample(SHOWN, seed=1)
    captions = [
        f"{age:.0f} y, {'FM'[int(sex)]}, CDR {RATINGS[int(rating)]}"
        for age, sex, rating in zip(new["age"], new["sex"], new["CDR"], strict=True)
    ]
    yield Row("new people", [Picture(image, told) for image, told in zip(new["axial"], captions, strict=True)])
    yield Row("one draw,\nolder", [drawn(model, 3, age=age) for age in AGES])
    yield Row("two draws,\nrated higher", [drawn(model, seed, CDR=label) for seed in (4, 5) for label in RATINGS])


def drawn(model: mv.Model, seed: int, **given: object) -> Picture:
    """A slice drawn for something."""
    return Picture(model.sample(1, given, seed=seed)["axial"][0], ", ".join(f"{k} {v}" for k, v in given.items()))


def main() -> None:
    """Ask, and draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/images/oasis2d.png"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    draw_sheet(list(rows(mv.load(asked.run), asked.run)), asked.output)
    print(asked.output)


if __name__ == "__main__":
    main()
