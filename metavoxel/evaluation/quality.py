"""Image quality: scans, generated or rebuilt, beside the held-out ones."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.metrics import distance
from metavoxel.evaluation.metrics.features.base import AbstractFeatures
from metavoxel.evaluation.metrics.similarity import Copying, ms_ssim, pairs, psnr, ssim
from metavoxel.evaluation.slices import Cut, cut, features_of

PAIRS = 60
"""Pairs of scans behind a mean MS-SSIM."""

Images = Callable[[], Iterator[Float[Tensor, "1 *s"]]]
"""Scans, from the first again at every call; never all in memory."""

Measures = dict[str, Any]
"""Figures by name, as JSON holds them."""


def fewest(where: Cut, network: AbstractFeatures) -> int:
    """The smallest number of scans that a Fréchet distance is taken of."""
    return distance.fewest_volumes(where.fewest, network.size)


def too_few(image: str, where: Cut, network: AbstractFeatures, counts: Mapping[str, int]) -> str:
    """Why there is no Fréchet distance between sets of so many scans, in words; nothing where there is one."""
    needed = fewest(where, network)
    short = [f"{count} {kind}" for kind, count in counts.items() if count < needed]
    if not short:
        return ""
    return (
        f"image {image}: no FID with {' and '.join(short)} scans. It takes at least {needed} of each: the covariance "
        f"of {network.size} features needs {network.size + 1} slices, and a scan has {where.fewest} of a plane. KID, "
        "precision and recall need no covariance"
    )


def check_enough(held_out: HeldOut, network: AbstractFeatures, samples: int) -> None:
    """Make sure that every image variable will have a Fréchet distance.

    Raises:
        EvidenceError: too few held-out scans, or too few that are to be generated, for the covariance of the features.
    """
    problems = []
    for name in held_out.images:
        real = len(held_out.rows(name))
        if real:
            counts = {"held-out": real, "generated": samples}
            why = too_few(name, cut(held_out.scans(name)), network, counts)
            problems += [Problem("--features", f"{why}: leave --features out to go without FID")] if why else []
    if problems:
        raise EvidenceError(problems)


@final
class ImageQuality:
    """What is measured of the scans of one image variable.

    Args:
        held_out: the test part.
        name: of the image variable.
        network: that describes slices.
        seed: of resamplings and pairs.
    """

    def __init__(self, held_out: HeldOut, name: str, network: AbstractFeatures, seed: int) -> None:
        self._held_out, self.name, self._network, self._seed = held_out, name, network, seed
        self.rows = held_out.rows(name)
        self.cut = cut(self.real())
        self.planes = features_of(self.real(), self.cut, network)

    def too_few(self, count: int) -> str:
        """Why there is no Fréchet distance to so many generated scans, in words; nothing where there is one."""
        return too_few(self.name, self.cut, self._network, {"held-out": len(self.rows), "generated": count})

    def real(self) -> Iterator[Float[Tensor, "1 *s"]]:
        """The held-out scans."""
        return self._held_out.scans(self.name)

    def rebuilt(self) -> Iterator[Float[Tensor, "1 *s"]]:
        """The held-out scans through the codec and back."""
        model = self._held_out.model
        codec = model.codecs[self.name]
        with torch.inference_mode():
            for image in self.real():
                yield codec.decode(codec.encode(image[None].to(model.device)).mean)[0].cpu()

    def measure(self, images: Images, count: int) -> Measures:
        """Distances between a set of scans and the held-out ones, and how unlike each other they are."""
        planes = features_of(images(), self.cut, self._network)
        found: Measures = {"scans": count, "fid": None, "planes": None}
        if not self.too_few(count):
            found["fid"] = list(distance.fid(planes, self.planes, seed=self._seed))
            each = distance.frechet_of_planes(planes, self.planes)
            found["planes"] = dict(zip(self.cut.planes, each, strict=True))
        if count > 1 and len(self.rows) > 1:
            vectors, real = (distance.volume_vectors(each, self.planes) for each in (planes, self.planes))
            found["kid"] = distance.kernel_distance(vectors, real)
            spread = distance.precision_recall(vectors, real)
            found |= {"precision": spread.precision, "recall": spread.recall}
            found["ms_ssim"] = self._diversity(images, count)
        return found

    def halves(self) -> Measures:
        """One half of the held-out scans beside the other: what a model that is right would show at this number."""
        order = np.random.default_rng(self._seed).permutation(len(self.rows))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        found: Measures = {"scans": len(second), "fid": None}
        if len(first) >= fewest(self.cut, self._network):
            parts = ([plane[rows] for plane in self.planes] for rows in (first, second))
            found["fid"] = list(distance.fid(*parts, seed=self._seed))
        if len(first) > 1:
            vectors, real = (
                distance.volume_vectors([plane[rows] for plane in self.planes], self.planes) for rows in (second, first)
            )
            spread = distance.precision_recall(vectors, real)
            found |= {"kid": distance.kernel_distance(vectors, real)}
            found |= {"precision": spread.precision, "recall": spread.recall}
            found["ms_ssim"] = self._diversity(self.real, len(self.rows))
        return found

    def codec(self) -> Measures:
        """Peak signal-to-noise ratio and structural similarity of each held-out scan's reconstruction."""
        inside = self._held_out.inside(self.name)
        both = zip(self.rebuilt(), self.real(), strict=True)
        found = [(psnr(image, truth, inside), ssim(image, truth)) for image, truth in both]
        return {"psnr": [one[0] for one in found], "ssim": [one[1] for one in found]}

    def _diversity(self, images: Images, count: int) -> float:
        """Mean MS-SSIM over pairs of a set."""
        chosen = pairs(count, PAIRS, seed=self._seed)
        wanted = {index for pair in chosen for index in pair}
        held = {index: image for index, image in enumerate(images()) if index in wanted}
        return float(np.mean([ms_ssim(held[first], held[second]) for first, second in chosen]))


def copying(generated: Copying, held_out: Copying) -> Measures:
    """How much nearer to training subjects generated scans lie than held-out people do.

    'nearer' is the share of generated scans that are nearer to somebody than all but 5 % of held-out people. 'alike' is
    the share whose distance to the nearest training subject is less of that to the second nearest than it is for all
    but 5 % of held-out people. Both are about .05 where nothing is copied. Smooth scans near the mean image lie near
    everybody, so only the second tells a copy.
    """
    return {
        "median": float(np.median(generated.distance)),
        "held_out": float(np.median(held_out.distance)),
        "nearer": float(np.mean(generated.distance < np.quantile(held_out.distance, 0.05))),
        "alike": float(np.mean(generated.ratio < np.quantile(held_out.ratio, 0.05))),
        "ratio": float(np.median(generated.ratio)),
    }
