import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from types import SimpleNamespace

import pytest
from tiny_cohorts import IMAGES, TABLE, write_images, write_schema, write_table

from metavoxel.cli import main


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Restore the process state that a command changes."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("METAVOXEL_DEBUG", raising=False)
    yield
    os.environ.pop("METAVOXEL_DEBUG", None)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def metavoxel():
    """Run the command line in this process: exit code and output of each stream."""

    def run(*arguments):
        out, err = StringIO(), StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as caught,
        ):
            patch.setattr(sys, "argv", ["metavoxel", *map(str, arguments)])
            main()
        printed, errors = out.getvalue(), err.getvalue()
        assert "Traceback" not in errors + printed
        return SimpleNamespace(code=caught.value.code or 0, out=printed, err=errors, lines=errors.splitlines())

    return run


def trained(folder, raw):
    """Train a schema in ``folder / run``, and return the folder."""
    from metavoxel.learning.training import training
    from metavoxel.schema import load_schema

    schema = write_schema(folder, raw)
    for _ in training(load_schema(schema), folder / "run", precision="32-true", accelerator="cpu"):
        pass
    return folder


@pytest.fixture(scope="session")
def table_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table study")  # user folders may contain a space
    write_table(folder)
    return trained(folder, TABLE)


@pytest.fixture(scope="session")
def scan_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("größe")
    write_images(folder)
    return trained(folder, IMAGES)
