"""Feature networks by their command-line names."""

from pathlib import Path

import torch

from metavoxel.errors import Problem, RunError
from metavoxel.evaluation.metrics.features.base import AbstractImageFeatures
from metavoxel.evaluation.metrics.features.radimagenet import RadImageNet
from metavoxel.evaluation.metrics.features.scattering import Scattering

HUB_FILE = "RadImageNet-ResNet50_notop.pth"
"""File name of the weights in the torch.hub cache."""


def choose_features(name: str) -> AbstractImageFeatures:
    """Build ``scattering``; ``radimagenet``, with weights from the torch.hub cache; or RadImageNet from a weights file.

    Nothing is downloaded, and no downloaded code is run.

    Raises:
        RunError: weights that are missing or do not fit.
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
                "then run again, or pass the file: `features=FILE`"
            )
            raise RunError(Problem("`features=radimagenet`", what))
        return RadImageNet(found)
    return RadImageNet(Path(name))
