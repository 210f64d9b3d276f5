import pytest
from tiny_cohorts import IMAGES, TABLE, write_images, write_schema, write_table

from metavoxel.evaluation.held_out import held_out
from metavoxel.learning.training import training
from metavoxel.runs.run import RunFolder, load
from metavoxel.schema import load_schema

SPLIT = {"split": {"train": 0.5, "validation": 0.2, "test": 0.3}}


def trained(folder, raw):
    schema = write_schema(folder, raw, cohort=SPLIT)
    for _ in training(load_schema(schema), folder / "run", precision="32-true", accelerator="cpu"):
        pass
    return folder


@pytest.fixture(scope="session")
def table_study(tmp_path_factory):
    """A folder with a table, a schema and a trained run."""
    folder = tmp_path_factory.mktemp("table")
    write_table(folder)
    return trained(folder, TABLE)


@pytest.fixture(scope="session")
def large_study(tmp_path_factory):
    """The same with thirty test rows, enough for a comparison of generated rows."""
    folder = tmp_path_factory.mktemp("large")
    write_table(folder, rows=100)
    return trained(folder, TABLE)


@pytest.fixture(scope="session")
def scan_study(tmp_path_factory):
    """The same with pictures and volumes."""
    folder = tmp_path_factory.mktemp("scans")
    write_images(folder)
    return trained(folder, IMAGES)


@pytest.fixture(scope="session")
def table_part(table_study):
    return part_of(table_study)


@pytest.fixture(scope="session")
def scan_part(scan_study):
    return part_of(scan_study)


def part_of(study):
    return held_out(load(study / "run"), RunFolder(study / "run"))
