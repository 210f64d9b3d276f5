"""Error of the Gaussian baseline alone for a scalar, cross-validated over the training subjects of finished runs.

python -m benchmarks.baseline runs/benchmark-ds000228/evidence-0 [...] [--target age]

The baseline and its components are fitted to four fifths of a run's training rows, and predict the target of the others
from all other variables, with network weight 0. For comparison, a ridge regression on the same codes. Validation and
test rows are not used.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV

import metavoxel as mv
from metavoxel.learning.latent_cache import LatentCache
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams
from metavoxel.storage.row_store import read_rows

FOLDS = 5


def training_codes(run: Path, model: mv.Model) -> dict[str, torch.Tensor]:
    """Return the codes of the training rows: those whose images have augmentations that differ from the first one."""
    stored = {name: read_rows(next((run / "cache").glob(f"{name}-codes-*"))) for name in model.names}
    means = {name: tensors["mean"] for name, tensors in stored.items() if tensors is not None}
    count = min(map(len, means.values()))  # scalars have one code a row
    banks = {}
    for name, mean in means.items():
        codes = mean.reshape(count, len(mean) // count, *mean.shape[1:])
        banks[name] = LatentCache(codes[:, 0].flatten(1).any(1), codes)
    augmentations = next(found.mean for found in banks.values() if found.mean.shape[1] > 1).flatten(2)
    rows = (augmentations[:, 1] != augmentations[:, 0]).any(1) & augmentations[:, 1].any(1)
    whole = rows & torch.stack([found.present for found in banks.values()]).all(0)
    return {name: found.mean[whole, 0] for name, found in banks.items()}


def errors(model: mv.Model, codes: dict[str, torch.Tensor], target: str) -> dict[str, float]:
    """Return squared errors over the variance of the rows that a method is fitted to."""
    count = len(codes[target])
    fold = torch.arange(count) % FOLDS
    inputs = torch.cat([code.flatten(1) for name, code in codes.items() if name != target], 1).double().numpy()
    found: dict[str, list[np.ndarray]] = {"Gaussian baseline": [], "ridge on the codes": []}
    for number in range(FOLDS):
        seen, asked = fold != number, fold == number
        model.joint.baseline.fit(
            {name: code[seen] for name, code in codes.items()},
            {name: torch.ones(int(seen.sum()), dtype=torch.bool) for name in codes},
        )
        model.joint.network_weights.zero_()
        given = {
            name: Evidence(code[asked], torch.ones(int(asked.sum()), 1, *code.shape[2:], dtype=torch.bool))
            for name, code in codes.items()
            if name != target
        }
        rng = row_streams(0, [f"row {row}" for row in asked.nonzero()[:, 0].tolist()], 0)
        predicted = posterior_mean(model.joint, given, rng, evaluations=1)[target][:, 0].double().numpy()
        truth, known = (codes[target][rows, 0].double().numpy() for rows in (asked, seen))
        ridge = RidgeCV(np.logspace(0, 5, 16)).fit(inputs[seen.numpy()], known).predict(inputs[asked.numpy()])
        for name, answer in zip(found, (predicted, ridge), strict=True):
            found[name].append((answer - truth) ** 2 / known.var())
    return {name: float(np.concatenate(squares).mean()) for name, squares in found.items()}


def main() -> None:
    """Print both errors for every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of this version, with their caches")
    parser.add_argument("--target", default="age", help="a scalar")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for run in arguments.runs:
        model = mv.load(run)
        found = errors(model, training_codes(run, model), arguments.target)
        print(f"{run}: " + "  ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
