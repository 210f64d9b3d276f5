"""Training from a schema to a run folder: outputs, reproducibility, and resuming after interruptions."""

import json
import signal
import subprocess
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_cohorts import TABLE, write_schema, write_table
from tiny_runs import assert_same_weights, command, leave, refused, train, weights

import metavoxel
from metavoxel.errors import CohortError, NumericalError, RunError
from metavoxel.learning import joint_training as module
from metavoxel.learning.training import training
from metavoxel.runs.run import load
from metavoxel.schema import load_schema


def test_contents_of_a_run_folder(reference):
    schema, run, events = reference
    assert {path.name for path in run.iterdir()} == {
        "schema.yaml", "run.json", "metrics.jsonl", "model.safetensors", "codecs", "checkpoints", "cache", "events",
    }  # fmt: skip
    assert {path.name for path in (run / "codecs").iterdir()} == {f"{n}.safetensors" for n in ("age", "sex", "score")}
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["versions"] == {"metavoxel": metavoxel.__version__, "torch": torch.__version__}
    assert record["best_step"] in (0, 10, 20, 30) and 0 < record["best_score"] < 3
    assert record["dropped_incomplete_rows"] == 0
    rows = [row for part in ("train", "validation", "test") for row in record["split"][part]]
    assert sorted(rows) == [f"s{row:02}" for row in range(40)]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if line["stage"] == "joint"] == [0, 10, 20, 30]
    assert {"age", "sex", "score", "validation/age", "validation/sex", "validation/score"} <= set(metrics[-1])
    assert list((run / "events").glob("events.out.tfevents.*"))
    resolved = yaml.safe_load((run / "schema.yaml").read_text())
    assert resolved["training"]["steps"] == 30 and resolved["variables"]["age"]["kernel"]["prediction"] == "v"
    assert load_schema(run / "schema.yaml").variables == load_schema(schema).variables


def test_the_score_uses_the_weights_of_the_variables(tmp_path):
    write_table(tmp_path)
    schema = write_schema(tmp_path, TABLE)
    raw = yaml.safe_load(schema.read_text())
    raw["variables"]["sex"]["weight"] = 0.25
    schema.write_text(yaml.safe_dump(raw))
    train(schema, tmp_path / "run")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    age, sex, score = (last[f"validation/{name}"] for name in ("age", "sex", "score"))
    assert last["score/validation"] == pytest.approx((age + 0.25 * sex + score) / 2.25, rel=1e-6)


def test_progress(reference):
    _, _, events = reference
    joint = [event for event in events if event.stage == "joint"]
    assert [event.done for event in joint] == list(range(1, 31)) and joint[0].total == 30
    assert set(joint[-1].metrics) == {"age", "sex", "score"}
    assert events[0].stage == "cohort" and events[0].metrics == {"rows": 40, "dropped": 0}


def test_no_partial_files_remain(reference):
    _, run, _ = reference
    assert not list(run.rglob("*.partial"))


def test_the_best_weights_are_saved(reference):
    _, run, _ = reference
    kept, best = load_file(run / "model.safetensors"), load_file(run / "checkpoints" / "best.safetensors")
    assert kept.keys() == best.keys() and all(torch.equal(kept[name], best[name]) for name in kept)


def test_the_same_seed_gives_the_same_weights(reference, tmp_path):
    schema, run, _ = reference
    torch.rand(17)  # the state of the global generator does not matter
    train(schema, tmp_path / "again")
    assert_same_weights(run, tmp_path / "again")


def test_another_seed_gives_other_weights(reference, study):
    _, run, _ = reference
    train(write_schema(study, TABLE, training={"seed": 1}), study / "run")
    first, other = weights(run), weights(study / "run")
    assert not torch.equal(first["model.safetensors/time_tags"], other["model.safetensors/time_tags"])
    assert torch.equal(first["age.safetensors/center"], other["age.safetensors/center"]), "the split has its own seed"


@pytest.mark.parametrize("after", [1, 9, 10, 17])
def test_an_interrupted_training_resumes_to_the_same_weights(reference, tmp_path, after):
    """Weights are bitwise equal for interruptions at any step, dropout included."""
    schema, run, _ = reference
    leave(schema, tmp_path / "run", "joint", after)
    torch.rand(after)
    events = train(schema, tmp_path / "run", resume=True)
    assert next(event for event in events if event.stage == "joint").done == after + 1
    assert_same_weights(run, tmp_path / "run")


def test_muon_resumes_to_the_same_weights(study):
    """The momentum is part of the checkpoint."""
    schema = write_schema(study, TABLE, training={"optimiser": "muon"})
    train(schema, study / "whole")
    leave(schema, study / "resumed", "joint", 9)
    train(schema, study / "resumed", resume=True)
    assert_same_weights(study / "whole", study / "resumed")


