"""Feature networks by the names that the command line has for them."""

from pathlib import Path

import torch

from metavoxel.errors import Problem, RunError
from metavoxel.evaluation.metrics.features.base import AbstractFeatures
from metavoxel.evaluation.metrics.features.radimagenet import RadImageNet
from metavoxel.evaluation.metrics.features.scattering import Scattering

HUB_FILE = "RadImageNet-ResNet50_notop.pth"
"""What torch.hub calls the weights that it has fetched."""


def choose_features(name: str) -> AbstractFeatures:
    """``scattering``; ``radimagenet``, whose weights torch.hub has fetched before; or a file of these weights.

    Nothing is fetched here, and no fetched code is run.

    Raises:
        RunError: weights that are not there, or do not fit.
    """
    if name == "scattering":
        return Scattering()
    if name == "radimagenet":
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        found = folder / HUB_FILE
        if not found.is_file():
            what = (
                f"torch.hub has not fetched the weights ({folder} has no {HUB_FILE}). On a machine with a network: "
                'python -c \'import torch; torch.hub.load("Warvito/radimagenet-models", "radimagenet_resnet50")\', '
                "and then again, or give the file itself: --features FILE"
            )
            raise RunError(Problem("--features radimagenet", what))
        return RadImageNet(found)
    return RadImageNet(Path(name))
