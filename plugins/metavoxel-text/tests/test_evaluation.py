"""Texts in an evaluation: predicted by draws, and compared by their own measures."""

import warnings

import metavoxel_absorbing
import metavoxel_text
import numpy as np
import pandas
import pytest

import metavoxel as mv

REGISTRY = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_text])


@pytest.mark.slow
def test_a_text_is_measured_and_shown_and_no_target_of_numbers(tmp_path):
    random = np.random.default_rng(0)
    reports = random.choice(["no mass.", "small mass.", "large mass, left."], 40)
    names = [f"s{row}" for row in range(40)]
    table = pandas.DataFrame({"participant_id": names, "report": reports, "age": random.uniform(20, 90, 40).round(1)})
    table.to_csv(tmp_path / "table.csv", index=False)
    schema = {
        "cohort": {"table": str(tmp_path / "table.csv"), "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "variables": {
            "report": {"type": "text", "tokens": 6, "vocabulary": 12},
            "age": {"type": "continuous", "range": [0, 110]},
        },
        "backbone": {"type": "transformer", "width": 16, "depth": 1},
        "training": {"steps": 6, "batch_size": 8, "validate_every": 3},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mv.train(schema, tmp_path / "run", registry=REGISTRY)
        results = mv.evaluate(tmp_path / "run", registry=REGISTRY, steps=2, draws=2, samples=0, rows=0)
    assert list(results.joint) == ["age"]
    rows = {row["method"]: row for row in results.measured["report"].rows}
    assert len(rows) == 3 and set(rows[results.mode]) == {
        "method", "BLEU-1 ↑", "BLEU-2 ↑", "BLEU-3 ↑", "BLEU-4 ↑", "ROUGE-L ↑", "rows"
    }  # fmt: skip
    assert rows["random training value"]["ROUGE-L ↑"].value > 0.3
    assert (tmp_path / "run" / "evaluation" / "measures-report.csv").exists()
    assert [len(shown) for shown in results.texts.values()] == [8]
    section = (tmp_path / "run" / "evaluation" / "report.html").read_text(encoding="utf-8").split(">Texts</h2>")[1]
    assert "report from age" in section and "<img" not in section.split("<h2")[0]
    assert all(one.true in set(reports) for one in results.texts["report"])
