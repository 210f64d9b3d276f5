import pytest
from tiny_cohorts import TABLE, write_schema, write_table
from tiny_runs import train


@pytest.fixture
def study(tmp_path):
    """Provide a folder with the table ``people.csv``."""
    write_table(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """Provide a schema, its uninterrupted run, and the events of the training."""
    folder = tmp_path_factory.mktemp("reference")
    write_table(folder)
    schema = write_schema(folder, TABLE)
    events = train(schema, folder / "run")
    return schema, folder / "run", events
