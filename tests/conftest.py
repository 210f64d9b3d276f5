"""Single-threaded tests with fixed seeds, and run-time checks of the package's shapes and types."""

import os
import random
import signal
import sys
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import settings

# Checks are installed before the package is imported.
sys.path.insert(0, str(Path(__file__).parent))
import typechecking

typechecking.install("metavoxel")

torch.set_num_threads(1)

# Facts about files of earlier tests, or of the user, are no part of a test.
os.environ["METAVOXEL_CACHE"] = ""

# Background jobs of a shell ignore SIGINT, which processes started by tests would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, without deadlines; with EXAMPLES=100, as in `make test-all`, more of them.
settings.register_profile(
    "fixed", derandomize=True, deadline=None, database=None, max_examples=int(os.environ.get("EXAMPLES", "40"))
)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed the global generators for third-party code; metavoxel uses keyed random streams."""
    typechecking.TESTS.count += 1
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
