import shutil

import pytest
from compared_runs import NUMBERS, PICTURES, write_numbers, write_pictures
from tiny_cohorts import write_schema
from tiny_runs import train


def _trained(folder, raw):
    train(write_schema(folder, raw), folder / "run")
    return folder


@pytest.fixture(scope="session")
def _pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder)
    return _trained(folder, PICTURES)


@pytest.fixture(scope="session")
def _numbers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    write_numbers(folder)
    return _trained(folder, NUMBERS)


@pytest.fixture
def pictures(_pictures, tmp_path):
    """Provide a copy of a folder with a cohort of pictures and a run."""
    return shutil.copytree(_pictures, tmp_path / "study")


@pytest.fixture
def numbers(_numbers, tmp_path):
    """Provide a copy of a folder with a table and a run."""
    return shutil.copytree(_numbers, tmp_path / "study")
