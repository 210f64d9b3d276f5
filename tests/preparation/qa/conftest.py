from pathlib import Path

import pytest
from rated_derivatives import write_derivative


@pytest.fixture
def derivative(tmp_path) -> Path:
    return write_derivative(tmp_path / "prepared")
