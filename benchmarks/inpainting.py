"""Inpainting of half an image: leakage of the hole into the code of the known half, and errors of the filled hole.

python -m benchmarks.inpainting RUN [--image T1w] [--draws 8]

The right half of each test image is masked. An autoencoder's code is not local: the code of known cells depends on the
hole too (MetaVoxel inpaints in code space). Measured are the change of the known cells' code when the hole has other
data, for the plain code and for ``encode_partial``; the distance of the latter from the code of the whole image; and
the error of holes filled by draws, compared with the autoencoder's reconstruction error.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import metavoxel as mv
from benchmarks.tables import figure, markdown, publish
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.runs.part import part_table
from metavoxel.runs.run import RunFolder


def code_distance(
    first: Float[Tensor, "b c *s"], second: Float[Tensor, "b c *s"], cells: Bool[Tensor, "b 1 *s"]
) -> float:
    """Return the root mean squared distance of two codes over some cells, in standard deviations of the code."""
    away = ((first - second) / first.std(0, keepdim=True).mean()).square()
    return float(away[cells.expand_as(away)].mean().sqrt())


def psnr(found: Tensor, truth: Tensor, cells: Bool[Tensor, "*d"]) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each image (dB) over some voxels, with intensities in [0, 1]."""
    return (-10 * (found.clamp(0, 1) - truth)[:, cells].square().mean(1).log10()).numpy()


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--image", default="T1w")
    parser.add_argument("--draws", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, folder, name = mv.load(arguments.run), RunFolder(arguments.run), arguments.image
    parts = {part: model.read(part_table(model, folder, part), [name]).columns[name] for part in ("train", "test")}
    images, others = (parts[part].read(range(len(parts[part].cells))) for part in ("test", "train"))
    others = others[: len(images)]
    codec = model.codecs[name]
    known = torch.zeros(images.shape[1:], dtype=torch.bool)
    known[:, : images.shape[2] // 2] = True
    inside = model.schema.variables[name].spec.inside(str(parts["test"].cells[0]))
    hole = ~known & inside
    mask = known.expand_as(images)
    with torch.inference_mode():
        whole = codec.encode(images).mean
        partial, trusted = codec.encode_partial(images, mask)
        swapped, emptied = (torch.where(mask, images, filling) for filling in (others, torch.zeros(())))
        beside = torch.zeros_like(trusted)
        beside[:, :, : whole.shape[2] // 2] = True
        leak = {
            "plain code, another subject in the hole": code_distance(whole, codec.encode(swapped).mean, trusted),
            "plain code, zeros in the hole": code_distance(whole, codec.encode(emptied).mean, trusted),
            "plain code, another subject in the hole, cells beside it too": code_distance(
                whole, codec.encode(swapped).mean, beside
            ),
            "encode_partial, another subject in the hole": code_distance(
                partial.mean, codec.encode_partial(swapped, mask)[0].mean, trusted
            ),
            "encode_partial from the code of the whole image": code_distance(whole, partial.mean, trusted),
        }
        rebuilt = codec.decode(whole)
    filled, drawn = [], []
    for place, image in enumerate(images):
        draws = model.sample(arguments.draws, {name: image}, {name: known}, seed=place)[name]
        assert torch.equal(draws[:, known], image.expand_as(draws)[:, known]), "known voxels are not returned exactly"
        drawn.append(draws[0])
        filled.append(draws.mean(0))
        print(f"subject {place + 1} of {len(images)}", flush=True)
    mean = parts["train"].read(range(len(parts["train"].cells))).mean(0)
    quality = {
        "reconstruction by the autoencoder": rebuilt,
        f"mean of {arguments.draws} draws": torch.stack(filled),
        "one draw": torch.stack(drawn),
        "mean training image": mean.expand_as(images),
    }
    picture, axes = figure(4)
    shown = {"given": torch.where(known, images[0], 0.0), "one draw": drawn[0], "mean of the draws": filled[0]}
    for axis, (label, image) in zip(axes, {**shown, "truth": images[0]}.items(), strict=True):
        axis.imshow(np.rot90(image[0, ..., image.shape[-1] // 2]), cmap="gray", vmin=0, vmax=1)
        axis.set(title=label)
        axis.set_axis_off()
    page = publish(
        "inpainting",
        "Inpainting of half an image",
        [
            f"{len(images)} test subjects, the right half of each image masked; "
            f"{float(trusted[0].float().mean()):.0%} of the code's cells are far enough from the hole to be taken as "
            "known. `python -m benchmarks.inpainting RUN`",
            "Change of the code of these cells, in standard deviations of the code (root mean square). Plain codes of "
            "the known half depend on the hole. Those of `encode_partial`, which training uses too, do not, but they "
            "differ from the code of the whole image:",
            markdown(["code", "change"], [[label, f"{value:.3f}"] for label, value in leak.items()]),
            "Peak signal-to-noise ratio (dB) over the voxels of the hole:",
            markdown(
                ["filled by", "PSNR"],
                [[label, str(bootstrap_mean(psnr(found, images, hole)))] for label, found in quality.items()],
            ),
        ],
        picture,
    )
    print(page)


if __name__ == "__main__":
    main()
