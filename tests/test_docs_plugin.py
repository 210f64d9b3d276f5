"""The plugin of docs/tutorials/writing-a-plugin.md: it equals the document, trains, predicts, and is required to load its runs."""

import ast
import importlib.util
import math
import re
from pathlib import Path

import pandas
import pytest

from metavoxel.errors import RunError
from metavoxel.learning.training import training
from metavoxel.plugins.registry import load_registry
from metavoxel.rng import Rng
from metavoxel.runs.run import load
from metavoxel.schema import parse_schema

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "plugins" / "metavoxel-circular"
MODULE = PLUGIN / "metavoxel_circular.py"
TEXT = (ROOT / "docs" / "tutorials" / "writing-a-plugin.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def blocks(title, language):
    return re.findall(rf"^```{language}\n(.*?)\n```$", section(title), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def plugin():
    spec = importlib.util.spec_from_file_location("metavoxel_circular", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("title", "language", "file"),
    [
        ("The module", "python", "metavoxel_circular.py"),
        ("Test it", "python", "tests/test_metavoxel_circular.py"),
        ("The distribution", "toml", "pyproject.toml"),
    ],
)
def test_the_document_equals_the_plugin(title, language, file):
    assert "\n\n\n".join(blocks(title, language)) + "\n" == (PLUGIN / file).read_text(encoding="utf-8")


def test_it_has_at_most_sixty_lines_of_code():
    source = MODULE.read_text(encoding="utf-8")
    nodes = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    docstrings = {
        line
        for node in nodes
        if ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    code = [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in docstrings]
    assert len(code) <= 60


def test_it_trains_predicts_and_is_required_to_load(plugin, tmp_path):
    """Hours of two groups are around midnight and around seven; the arithmetic mean of the first would be noon."""
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
            "bedtime": {"type": "circular", "period": 24},
            "chronotype": {"type": "categorical", "categories": ["lark", "owl"]},
        },
        "backbone": {"type": "transformer", "width": 32, "depth": 1, "heads": 2},
        "training": {"steps": 40, "batch_size": 64, "warm_up": 5, "validate_every": 40, "learning_rate": 5e-3},
    }
    run = tmp_path / "run"
    for _ in training(parse_schema(raw, folder=tmp_path, registry=registry), run, registry=registry):
        pass
    model = load(run, registry=registry)
    rows = frame.drop(columns="bedtime").head(20)
    expected = [0.0 if owl else 7.0 for owl in owl[:20].tolist()]
    for settings in ({}, {"draws": 20, "steps": 8}):
        predicted = model.predict(rows, "bedtime", **settings)["bedtime"]
        for found, hour in zip(predicted, expected, strict=True):
            assert math.cos((found - hour) * math.tau / 24) > math.cos(1.5 * math.tau / 24), (found, hour)
    drawn = model.sample(5, given={"chronotype": "owl"}, steps=4)["bedtime"]
    assert bool(((drawn >= 0) & (drawn <= 24)).all())
    with pytest.raises(RunError, match="needs the plugin metavoxel_circular 0, which is not installed"):
        load(run, registry=load_registry(entry_points=False))
