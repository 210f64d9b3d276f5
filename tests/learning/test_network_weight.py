"""Network weights saved in a run."""

import json

import pandas
import pytest
from safetensors.torch import load_file
from tiny_cohorts import TABLE, write_schema, write_table
from tiny_runs import train

import metavoxel as mv


def test_runs_save_the_network_weights_chosen_by_validation(tmp_path):
    """The loaded model has a weight in [0, 1] for every variable; the training checkpoint has weights 1."""
    write_table(tmp_path)
    train(write_schema(tmp_path, TABLE), tmp_path / "run")
    weights = load_file(tmp_path / "run" / "model.safetensors")
    chosen = dict(zip(TABLE["variables"], weights["network_weights"].tolist(), strict=True))
    recorded = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["validation"]
    assert {name: one["network_weight"] for name, one in recorded.items()} == pytest.approx(chosen)
    assert all(0 <= weight <= 1 for weight in chosen.values())
    newest = max((tmp_path / "run" / "checkpoints").glob("joint-*.safetensors"))
    state = load_file(newest)
    kept = [value for key, value in state.items() if key.endswith("network_weights")]
    assert kept and all(value.eq(1).all() for value in kept)


def test_equal_rows_have_equal_predictions_for_every_seed(tmp_path):
    """Also with full network weights, which a short training does not select."""
    write_table(tmp_path)
    train(write_schema(tmp_path, TABLE), tmp_path / "run")
    model = mv.load(tmp_path / "run")
    frame = pandas.DataFrame({"participant_id": [f"p{row}" for row in range(20)], "Age": 41.5, "score": 50.0})
    for weight in (0.0, 1.0):
        model.joint.network_weights.fill_(weight)
        predicted = pandas.concat([model.predict(frame, "sex", ["age", "score"], seed=seed) for seed in (0, 1)])
        chances = predicted.filter(like="sex_p[")
        assert len(chances) == 40 and float((chances.max() - chances.min()).max()) <= 1e-6