def test_muon_updates_the_matrices_of_the_backbone(study):
    """Zero-initialised heads pass no gradient to the backbone in the first step, so the second is compared."""
    after = {}
    for optimiser in ("adamw", "muon"):
        train(write_schema(study, TABLE, training={"optimiser": optimiser, "steps": 2}), study / optimiser)
        state = load_file(study / optimiser / "checkpoints" / "joint-00000002.safetensors")
        after[optimiser] = {name: weight for name, weight in state.items() if name.startswith("module/")}
    changed = {name for name, weight in after["adamw"].items() if not torch.equal(weight, after["muon"][name])}
    matrices = {name for name, weight in after["adamw"].items() if weight.ndim == 2}
    assert changed == {name for name in matrices if name.startswith("module/backbone.")} < matrices


def test_muon_with_a_loss_scale_is_refused(study):
    schema = write_schema(study, TABLE, training={"optimiser": "muon"})
    assert "bf16-mixed" in refused(RunError, schema, study / "run", precision="16-mixed")
    assert not (study / "run").exists()


def interrupt_once(monkeypatch, owner, name, call):
    """Raise KeyboardInterrupt from the call of this number."""
    original, calls = getattr(owner, name), []

    def interrupted(*args, **options):
        calls.append(1)
        result = original(*args, **options)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("HeldOutLoss.evaluate", 2),
        ("HeldOutLoss.evaluate", 3),
        ("save_weights", 1),
        ("evidence_times", 2),
        ("loss_sums", 20),
    ],
)
def test_training_resumes_after_an_interrupt_anywhere(reference, tmp_path, monkeypatch, name, call):
    """During validation (with averaged weights loaded), saving, sampling of times, or the loss."""
    schema, run, _ = reference
    with monkeypatch.context() as patch:
        *owner, name = name.split(".")
        interrupt_once(patch, module.HeldOutLoss if owner else module, name, call)
        with pytest.raises(KeyboardInterrupt):
            train(schema, tmp_path / "run")
    train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text())["best_step"]
        == json.loads((run / "run.json").read_text())["best_step"]
    )


