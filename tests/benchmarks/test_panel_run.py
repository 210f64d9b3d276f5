"""The panel's measurements, and the command."""

import json
import sys

import numpy as np
import pandas
import pytest

from benchmarks import panel
from benchmarks.panel_methods import Exact, Marginal
from benchmarks.panel_missing import MECHANISMS, removed
from benchmarks.panel_run import IMPUTERS, METHODS, PARTS, Panel, judged
from benchmarks.panel_tables import Question, Task, Training, world_task
from benchmarks.panel_worlds import WORLDS


def test_exact_draws_cover_and_leave_the_valley_empty():
    """2000 rows: coverage has a standard error of .007. Between the modes lie draws that are 2.5 to 10 spreads off."""
    found = judged(Exact(WORLDS["shapes"]), world_task("shapes", 0, 10, 2000), 20)
    for target in ("bim", "het"):
        assert np.mean(found["scores"][target]["covered"]) == pytest.approx(0.9, abs=0.03)
        assert found["shapes"][f"{target} widths"] == pytest.approx([1, 1, 1], abs=0.06)
    assert found["shapes"]["valley"] < 0.005
    # The score of a normal distribution's own draws is its spread over sqrt(pi).
    age = world_task("shapes", 0, 10, 2000).test["age"]
    expected = ((0.1 + 0.06 * (age - 30)) / np.sqrt(np.pi)).mean()
    assert np.mean(found["scores"]["het"]["crps"]) == pytest.approx(expected, rel=0.06)


def test_draws_that_ignore_age_are_too_wide_for_the_young():
    found = judged(Marginal(), world_task("shapes", 0, 500, 1000), 20)["shapes"]
    assert found["het widths"][0] > 2 > 1 > found["het widths"][2]
    assert found["valley"] > 0.3


def test_rows_without_the_target_are_not_judged():
    rows = pandas.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "k": [0.0, 1.0, np.nan, 1.0], "y": [1.0, np.nan, 3.0, np.nan]})
    questions = (Question("y", ("x", "k")), Question("k", ("x", "y")))
    task = Task("made", Training("made-0", rows, {"k": 2}, 0), rows, questions)
    found = judged(Marginal(), task, 20)["scores"]
    assert len(found["y"]["crps"]) == 2 and len(found["k"]["log_loss"]) == 3
    # The shares of labels 0, 1, 1 and of one row in halves.
    assert found["k"]["log_loss"] == pytest.approx(-np.log([1.5 / 4, 2.5 / 4, 2.5 / 4]))
    assert found["y"]["squared"].tolist() == [1.0, 1.0]


def test_the_missing_part_measures_removed_cells(tmp_path):
    small = Panel(tmp_path, seeds=(0,), rows=60, table=tmp_path / "absent.csv", quick=True)
    found = {unit.table: work() for unit, work in small.work("missing", ["mean"])}
    assert list(found) == ["diabetes-mcar", "diabetes-mnar_self"]
    rows = small.tables()["diabetes"][0].head(60)
    gone = removed(MECHANISMS["mcar"], rows, np.random.default_rng((0, 0, 5)))
    numbers = [name for name in rows if name != "sex"]
    mean = rows.mask(gone).mean()
    roots = [np.sqrt(((mean[name] - rows[name][gone[name]]) ** 2).mean() / rows[name].var()) for name in numbers]
    assert found["diabetes-mcar"]["numbers"] == pytest.approx(np.mean(roots))
    assert found["diabetes-mcar"]["share"] == pytest.approx(gone.to_numpy().mean())


def test_units_are_distinct_and_complete(tmp_path):
    full = Panel(tmp_path, table=tmp_path / "absent.csv")
    count = {part: [unit for unit, _ in full.work(part, [*METHODS, *IMPUTERS])] for part in PARTS}
    assert {part: len(units) for part, units in count.items()} == {
        "worlds": 3 * 6 * 6,
        "real": 3 * 3 * 5,
        "few": 12 * 5,
        "samples": 3 * 5,
        "missing": 3 * 3 * 13 * 4,
    }
    assert all(len(set(units)) == len(units) for units in count.values())


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["panel", *words])
    panel.main()


def test_the_command_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    words = ["--quick", "--parts", "few", "--methods", "linear", "marginal", "--output", str(tmp_path)]
    command(monkeypatch, *words[:4], "linear", *words[-2:])
    first = capsys.readouterr().out
    command(monkeypatch, *words)
    second = capsys.readouterr().out
    assert "few diabetes linear 0:" in first and "few diabetes linear 0:" not in second
    assert "few diabetes marginal 0:" in second
    assert "| metavoxel | not measured |" in second
    kept = json.loads((tmp_path / "few" / "diabetes__linear__0.json").read_text(encoding="utf-8"))
    assert len(kept["figures"]["scores"]["target"]["crps"]) == 30


def test_too_few_draws_for_an_interval_are_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        command(monkeypatch, "--draws", "10", "--output", str(tmp_path / "new"))
    assert "takes 20 or more" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
