"""Whole runs on tiny cohorts: what they leave, and that they can be repeated and resumed to the bit."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import metavoxel as mv
from metavoxel.errors import RunError

SCHEMA = {
    "cohort": {
        "table": "table.csv",
        "subject": "id",
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "stratify": ["sex"]},
    },
    "variables": {
        "age": {"type": "continuous", "range": [20, 80]},
        "score": {"type": "continuous"},
        "sex": {"type": "categorical", "categories": ["F", "M"]},
    },
    "backbone": {"type": "transformer", "width": 16, "depth": 1, "heads": 2},
    "training": {"steps": 12, "batch_size": 16, "validate_every": 4, "warm_up": 2},
}


def write(folder: Path, **changes: object) -> Path:
    """A table of 60 rows with gaps, and a schema beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    lines = ["id,age,score,sex"]
    for row in range(60):
        age = generator.uniform(20, 80)
        score = "" if row % 5 == 0 else f"{age / 10 + generator.normal():.3f}"
        lines.append(f"s{row},{age:.2f},{score},{'FM'[row % 2]}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "schema.yaml"
    path.write_text(yaml.safe_dump({**SCHEMA, **changes}, sort_keys=False), encoding="utf-8")
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The network that a run ended with."""
    return load_file(run / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_what_can_be_read_again(tmp_path: Path) -> None:
    model = mv.train(mv.load_schema(write(tmp_path)), tmp_path / "run", precision="32-true")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["state"] == "finished"
    assert {part: len(keys) for part, keys in record["split"].items()} == {"train": 36, "validation": 12, "test": 12}
    assert record["versions"].keys() == {"metavoxel", "torch"}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "joint"] == [4, 8, 12]
    assert list((tmp_path / "run" / "events").iterdir())
    again = mv.load(tmp_path / "run")
    first, second = (m.sample(3, {"sex": "F"}, steps=3, seed=1) for m in (model, again))
    assert same(first, second)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    schema = mv.load_schema(write(tmp_path))
    for name in ("first", "second"):
        mv.train(schema, tmp_path / name, precision="32-true")
    assert same(weights(tmp_path / "first"), weights(tmp_path / "second"))


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    schema = write(tmp_path, training={**SCHEMA["training"], "steps": 300, "validate_every": 50})
    command = [sys.executable, "-m", "metavoxel", "train", str(schema), "--precision", "32-true", "--output"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(tmp_path / "cut")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    state, deadline = tmp_path / "cut" / "checkpoints" / "joint.safetensors", time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "--resume" in said
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    with pytest.raises(RunError, match="has not finished"):
        mv.load(tmp_path / "cut")
    subprocess.run([*command, str(tmp_path / "cut"), "--resume"], check=True, capture_output=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    schema = mv.load_schema(write(tmp_path))
    mv.train(schema, tmp_path / "run", precision="32-true")
    with pytest.raises(RunError, match="--resume"):
        mv.train(schema, tmp_path / "run")
    other = mv.load_schema(write(tmp_path, training={**SCHEMA["training"], "steps": 13}))
    with pytest.raises(RunError, match="another schema"):
        mv.train(other, tmp_path / "run", resume=True)


def test_a_shared_time_drops_incomplete_rows_and_says_how_many(tmp_path: Path) -> None:
    schema = mv.load_schema(write(tmp_path, diffusion={"times": "shared"}))
    events = list(mv.training(schema, tmp_path / "run", precision="32-true"))
    assert events[0].metrics["dropped"] == 12
    model = mv.load(tmp_path / "run")
    with pytest.raises(mv.MetavoxelError, match="'clean' needs a model trained with"):
        model.sample(2, {"sex": "F"}, conditioning="clean")
    with pytest.raises(mv.MetavoxelError, match="--draws 3"):
        model.predict(schema_table(tmp_path), "age")


def schema_table(folder: Path):
    """The cohort's own table."""
    from metavoxel.cohort.table import read_table

    return read_table(folder / "table.csv")


def test_an_answer_depends_on_the_row_alone(tmp_path: Path) -> None:
    model = mv.train(mv.load_schema(write(tmp_path)), tmp_path / "run", precision="32-true")
    frame = schema_table(tmp_path).frame
    for asked in ({"draws": 0}, {"draws": 3, "steps": 4}):
        whole = model.predict(frame, "age", ["score", "sex"], **asked)
        part = model.predict(frame.iloc[[7, 3]], "age", ["score", "sex"], **asked)
        assert part["id"].tolist() == ["s7", "s3"]
        assert part["age"].tolist() == pytest.approx(whole["age"].iloc[[7, 3]].tolist(), rel=1e-5)


def test_a_run_that_needs_a_missing_plugin_names_it(tmp_path: Path) -> None:
    mv.train(mv.load_schema(write(tmp_path)), tmp_path / "run", precision="32-true")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["versions"]["metavoxel-ordinal"] = "1.0"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="pip install metavoxel-ordinal"):
        mv.load(tmp_path / "run")