def test_interrupts_are_deferred_to_the_end_of_a_step(reference, tmp_path, monkeypatch):
    """The signal arrives within the update of the weights."""
    schema, run, _ = reference
    original, calls = torch.optim.AdamW.step, []

    def step(self, *args, **options):
        result = original(self, *args, **options)
        calls.append(1)
        if len(calls) == 13:
            signal.raise_signal(signal.SIGINT)
            calls.append("continued")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train(schema, tmp_path / "run")
    assert calls[-1] == "continued"
    train(schema, tmp_path / "run", resume=True)
    assert_same_weights(run, tmp_path / "run")


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
    ids=["ctrl-c", "terminated"],
)
def test_a_terminated_process_can_be_resumed(tmp_path, number, exit_code):
    """The signal is sent twice, as by an impatient user."""
    write_table(tmp_path)
    schema = write_schema(tmp_path, TABLE, training={"steps": 120, "validate_every": 40})
    start, environment = command(tmp_path)
    arguments = [
        "train",
        str(schema),
        "--output",
        str(tmp_path / "run"),
        "--precision",
        "32-true",
        "--accelerator",
        "cpu",
    ]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([*start, *arguments], env=environment, stderr=log, stdout=log)
        deadline = time.monotonic() + 300
        while "joint 24/120" not in (tmp_path / "log").read_text(encoding="utf-8"):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text(
                encoding="utf-8"
            )
            time.sleep(0.02)
        process.send_signal(number)
        process.send_signal(number)
        code = process.wait(timeout=120)
    output = (tmp_path / "log").read_text(encoding="utf-8")
    assert code == exit_code, output
    assert "Traceback" not in output and "--resume" in output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "training"
    with pytest.raises(RunError, match=r"its training has not finished; continue it with: metavoxel train .*--resume"):
        load(tmp_path / "run")
    events = train(schema, tmp_path / "run", resume=True)
    first = next(event for event in events if event.stage == "joint")
    assert 24 < first.done < 120, "the process had finished, or its steps were lost"
    train(schema, tmp_path / "uninterrupted")
    assert_same_weights(tmp_path / "uninterrupted", tmp_path / "run")


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    """A second process is refused until the first has stopped."""
    write_table(tmp_path)
    schema = write_schema(tmp_path, TABLE)
    first = training(load_schema(schema), tmp_path / "run", precision="32-true", accelerator="cpu")
    next(event for event in first if event.stage == "joint")
    program, environment = command(tmp_path)
    arguments = ["train", str(schema), "--output", str(tmp_path / "run"), "--resume"]
    second = subprocess.run([*program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 2, second.stderr
    assert "is being trained by another process" in second.stderr and "Traceback" not in second.stderr
    first.close()
    train(schema, tmp_path / "run", resume=True)


def test_resuming_a_finished_run_changes_nothing(reference, tmp_path):
    schema, run, _ = reference
    train(schema, tmp_path / "run")
    before = weights(tmp_path / "run")
    events = train(schema, tmp_path / "run", resume=True)
    assert not [event for event in events if event.stage == "joint"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(tmp_path / "run").items())


def test_invalid_outputs_are_refused(reference, study):
    _, run, _ = reference
    schema = write_schema(study, TABLE)
    assert "holds a run already. Continue it with `resume=True`" in refused(RunError, schema, run)
    assert "is a file; choose another `output`" in refused(RunError, schema, study / "people.csv")
    assert "cannot be made" in refused(RunError, schema, study / "people.csv" / "run")
    assert "no run to resume" in refused(RunError, schema, study / "none", resume=True)
    assert not (study / "none").exists()
    before = schema.read_text()
    assert "schema.yaml: would be overwritten" in refused(RunError, schema, study)
    assert schema.read_text() == before


def test_resuming_with_another_schema_or_cohort_is_refused(study):
    schema = write_schema(study, TABLE)
    leave(schema, study / "run", "cohort")
    other = write_schema(study, TABLE, name="other.yaml", training={"steps": 31})
    assert refused(RunError, other, study / "run", resume=True) == (
        f"{study / 'run' / 'schema.yaml'}, training.steps: another value than in the run; resume with the run's schema, or "
        "choose another `output` (30 there, 31 now)"
    )
    table = study / "people.csv"
    table.write_text(table.read_text().replace("s05,", "s99,"))
    assert "the cohort has changed since it was started" in refused(RunError, schema, study / "run", resume=True)


@pytest.mark.parametrize("options", [{"precision": "half"}, {"accelerator": "abacus"}, {"accelerator": "mps"}])
def test_unavailable_devices_and_precisions_are_refused(study, options):
    message = refused(RunError, write_schema(study, TABLE), study / "run", **options)
    assert next(iter(options.values())) in message and not (study / "run").exists()


def test_an_invalid_cohort_leaves_no_run(study):
    """The corrected schema can be trained to the same folder."""
    raw = {
        **TABLE,
        "variables": {"age": {"type": "continuous", "column": "Agee"}, "sex": {"type": "continuous", "column": "Sx"}},
    }
    message = refused(CohortError, write_schema(study, raw), study / "run")
    assert "no column 'Agee'" in message and "no column 'Sx'" in message
    train(write_schema(study, TABLE), study / "run")


def test_shared_times_drop_incomplete_rows_and_record_their_number(study):
    schema = write_schema(study, TABLE, diffusion={"times": "shared"}, training={"steps": 4, "validate_every": 4})
    events = train(schema, study / "run")
    assert events[0].metrics == {"rows": 40, "dropped": 6}
    record = json.loads((study / "run" / "run.json").read_text())
    assert record["dropped_incomplete_rows"] == 6
    assert sum(map(len, record["split"].values())) == 34
    incomplete = {f"s{row:02}" for row in range(3, 40, 7)}
    assert not incomplete & {row for rows in record["split"].values() for row in rows}


@pytest.mark.filterwarnings("ignore::metavoxel.errors.CohortWarning")  # about the constant column
def test_shared_times_require_complete_rows_in_every_part(study):
    table = study / "people.csv"
    header, *rows = table.read_text().splitlines()
    incomplete = [",".join([*row.split(",")[:-1], "" if place % 2 else "1"]) for place, row in enumerate(rows)]
    incomplete = [
        row.replace(",n/a,", ",30,") if place % 2 else ",".join([row.split(",")[0], "n/a", *row.split(",")[2:]])
        for place, row in enumerate(incomplete)
    ]
    table.write_text("\n".join([header, *incomplete]) + "\n")
    message = refused(RunError, write_schema(study, TABLE, diffusion={"times": "shared"}), study / "run")
    assert message == (
        "diffusion.times 'shared' requires complete rows, and train and validation and test have none. Use 'evidence'"
    )


@pytest.mark.filterwarnings("ignore::metavoxel.errors.RunWarning")  # about the skipped steps
def test_non_finite_losses_are_located(study):
    raw = {**TABLE, "training": {**TABLE["training"], "learning_rate": 1e30, "warm_up": 0, "clip": 1e30}}
    message = refused(NumericalError, write_schema(study, raw), study / "run")
    assert "not finite" in message and ("step" in message or "variable" in message)
    raw["variables"] = {**TABLE["variables"], "age": {**TABLE["variables"]["age"], "weight": 1e30}}
    message = refused(NumericalError, write_schema(study, {**raw, "training": TABLE["training"]}), study / "other")
    assert message.startswith("training steps 1 to 3: the gradient is not finite (subjects s")
    assert list((study / "other" / "checkpoints").glob("joint-00000000.*")), "the checkpoint before is kept"
