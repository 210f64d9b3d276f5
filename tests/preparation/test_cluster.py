import pytest

from metavoxel.errors import RunError
from metavoxel.preparation.cluster import on_slurm

submitit = pytest.importorskip("submitit", reason="needs submitit")


@pytest.mark.slow
def test_results_come_in_order(tmp_path):
    assert list(on_slurm(abs, [-1, 2, -3], tmp_path, {"cluster": "local", "timeout_min": 1})) == [1, 2, 3]


def test_a_machine_without_slurm(tmp_path):
    with pytest.raises(RunError, match="jobs cannot be submitted"):
        list(on_slurm(abs, [1], tmp_path, {}))
