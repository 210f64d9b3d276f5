import pytest
import torch
from tiny_cohorts import write_table


@pytest.fixture(autouse=True)
def own_denormals():
    """Training turns denormal numbers off for the whole process; the tests after it want them back."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def study(tmp_path):
    """A folder with ``people.csv``."""
    write_table(tmp_path)
    return tmp_path
