"""Training on images, with the settings of the paper, and on two processes."""

import json
import subprocess
from copy import deepcopy

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_cohorts import IMAGES, TABLE, UNET, write_images, write_schema, write_table
from tiny_runs import assert_same_weights, command, leave, refused, train, weights

from metavoxel.errors import RunError
from metavoxel.runs.metrics import read_metrics
from metavoxel.runs.run import RunFolder, load
from metavoxel.schema import load_schema


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write_images(folder)
    schema = write_schema(folder, IMAGES)
    events = train(schema, folder / "run")
    return schema, folder / "run", events


def test_pictures_and_volumes(scans):
    _, run, events = scans
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["cohort", "codec volume", "codes picture", "codes volume", "codes of the table", "joint"]
    model = load(run)
    # The U-Net downsamples both by 2, the VAE the volume by 2.
    assert model.joint.code_shapes == {"picture": (1, 14, 10), "volume": (2, 6, 4, 4), "age": (1,), "sex": (2,)}
    assert model.codecs["volume"].training_plan is not None
    assert all(torch.isfinite(tensor).all() for tensor in weights(run).values())
    resolved = load_schema(run / "schema.yaml").specs
    assert resolved["picture"].extension == ".png" and resolved["volume"].extension == ".nii.gz"
    assert resolved["volume"].shape == (12, 8, 8)


def test_an_interrupted_codec_training_resumes_to_the_same_weights(scans, tmp_path):
    schema, run, _ = scans
    leave(schema, tmp_path / "run", "codec volume")
    events = train(schema, tmp_path / "run", resume=True)
    assert next(event for event in events if event.stage == "codec volume").done == 2
    assert_same_weights(run, tmp_path / "run")


def test_cached_codes_are_reused(scans, tmp_path):
    schema, _, _ = scans
    leave(schema, tmp_path / "run", "joint")
    files = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run" / "cache").iterdir()}
    events = train(schema, tmp_path / "run", resume=True)
    assert not [event for event in events if event.stage.startswith("codes")]
    assert files == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run" / "cache").iterdir()}


def test_codec_weights_in_the_schema_are_not_trained(scans, tmp_path):
    """Their path is relative to the schema; the run holds a copy, and loads without the original."""
    schema, run, _ = scans
    raw = yaml.safe_load(schema.read_text())
    raw["variables"]["volume"]["codec"]["weights"] = "fitted.safetensors"
    for row in raw["variables"].values():
        row.pop("shape", None)
    raw["cohort"]["table"] = str(schema.parent / "people.csv")
    fitted = tmp_path / "fitted.safetensors"
    fitted.write_bytes((run / "codecs" / "volume.safetensors").read_bytes())
    events = train(write_schema(tmp_path, raw), tmp_path / "run")
    assert not [event for event in events if event.stage.startswith("codec ")]
    fitted.unlink()
    loaded, original = (
        load(tmp_path / "run").codecs["volume"].state_dict(),
        load_file(run / "codecs" / "volume.safetensors"),
    )
    assert all(torch.equal(tensor, original[name]) for name, tensor in loaded.items())
    message = refused(RunError, tmp_path / "schema.yaml", tmp_path / "another")
    assert "codec weights: no file" in message and not (tmp_path / "another" / "run.json").exists()


def test_the_settings_of_the_paper(tmp_path):
    """Shared times, painted scalars, and replacement conditioning."""
    write_images(tmp_path)
    table = {"type": "gaussian", "schedule": {"type": "scaled_linear"}, "prediction": "epsilon"}
    raw = {
        "cohort": {"table": "people.csv"},
        "variables": {
            "volume": {**IMAGES["variables"]["volume"], "adapter": "grid", "kernel": table},
            "age": {"type": "continuous", "range": [10, 90], "codec": {"scale": "range"}, "adapter": "painted", "kernel": table},
            "sex": {
                "type": "categorical", "categories": ["F", "M"], "adapter": "painted",
                "kernel": {"type": "d3pm_uniform", "schedule": {"type": "cosine", "power": 1}, "reverse": "printed"},
            },
        },
        "backbone": UNET,
        "diffusion": {"times": "shared"},
        "training": {"steps": 2, "batch_size": 4, "validate_every": 2},
    }  # fmt: skip
    events = train(write_schema(tmp_path, raw), tmp_path / "run")
    assert events[0].metrics["dropped"] == 2
    assert load(tmp_path / "run").default_sampling().conditioning == "replace"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "images"])
def test_two_processes_have_the_loss_curve_of_one(tmp_path, kind):
    """Over gloo, each with half of the batch: the same curve to the rounding of single precision.

    Without dropout, whose masks are drawn per process: of the backbone, and of the images' components.
    """
    raw = deepcopy(TABLE if kind == "table" else IMAGES)
    (write_table if kind == "table" else write_images)(tmp_path)
    raw["backbone"]["dropout"] = 0.0
    if kind == "images":
        for name in ("picture", "volume"):
            adapter = {"type": "grid_summary", "components": 8, "dropout": 0.0}
            raw["variables"][name] |= {"codec": "identity", "adapter": adapter}  # a learned codec's batches are its own
        raw["training"] |= {"token_rows": 4}
    schema = write_schema(tmp_path, raw, training={"steps": 12, "validate_every": 4})
    start, environment = command(tmp_path)
    curves = {}
    for devices in ("1", "2"):
        arguments = ["train", str(schema), "--output", str(tmp_path / devices), "--devices", devices]
        arguments += ["--accelerator", "cpu", "--precision", "32-true"]
        done = subprocess.run([*start, *arguments], env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        curves[devices] = [line for line in read_metrics(RunFolder(tmp_path / devices)) if line["stage"] == "joint"]
    assert [line["step"] for line in curves["1"]] == [line["step"] for line in curves["2"]] == [0, 4, 8, 12]
    for one, two in zip(curves["1"], curves["2"], strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"stage", "seconds"}:
            assert two[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), (one["step"], name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "images", "painted"])
def test_two_processes(tmp_path, kind):
    """Training over gloo from the command line gives a model that samples."""
    raw = TABLE if kind == "table" else IMAGES
    if kind == "painted":
        variables = {name: IMAGES["variables"][name] for name in ("picture", "age")}
        variables["age"] = {**variables["age"], "adapter": "painted"}
        variables["picture"] = {"type": "image", "codec": "identity", "adapter": "grid"}
        raw = {**IMAGES, "variables": variables}
    (write_table if kind == "table" else write_images)(tmp_path)
    start, environment = command(tmp_path)
    arguments = ["train", str(write_schema(tmp_path, raw)), "--output", str(tmp_path / "run")]
    arguments += ["--devices", "2", "--accelerator", "cpu", "--precision", "32-true"]
    done = subprocess.run([*start, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["devices"]) == ("finished", 2)
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run").values())
    assert load(tmp_path / "run").sample(1, steps=2)
    refused = subprocess.run([*start, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert refused.returncode != 0 and "holds a run already" in refused.stderr
