"""Pictures of discs, and codecs trained on them."""

import numpy as np
import pytest
import torch

from metavoxel.rng import Rng


@pytest.fixture(scope="session")
def discs():
    """Draw discs of one of two intensities, at random places."""

    def drawn(rows, seed=0, size=16):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size]
        images = [
            random.choice([0.3, 1.0]) * (np.hypot(x - random.uniform(4, 12), y - random.uniform(4, 12)) < 4)
            for _ in range(rows)
        ]
        return torch.tensor(np.array(images), dtype=torch.float32)[:, None]

    return drawn


@pytest.fixture(scope="session")
def trained():
    """Train the codec of some settings."""

    def after(spec, data):
        torch.manual_seed(0)
        codec = spec.build(tuple(data.shape[1:]))
        codec.prepare(lambda: [data])
        optimiser = torch.optim.AdamW(codec.parameters(), 3e-3)
        for step in range(300):
            loss = sum(codec.losses(data, rng=Rng.for_rows(len(data), f"step {step}")).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        codec.fit(lambda: [data])
        return codec.eval()

    return after
