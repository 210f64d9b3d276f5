"""Runs: a model trains, is loaded with its folder, and refuses a folder that is missing or has changed."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import metavoxel_language
import numpy as np
import pandas
import pytest
import yaml
from metavoxel_language.example import write_example
from metavoxel_language.folder import WEIGHTS, ModelFolder
from safetensors.torch import load_file

import metavoxel as mv
from metavoxel.errors import RunError, SchemaError

VARIABLES = {"age": {"type": "continuous", "range": [0, 100]}, "sex": {"type": "categorical", "categories": ["F", "M"]}}


def cohort(rows=40):
    random = np.random.default_rng(0)
    names = [f"s{row}" for row in range(rows)]
    ages, sexes = random.uniform(20, 90, rows).round(1), random.choice(["F", "M"], rows)
    reports = np.where(ages > 55, "Wide ventricles.", "No lesion.")
    return pandas.DataFrame({"participant_id": names, "age": ages, "sex": sexes, "report": reports})


def schema(variables=VARIABLES, **backbone):
    return {
        "variables": variables,
        "backbone": {"type": "causal_lm", "width": 8, "rank": 2, **backbone},
        "training": {"steps": 4, "batch_size": 8, "validate_every": 2},
    }


def registry(*others):
    return mv.load_registry(plugins=[metavoxel_language, *others])


def train(run, table=None, plugins=(), **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mv.train(
            schema(**settings), run, table=cohort() if table is None else table, registry=registry(*plugins)
        )


@pytest.fixture
def folder(tmp_path):
    write_example(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("chosen", ["all", "lora", "ends"])
def test_a_run_is_loaded_with_its_folder(tmp_path, folder, chosen):
    model = train(tmp_path / "run", folder=str(folder), train=chosen)
    again = mv.load(tmp_path / "run", registry=registry())
    drawn = [one.sample(3, {"sex": "F"}, seed=1).frame["age"].tolist() for one in (model, again)]
    assert drawn[0] == drawn[1]
    recorded = yaml.safe_load((tmp_path / "run" / "schema.yaml").read_text(encoding="utf-8"))["backbone"]
    assert recorded["folder"] == str(folder) and recorded["digest"] == ModelFolder(folder).digest()
    stored = any(name.endswith("q_proj.weight") for name in load_file(tmp_path / "run" / "model.safetensors"))
    assert stored == (chosen == "all")


def test_a_folder_that_changes_or_moves_after_training(tmp_path, folder):
    train(tmp_path / "run", folder=str(folder))
    written = tmp_path / "run" / "schema.yaml"
    folder.rename(tmp_path / "moved")
    with pytest.raises(RunError, match=r"schema\.yaml: backbone: no folder .*model; give a folder"):
        mv.load(tmp_path / "run", registry=registry())
    text = written.read_text(encoding="utf-8")
    written.write_text(text.replace(str(folder), str(tmp_path / "moved")), encoding="utf-8")
    mv.load(tmp_path / "run", registry=registry())
    content = bytearray((tmp_path / "moved" / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / "moved" / WEIGHTS).write_bytes(content)
    with pytest.raises(RunError, match=r"backbone\.digest: the content of .*moved has changed"):
        mv.load(tmp_path / "run", registry=registry())
    with pytest.raises(RunError, match=r"schema\.yaml, backbone\.(digest|folder): another value than in the run"):
        mv.train(
            schema(folder=str(tmp_path / "moved")), tmp_path / "run", table=cohort(), registry=registry(), resume=True
        )


def test_a_folder_beside_the_schema(tmp_path, folder):
    cohort().to_csv(tmp_path / "table.csv", index=False)
    raw = {**schema(folder="model"), "cohort": {"table": "table.csv"}}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    found = mv.load_schema(tmp_path / "schema.yaml", registry=registry())
    assert found.backbone.folder == folder and found.backbone.digest == ModelFolder(folder).digest()


def test_all_problems_of_a_backbone_are_reported_before_anything_is_read(tmp_path, folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(SchemaError, match=r"^backbone: folder .* has pickled weights alone \(pytorch_model\.bin\)"):
        train(tmp_path / "run", folder=str(folder))
    assert not (tmp_path / "run").exists()
    with pytest.raises(SchemaError, match=r"backbone\.folder: is missing"):
        train(tmp_path / "run")


@pytest.mark.slow
def test_reports_given_age(tmp_path, folder):
    absorbing, text = pytest.importorskip("metavoxel_absorbing"), pytest.importorskip("metavoxel_text")
    variables = {"report": {"type": "text", "tokens": 4, "vocabulary": 8}, **VARIABLES}
    model = train(tmp_path / "run", cohort(60), [absorbing, text], variables=variables, folder=str(folder))
    assert len(model.sample(3, {"age": 40}).frame["report"]) == 3


@pytest.mark.slow
def test_the_command_line_exits_with_2(tmp_path, folder):
    """As an installed plugin: an entry point that Python finds in a folder of its own."""
    distribution = tmp_path / "site" / "metavoxel_language-0.1.0.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: metavoxel-language\nVersion: 0.1.0\n")
    (distribution / "entry_points.txt").write_text("[metavoxel]\nlanguage = metavoxel_language\n")
    paths = [tmp_path / "site", *(Path(module.__file__).parents[1] for module in (metavoxel_language, mv))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "COLUMNS": "400"}

    def command(*arguments):
        run = [sys.executable, "-c", "from metavoxel.cli import main; main()", *arguments]
        return subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)

    cohort().to_csv(tmp_path / "table.csv", index=False)
    raw = {**schema(folder="model"), "cohort": {"table": "table.csv"}}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    trained = command("train", "schema.yaml", "--output", "run")
    assert trained.returncode == 0, trained.stderr
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n", encoding="utf-8")
    changed = command("sample", "run", "-n", "2")
    shutil.rmtree(folder)
    absent = command("sample", "run", "-n", "2")
    invalid = command("validate", "schema.yaml")
    for result, expected in (
        (changed, "has changed"),
        (absent, "schema.yaml: backbone: no folder"),
        (invalid, "backbone: no folder"),
    ):
        assert result.returncode == 2 and expected in result.stderr and "Traceback" not in result.stderr, result
