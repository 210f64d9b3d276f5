"""Arguments from Python: counts and seeds."""

import numpy as np
import pytest

from metavoxel.errors import EvidenceError
from metavoxel.inference.arguments import count_problems, whole_seed


@pytest.mark.parametrize("seed", [3, np.int64(3), -1])
def test_a_seed_is_a_plain_integer(seed):
    assert type(whole_seed(seed)) is int and whole_seed(seed) == seed


@pytest.mark.parametrize("seed", [1.5, 2.0, "7", None, True, (1, 2)])
def test_other_seeds_are_refused(seed):
    with pytest.raises(EvidenceError, match="seed: must be a whole number, not "):
        whole_seed(seed)


def test_all_counts_are_checked():
    found = count_problems(n=(0, 1), draws=(2.5, 0), steps=(None, 1), rows=(True, 0), samples=(3, 1))
    assert [str(problem) for problem in found] == [
        "n: must be at least 1, not 0",
        "draws: must be a whole number, not 2.5",
        "rows: must be a whole number, not True",
    ]
