"""Every set of scans of every image variable, measured and kept as it comes."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from metavoxel.errors import RunError
from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.method import Method
from metavoxel.evaluation.metrics.bootstrap import Estimate, bootstrap_mean
from metavoxel.evaluation.metrics.features.base import AbstractFeatures
from metavoxel.evaluation.metrics.similarity import nearest
from metavoxel.evaluation.quality import ImageQuality, Images, Measures, copying
from metavoxel.evaluation.report.table import Cell, Figures
from metavoxel.evaluation.samples import Samples, read_samples, sample_files, sample_images
from metavoxel.evaluation.settings import FEWEST_SAMPLES, Settings
from metavoxel.evaluation.slices import PRESET
from metavoxel.evaluation.store import Store
from metavoxel.runs.part import subject_table
from metavoxel.runs.progress import Progress

AUTOENCODER = "autoencoder alone"
HALVES = "held-out halves"


@final
@dataclass(frozen=True, eq=False)
class Judged:
    """Image quality of a run.

    Attributes:
        measures: by image variable and row: a method's name, ``AUTOENCODER`` or ``HALVES``.
        codec: by image variable, figures of each held-out scan's reconstruction.
        notes: what could not be measured, and why.
    """

    measures: dict[str, dict[str, Measures]] = field(default_factory=dict)
    codec: dict[str, Measures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fid(self) -> dict[str, dict[str, Estimate]]:
        """By method and image variable, where there is one."""
        found: dict[str, dict[str, Estimate]] = {}
        for image, rows in self.measures.items():
            for method, measures in rows.items():
                if measures.get("fid") and method not in (AUTOENCODER, HALVES):
                    found.setdefault(method, {})[image] = Estimate(*measures["fid"])
        return found

    def table(self, image: str) -> Figures:
        """One row a set of scans."""
        rows: list[Mapping[str, Cell]] = []
        for method, found in self.measures[image].items():
            copies = found.get("copying") or {}
            planes = found.get("planes") or {}
            rows.append({
                "scans": method, "number": found["scans"],
                "FID": Estimate(*found["fid"]) if found.get("fid") else None,
                **{f"FID {plane}": value for plane, value in planes.items() if len(planes) > 1},
                "KID": found.get("kid"), "precision": found.get("precision"), "recall": found.get("recall"),
                "MS-SSIM of pairs": found.get("ms_ssim"),
                "distance to the nearest training subject": copies.get("median"),
                "its ratio to the second nearest": copies.get("ratio"),
                "share alike one training subject": copies.get("alike"),
            })  # fmt: skip
        return Figures(rows)

    def codec_table(self) -> Figures:
        """What the autoencoder loses, one row an image variable."""
        measures = {"PSNR (dB)": "psnr", "SSIM": "ssim"}
        return Figures([
            {"image": image, **{name: bootstrap_mean(np.array(found[key])) for name, key in measures.items()}}
            for image, found in self.codec.items()
        ])  # fmt: skip


def judging(
    held_out: HeldOut,
    own: Samples,
    methods: Sequence[Method],
    network: AbstractFeatures,
    settings: Settings,
    store: Store,
) -> Generator[Progress, None, Judged]:
    """Measure every image variable's sets of scans, by method. Yields after each set.

    A set that cannot be read leaves a note, and the others' figures.

    Args:
        held_out: the test part.
        own: scans that the joint model, the first of the methods, generated.
        methods: of which some have scans.
        network: that describes slices.
        settings: of the evaluation.
        store: what was measured before.
    """
    judged = Judged()
    sets = _sets(own, methods, judged.notes)
    for name in held_out.images:
        if not held_out.present(name).any():
            judged.notes.append(f"image {name}: no test row has one")
            continue
        quality = ImageQuality(held_out, name, network, settings.seed)
        spec, rows = held_out.spec(name), judged.measures.setdefault(name, {})
        scans: dict[str, Images] = {AUTOENCODER: quality.rebuilt}
        counts = {AUTOENCODER: len(quality.rows)}
        files: dict[str, list[Path]] = {}
        for method, samples in sets.items():
            files[method] = sample_files(samples, name, settings.samples)
            if files[method] and len(files[method]) < settings.samples:
                what = f"{len(files[method])} generated scans where the joint model has {settings.samples}"
                judged.notes.append(f"{method}: {what}; distances between sets of unlike numbers do not compare")
            if len(files[method]) >= FEWEST_SAMPLES:
                scans[method] = partial(sample_images, files[method], spec)
                counts[method] = len(files[method])
        for method in [*(each for each in scans if each != AUTOENCODER), AUTOENCODER]:
            key = {"image": name, "method": method, "network": network.name, "preset": PRESET, "seed": settings.seed}
            path = store.path(f"quality-{name}-{method}", key | {"files": _state(files.get(method, ()))})
            found = store.read(path)
            try:
                if found is None:
                    found = quality.measure(scans[method], counts[method])
                    store.write(path, found)
                rows[method] = found
                why = quality.too_few(counts[method]) if method != AUTOENCODER else ""
                judged.notes.extend([why] if why and why not in judged.notes else [])
            except RunError as error:
                judged.notes.append(f"{method}: {error}")
                scans.pop(method)
            yield Progress(f"quality {name}", len(rows), len(counts), {})
        rows[HALVES] = quality.halves()
        judged.codec[name] = quality.codec()
        if settings.copies:
            yield from _copies(held_out, quality, scans, rows)
    return judged


def _sets(own: Samples, methods: Sequence[Method], notes: list[str]) -> dict[str, Samples]:
    """Generated scans by method; what cannot be read is noted."""
    sets = {methods[0].name: own}
    for method in methods[1:]:
        if method.samples is not None:
            try:
                sets[method.name] = read_samples(method.samples)
            except RunError as error:
                notes.append(f"{method.name}: {error}")
    return sets


def _copies(
    held_out: HeldOut, quality: ImageQuality, scans: Mapping[str, Images], rows: dict[str, Measures]
) -> Iterator[Progress]:
    """Distances to the training subjects: the one place where their images are read."""
    model, name = held_out.model, quality.name
    cohort = model.read(subject_table(model, held_out.folder, "train"), [name])
    column, inside = cohort.columns[name], held_out.inside(name)
    present = column.present.nonzero()[:, 0].tolist()

    def training() -> Iterator[Any]:
        for row in present:
            yield column.read([row])[0]

    found = {}
    for done, (method, images) in enumerate(scans.items(), start=1):
        found[method] = nearest(list(images()), training(), inside)
        yield Progress(f"nearest training {name}", done, len(scans), {})
    for method, near in found.items():
        rows[method]["copying"] = copying(near, found[AUTOENCODER])


def _state(files: Sequence[Path]) -> list[object]:
    """What tells whether files are those of an earlier call."""
    return [
        [file.name, *([(stat := file.stat()).st_size, stat.st_mtime_ns] if file.exists() else [])] for file in files
    ]
