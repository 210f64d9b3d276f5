import pytest
from tiny_cohorts import write_table


@pytest.fixture
def study(tmp_path):
    """Provide a folder with the table ``people.csv``."""
    write_table(tmp_path)
    return tmp_path
