"""Image quality of generated or reconstructed scans, compared with held-out scans."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.errors import EvidenceError, Problem
from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.metrics import distance
from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures
from metavoxel.evaluation.metrics.similarity import Copying, ms_ssim, pairs, psnr, ssim
from metavoxel.evaluation.slices import Cut, cut, features_of

PAIRS = 60
"""Pairs of scans in a mean MS-SSIM."""

Images = Callable[[], Iterator[Float[Tensor, "1 *s"]]]
"""Returns a new iterator over scans at every call, so that they are never all in memory."""

Measures = dict[str, Any]
"""Measures by name, JSON serialisable."""


def fewest(where: Cut, network: AbstractImageFeatures) -> int:
    """Smallest number of scans for a Fréchet distance."""
    return distance.fewest_volumes(where.fewest, network.size)


def too_few(image: str, where: Cut, network: AbstractImageFeatures, counts: Mapping[str, int]) -> str:
    """Reason why sets of these sizes have no Fréchet distance; empty where they have one."""
    needed = fewest(where, network)
    short = [f"{count} {kind}" for kind, count in counts.items() if count < needed]
    if not short:
        return ""
    return (
        f"image {image}: no FID with {' and '.join(short)} scans. It needs at least {needed} of each: the covariance "
        f"of {network.size} features needs {network.size + 1} slices, and a scan has {where.fewest} per plane. KID, "
        "precision and recall need no covariance"
    )


def check_enough(held_out: HeldOut, network: AbstractImageFeatures, samples: int) -> None:
    """Check that a Fréchet distance can be computed for every image variable.

    Raises:
        EvidenceError: too few held-out or generated scans for the covariance of the features.
    """
    problems = []
    for name in held_out.images:
        real = len(held_out.rows(name))
        if real:
            counts = {"held-out": real, "generated": samples}
            why = too_few(name, cut(held_out.scans(name)), network, counts)
            problems += [Problem("`features`", f"{why}: omit `features` to skip FID")] if why else []
    if problems:
        raise EvidenceError(problems)


@final
class ImageQuality:
    """Image quality measures of one image variable.

    Args:
        held_out: the test part.
        name: name of the image variable.
        network: feature network of slices.
        seed: seed of bootstraps and pairs.
    """

    def __init__(self, held_out: HeldOut, name: str, network: AbstractImageFeatures, seed: int) -> None:
        self._held_out, self.name, self._network, self._seed = held_out, name, network, seed
        self.rows = held_out.rows(name)
        self.cut = cut(self.real())
        self.planes = features_of(self.real(), self.cut, network)

    def too_few(self, count: int) -> str:
        """Reason why ``count`` generated scans have no Fréchet distance; empty where they have one."""
        return too_few(self.name, self.cut, self._network, {"held-out": len(self.rows), "generated": count})

    def real(self) -> Iterator[Float[Tensor, "1 *s"]]:
        """The held-out scans."""
        return self._held_out.scans(self.name)

    def rebuilt(self) -> Iterator[Float[Tensor, "1 *s"]]:
        """Reconstructions of the held-out scans by the codec."""
        model = self._held_out.model
        codec = model.codecs[self.name]
        with torch.inference_mode():
            for image in self.real():
                yield codec.decode(codec.encode(image[None].to(model.device)).mean)[0].cpu()

    def measure(self, images: Images, count: int) -> Measures:
        """Distances between a set of scans and the held-out ones, and the diversity of the set."""
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
        """Compare two random halves of the held-out scans: the measures of a perfect model at this sample size."""
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
        """Mean MS-SSIM over pairs of scans."""
        chosen = pairs(count, PAIRS, seed=self._seed)
        wanted = {index for pair in chosen for index in pair}
        held = {index: image for index, image in enumerate(images()) if index in wanted}
        return float(np.mean([ms_ssim(held[first], held[second]) for first, second in chosen]))


def copying(generated: Copying, held_out: Copying) -> Measures:
    """Compare generated with held-out scans by their distances to the nearest training subjects.

    'nearer' is the share of generated scans whose distance is below the 5 % quantile of held-out scans. 'alike' is the
    same share for the ratio of the distances to the nearest and the second nearest training subject. Both are about .05
    without copying. Smooth scans near the mean image are near all subjects, so only 'alike' indicates copies.
    """
    return {
        "median": float(np.median(generated.distance)),
        "held_out": float(np.median(held_out.distance)),
        "nearer": float(np.mean(generated.distance < np.quantile(held_out.distance, 0.05))),
        "alike": float(np.mean(generated.ratio < np.quantile(held_out.ratio, 0.05))),
        "ratio": float(np.median(generated.ratio)),
    }
