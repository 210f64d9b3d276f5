"""Every test runs single-threaded, from fixed seeds, with the package's shapes and types checked at run time."""

import random
import signal
import sys
from pathlib import Path

import jaxtyping
import numpy
import pytest
import torch
from hypothesis import settings

# The hook names its type checker by an import path, and has to be there before the package is.
sys.path.insert(0, str(Path(__file__).parent))
assert "metavoxel.typing" not in sys.modules, "metavoxel was imported before its type checks were installed"
jaxtyping.install_import_hook("metavoxel", "typechecking.checked")

torch.set_num_threads(1)

# Background jobs of a shell start with Ctrl-C ignored, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, however slow the machine.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """For code of others that draws from global generators; metavoxel's own draws have keys."""
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
