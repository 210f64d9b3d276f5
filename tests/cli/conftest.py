import os
import signal
import sys
from types import SimpleNamespace

import pytest
from tiny_cohorts import IMAGES, TABLE, write_images, write_schema, write_table

from metavoxel.cli import main


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a command changes in its process is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("METAVOXEL_DEBUG", raising=False)
    yield
    os.environ.pop("METAVOXEL_DEBUG", None)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def metavoxel(monkeypatch, capsys):
    """Runs the command line in this process: exit code, and what went to each stream."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["metavoxel", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        return SimpleNamespace(code=caught.value.code or 0, out=said.out, err=said.err, lines=said.err.splitlines())

    return run


def trained(folder, raw):
    """A folder with a schema and, in ``run``, what the command line made of it."""
    from metavoxel.learning.training import training
    from metavoxel.schema import load_schema

    schema = write_schema(folder, raw)
    for _ in training(load_schema(schema), folder / "run", precision="32-true", accelerator="cpu"):
        pass
    return folder


@pytest.fixture(scope="session")
def table_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table study")  # with a space, as folders of users have
    write_table(folder)
    return trained(folder, TABLE)


@pytest.fixture(scope="session")
def scan_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("größe")
    write_images(folder)
    return trained(folder, IMAGES)
