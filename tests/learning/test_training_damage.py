"""Training beside damaged files, full disks and deaths at a bad moment: reported, and resumed to the same weights."""

import json
import os

import pytest
from tiny_cohorts import TABLE, write_schema
from tiny_runs import assert_same_weights, leave, refused, train

from metavoxel.errors import RunError, RunWarning
from metavoxel.learning.training import training
from metavoxel.runs.metrics import read_metrics
from metavoxel.runs.run import RunFolder
from metavoxel.schema import load_schema


def test_a_checkpoint_is_written_by_the_clock(reference, tmp_path):
    """A process that is killed at any step has lost nothing."""
    schema, run, _ = reference
    steps = training(
        load_schema(schema), tmp_path / "run", precision="32-true", accelerator="cpu", checkpoint_minutes=0
    )
    next(event for event in steps if event.stage == "joint" and event.done == 17)
    states = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("joint-*"))
    assert states == ["joint-00000016.safetensors", "joint-00000017.safetensors"]
    steps.close()
    train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(reference, tmp_path):
    schema, run, _ = reference
    leave(schema, tmp_path / "run", "joint", 17)
    newest = tmp_path / "run" / "checkpoints" / "joint-00000017.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    with pytest.warns(RunWarning, match="joint-00000017.*that of step 10 is used"):
        events = train(schema, tmp_path / "run", resume=True)
    assert next(event for event in events if event.stage == "joint").done == 11
    assert_same_weights(run, tmp_path / "run")


def test_damaged_files_of_a_run_are_made_anew(reference, tmp_path):
    """A codec, a cache and the log, with the same result; best weights that are lost are chosen again."""
    schema, run, _ = reference
    leave(schema, tmp_path / "run", "joint", 17)
    (tmp_path / "run" / "codecs" / "age.safetensors").write_bytes(b"half")
    for store in (tmp_path / "run" / "cache").iterdir():
        (store / "rows.json").write_text("{")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "jo')
    with pytest.warns(RunWarning, match="age.safetensors: not a whole safetensors file.*the codec is fitted again"):
        train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")
    assert [line["step"] for line in read_metrics(RunFolder(tmp_path / "run"))] == [0, 10, 20, 30]
    leave(schema, tmp_path / "lost", "joint", 17)
    (tmp_path / "lost" / "checkpoints" / "best.safetensors").write_bytes(b"half")
    with pytest.warns(RunWarning, match="best.safetensors: not a whole.*the best weights are chosen from now on"):
        train(schema, tmp_path / "lost", resume=True)
    assert json.loads((tmp_path / "lost" / "run.json").read_text())["best_step"] in (17, 20, 30)


def test_flipped_bits_in_cached_codes_are_noticed(reference, tmp_path):
    schema, run, _ = reference
    leave(schema, tmp_path / "run", "joint", 17)
    stores = [store for store in (tmp_path / "run" / "cache").iterdir() if (store / "mean.bin").exists()]
    content = bytearray((stores[0] / "mean.bin").read_bytes())
    content[9] ^= 16
    (stores[0] / "mean.bin").write_bytes(content)
    with pytest.warns(RunWarning, match="rows of 'mean' differ from their checksums.*the codes are computed again"):
        train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")


def test_a_death_between_the_record_and_the_schema_is_resumed(reference, tmp_path):
    schema, run, _ = reference
    leave(schema, tmp_path / "run", "cohort")
    (tmp_path / "run" / "schema.yaml").unlink()
    other = write_schema(schema.parent, TABLE, name="other.yaml", training={"steps": 31})
    assert "was started with another schema" in refused(RunError, other, tmp_path / "run", resume=True)
    train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")


@pytest.mark.parametrize("place", ["run.json", "codecs", "checkpoints"])
def test_a_disk_that_fills_up_is_a_message_and_the_run_resumes(reference, tmp_path, monkeypatch, place):
    schema, run, _ = reference
    original = os.replace

    def full(source, target):
        if place in str(target):
            raise OSError(28, "No space left on device")
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("metavoxel.storage.atomic.os.replace", full)
        message = refused(RunError, schema, tmp_path / "run")
    assert place in message and "No space left on device): make room" in message
    train(schema, tmp_path / "run", resume=(tmp_path / "run" / "run.json").exists())
    assert_same_weights(run, tmp_path / "run")


def test_a_read_only_folder_is_refused(study, monkeypatch):
    (study / "run").mkdir()
    monkeypatch.setattr("metavoxel.runs.run.os.access", lambda path, mode: False)
    message = refused(RunError, write_schema(study, TABLE), study / "run")
    assert message == f"{study / 'run'}: is read-only; make it writable, or choose another `output`"
