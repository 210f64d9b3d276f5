"""Codes of images without training: what they keep of unseen images, and whether age is predicted from them as well.

python -m benchmarks.codecs [--output runs/benchmark-codecs] [--cohorts ds000228 phantoms]

Codecs fitted in closed form on the training rows of ds000228's example (4 mm, split 0) and of the demo's phantoms
(5 mm): peak signal-to-noise ratio of the test images, and the error of ridge regressions of age on voxels and on codes,
each tuned by leave-one-out on the training rows. Intervals are bootstrapped over test subjects.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from benchmarks.ds000228 import EXAMPLE, TABLE, with_split
from benchmarks.tables import markdown
from metavoxel.cli.demonstration import SCHEMA
from metavoxel.cohort.cohort import Cohort
from metavoxel.cohort.phantoms import PhantomSettings, write_phantom
from metavoxel.cohort.read import read_cohort
from metavoxel.evaluation.metrics.bootstrap import bootstrap_mean
from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec
from metavoxel.parts.codecs.local_pca import LocalPCASpec
from metavoxel.parts.codecs.wavelet import WaveletSpec
from metavoxel.schema import load_schema

CODECS: Mapping[str, AbstractCodecSpec] = {
    "`wavelet`, 2 levels": WaveletSpec(),
    "`local_pca`, 8, no overlap": LocalPCASpec(channels=8, overlap=False),
    "`local_pca`, 8": LocalPCASpec(channels=8),
    "`local_pca`, 16, no overlap": LocalPCASpec(channels=16, overlap=False),
    "`local_pca`, 16": LocalPCASpec(channels=16),
    "`local_pca`, 32, no overlap": LocalPCASpec(channels=32, overlap=False),
    "`local_pca`, 32": LocalPCASpec(channels=32),
}
PHANTOMS = 480
READ = 8
RIDGES = np.logspace(-6, 3, 37)
"""Ridges relative to the mean variance of a row."""


class Data(NamedTuple):
    """Images and ages of training and test rows; ``logarithm`` if the age is modelled by its logarithm."""

    train: Tensor
    test: Tensor
    train_age: np.ndarray
    test_age: np.ndarray
    logarithm: bool


def cohort_of(name: str, output: Path) -> tuple[Cohort, bool]:
    """Return a cohort with resampled images, and whether its ages are logarithmic."""
    if name == "ds000228":
        schema = with_split(load_schema(EXAMPLE / "schema.yaml"), 0, TABLE)
    else:
        folder = output / "phantoms"
        folder.mkdir(parents=True, exist_ok=True)
        for _ in write_phantom(folder / "cohort", PhantomSettings(subjects=PHANTOMS, spacing=5.0)):
            pass
        (folder / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
        schema = load_schema(folder / "schema.yaml")
    cohort = read_cohort(
        schema.specs, schema.cohort, folder=schema.folder, multiples=schema.multiples(), cache=output / "cache"
    )
    return cohort, name == "ds000228"


def data_of(cohort: Cohort, *, logarithm: bool) -> Data:
    """Return the images and ages of a cohort's training and test rows."""
    parts = [cohort.parts[part] for part in ("train", "test")]
    images = [cohort.columns["T1w"].read(rows) for rows in parts]
    ages = [cohort.columns["age"].read(rows).double().numpy() for rows in parts]
    return Data(images[0], images[1], ages[0], ages[1], logarithm)


def psnr(codec: AbstractCodec, images: Tensor) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each reconstruction (dB), of intensities in [0, 1]."""
    with torch.inference_mode():
        rebuilt = torch.cat([codec.decode(codec.encode(part).mean) for part in images.split(READ)])
    return np.asarray(-10 * np.log10((rebuilt.clip(0, 1) - images).square().flatten(1).mean(1).numpy()))


def ridge_errors(train: Tensor, test: Tensor, data: Data) -> np.ndarray:
    """Return the absolute errors of age of a ridge regression on all numbers of a code, in years.

    It depends on inner products of rows alone, so it is fitted to the rows' coordinates in the space that they span.
    """
    rows, others = (part.flatten(1).numpy() for part in (train, test))
    center = rows.mean(0)
    values, vectors = np.linalg.eigh(((rows - center) @ (rows - center).T).astype(np.float64))
    kept = values > 1e-6 * values[-1]
    scale = np.sqrt(values[kept])
    basis = (rows - center).T @ (vectors[:, kept] / scale).astype(np.float32)
    own, unseen = vectors[:, kept] * scale, ((others - center) @ basis).astype(np.float64)
    target = np.log(data.train_age) if data.logarithm else data.train_age
    model = RidgeCV(RIDGES * (own**2).sum() / len(own)).fit(own, target)
    found = model.predict(unseen)
    return np.asarray(np.abs((np.exp(found) if data.logarithm else found) - data.test_age))


def lines(data: Data) -> Iterator[list[str]]:
    """Yield a line of figures for every codec."""
    voxels = ridge_errors(data.train, data.test, data)
    yield ["voxels", "", "", "", str(bootstrap_mean(voxels)), ""]
    for name, spec in CODECS.items():
        codec = spec.build(tuple(data.train.shape[1:]))
        start = time.process_time()
        codec.fit(lambda: data.train.split(READ))
        seconds = time.process_time() - start
        kept = psnr(codec, data.test)
        with torch.inference_mode():
            train, test = (codec.encode(images).mean for images in (data.train, data.test))
        errors = ridge_errors(train, test, data)
        quality = f"{kept.mean():.1f} ± {kept.std(ddof=1):.1f}" if kept.mean() < 100 else "lossless"
        line = [name, str(codec.code_shape[0]), f"{seconds:.1f}", quality]
        yield [*line, str(bootstrap_mean(errors)), str(bootstrap_mean(errors - voxels))]


def main() -> None:
    """Measure, and print a table for each cohort."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-codecs"))
    parser.add_argument("--cohorts", nargs="+", choices=("ds000228", "phantoms"), default=["ds000228", "phantoms"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    header = ["code", "channels", "CPU seconds to fit", "PSNR of test images ± sd, dB"]
    for name in arguments.cohorts:
        cohort, logarithm = cohort_of(name, arguments.output)
        data = data_of(cohort, logarithm=logarithm)
        print(f"{name}: {len(data.train)} training and {len(data.test)} test images of {list(data.train.shape[2:])}")
        print(markdown([*header, "ridge on it: age, years", "less that on voxels"], list(lines(data))), flush=True)


if __name__ == "__main__":
    main()
