"""The plugin of docs/writing-a-plugin.md: its text is what runs; it installs, trains, and is missed when absent."""

import importlib
import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from metavoxel.errors import RunError
from metavoxel.learning.run import load
from metavoxel.learning.training import training
from metavoxel.registry import load_registry
from metavoxel.rng import Rng
from metavoxel.schema import parse_schema

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "tests" / "plugin_example"
TEXT = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def blocks(title, language):
    return re.findall(rf"^```{language}\n(.*?)\n```$", section(title), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def plugin():
    spec = importlib.util.spec_from_file_location("metavoxel_periodic", EXAMPLE / "metavoxel_periodic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("title", "file"), [("The module", "metavoxel_periodic.py"), ("Test it", "test_metavoxel_periodic.py")]
)
def test_the_document_shows_what_runs(title, file):
    assert "\n\n\n".join(blocks(title, "python")) + "\n" == (EXAMPLE / file).read_text(encoding="utf-8")


def test_it_installs_as_announced(tmp_path):
    """What an installer makes of the document's pyproject.toml: the module, its metadata, and the entry point."""
    (toml,) = blocks("Announce it", "toml")
    name, version = re.search(r'^name = "(.+)"\nversion = "(.+)"$', toml, re.MULTILINE).groups()
    points = re.search(r"\[project\.entry-points\.metavoxel\]\n((?:.+\n)+)", toml)[1].replace('"', "")
    installed = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (installed / "entry_points.txt").write_text(f"[metavoxel]\n{points}")
    (tmp_path / "metavoxel_periodic.py").write_text((EXAMPLE / "metavoxel_periodic.py").read_text())
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", "from metavoxel.cli import main; main()", "plugins"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    for kind in ("variables", "codecs"):
        assert [kind, "periodic", name, version] in rows, done.stdout


def test_it_trains_predicts_and_is_missed(plugin, tmp_path):
    """Two groups whose hours lie around midnight and around seven; the first one's plain mean would be noon."""
    registry = load_registry(plugins=[plugin], entry_points=False)
    rng = Rng.for_rows(300, "hours")
    owl = rng.uniform((300,)) < 0.5
    hours = (0.5 * rng.normal((300,)) + 7 * ~owl) % 24
    frame = pandas.DataFrame(
        {
            "participant_id": [f"sub-{row}" for row in range(300)],
            "chronotype": ["owl" if row else "lark" for row in owl.tolist()],
            "bedtime": hours.tolist(),
        }
    )
    frame.to_csv(tmp_path / "cohort.csv", index=False)
    raw = {
        "cohort": {"table": "cohort.csv"},
        "variables": {
            "bedtime": {"type": "periodic", "period": 24},
            "chronotype": {"type": "categorical", "categories": ["lark", "owl"]},
        },
        "backbone": {"type": "transformer", "width": 32, "depth": 2, "heads": 2},
        "training": {"steps": 150, "batch_size": 64, "warm_up": 10, "validate_every": 150, "learning_rate": 5e-3},
    }
    run = tmp_path / "run"
    for _ in training(parse_schema(raw, folder=tmp_path, registry=registry), run, registry=registry):
        pass
    model = load(run, registry=registry)
    said = model.predict(frame.drop(columns="bedtime").head(40), "bedtime")
    expected = [0.0 if owl else 7.0 for owl in owl[:40].tolist()]
    for answer, hour in zip(said["bedtime"], expected, strict=True):
        assert math.cos((answer - hour) * 2 * math.pi / 24) > math.cos(1.5 * 2 * math.pi / 24), (answer, hour)
    with pytest.raises(RunError, match="needs the plugin metavoxel_periodic 0, which is not installed"):
        load(run, registry=load_registry(entry_points=False))
