"""What the panel keeps, and the tables that it makes of it."""

import numpy as np
import pandas
import pytest

from benchmarks.panel_generators import Forest, NotInstalledError, Real, Synthesizer, generators, indicators, told_apart
from benchmarks.panel_joint import Runs
from benchmarks.panel_report import LACKING, few, figure, missing, paired, panel, publish, samples, scores_of, tables
from benchmarks.panel_results import Results, Unit
from benchmarks.panel_tables import Training


def scores(values):
    rows = np.array(values)
    return {"crps": rows, "squared": rows**2, "covered": rows * 0 + 1, "width": rows}


def kept(tmp_path):
    """Two tasks, two seeds: trees are better than the marginal by 1 and 2 in one, and by 0 and .5 in the other."""
    results = Results(tmp_path, {"rows": 5})
    for table, better in (("shapes", (1.0, 2.0)), ("bounded", (0.0, 0.5))):
        for seed in (0, 1):
            shapes = {"valley": 0.25, "bim widths": [1, 2, 3], "het widths": [1, 1, 1]}
            for method, shift in (("marginal", 0.0), ("trees", better[seed])):
                figures = {"scores": {"y": scores(np.array([3.0, 5.0]) - shift)}, "shapes": shapes}
                results.keep(Unit("worlds", table, method, seed), figures)
    return results


def test_a_measurement_is_kept_whole_and_found_again(tmp_path):
    results, unit = Results(tmp_path, {"rows": 5}), Unit("real", "wine", "trees", 2)
    assert unit not in results
    results.keep(unit, {"scores": {"y": {"crps": np.array([0.123456789, 2.0])}}, "seconds": np.float64(3.0)})
    assert unit in Results(tmp_path, {"rows": 5})
    assert list(results.of("real")) == [(unit, {"scores": {"y": {"crps": [0.123457, 2.0]}}, "seconds": 3.0})]
    assert list(results.of("worlds")) == []
    assert [path.suffix for path in (tmp_path / "real").iterdir()] == [".json"]


def test_measurements_of_other_settings_are_refused(tmp_path):
    Results(tmp_path, {"rows": 5})
    with pytest.raises(SystemExit, match="measured by other settings"):
        Results(tmp_path, {"rows": 6})


def test_differences_are_paired_by_seed_and_by_row_of_a_single_seed(tmp_path):
    task = scores_of(kept(tmp_path), ["worlds"])["worlds", "shapes", "y"]
    assert paired(task, "trees", "marginal", "crps") == [-1.0, -2.0]
    single = {method: {0: seeds[0]} for method, seeds in task.items()}
    assert paired(single, "trees", "marginal", "crps") == [-1.0, -1.0]
    assert paired(task, "linear", "marginal", "crps") == []


def test_the_panel_has_means_ranks_and_differences(tmp_path):
    first, second = panel(scores_of(kept(tmp_path), ["worlds"]))
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in first.splitlines()]
    assert lines[0] == [
        "table",
        "target",
        "score",
        *["exact", "metavoxel", "trees", "neighbours", "linear", "marginal"],
    ]
    named = {line[0]: line for line in lines[2:]}
    # The mean of 3, 5 less 1 and less 2; 4 itself.
    assert named["shapes"][3:] == ["", LACKING, "2.50", LACKING, LACKING, "4.00"]
    assert named["bounded"][3:] == ["", LACKING, "3.75", LACKING, LACKING, "4.00"]
    assert named["mean rank"][-4:] == ["1.00", LACKING, LACKING, "2.00"]
    assert "| trees: 2.50 | not measured | best | not measured | not measured | 1.50 ± .500 |" in second
    # The marginal is worse by 1.5 and .25 of 4.
    assert "21.9 ± 15.6 %" in second.splitlines()[-1]


def test_all_tables_are_made_of_nothing_and_of_little(tmp_path):
    empty = tables(Results(tmp_path / "empty", {}))
    assert all(LACKING in text or text.count("\n") == 2 for text in empty.values())
    found = tables(kept(tmp_path / "some"))
    assert "| trees | .250 | 1.00 | 2.00 | 3.00 | 1.00 | 1.00 | 1.00 |" in found["panel shapes"]


def test_methods_are_compared_on_the_rows_that_all_were_measured_on(tmp_path):
    results = Results(tmp_path, {})
    for method, values in (("trees", [1.0, 2.0, 9.0]), ("marginal", [3.0, 5.0]), ("metavoxel", [4.0, 4.0, 4.0])):
        results.keep(Unit("worlds", "counts", method, 0), {"scores": {"y": scores(np.array(values))}, "shapes": {}})
    results.keep(Unit("worlds", "counts", "trees", 1), {"scores": {"y": scores(np.array([7.0]))}, "shapes": {}})
    first, _ = panel(scores_of(results, ["worlds"]))
    assert "| counts | y | CRPS |  | 4.00 | 1.50 | not measured | not measured | 4.00 |" in first


def test_few_rows_are_compared_by_subset(tmp_path):
    results = Results(tmp_path, {})
    for subset in (0, 1):
        for method, error in (("linear", 3.0 + subset), ("marginal", 6.0)):
            unit = Unit("few", "diabetes", method, subset)
            results.keep(unit, {"scores": {"target": scores(np.array([error, -error]))}, "shapes": {}})
    text = few(results)
    assert "| linear | 3.50 ± .500 |  | -2.50 ± .500 | 1.00 ± 0 |" in text
    assert "| marginal | 6.00 ± 0 | 2.50 ± .500 |  |" in text


def test_imputation_is_averaged_over_tables_and_kinds(tmp_path):
    results = Results(tmp_path, {})
    for table, error in (("wine", 0.5), ("ixi", 0.7)):
        results.keep(Unit("missing", f"{table}-mcar", "mean", 0), {"numbers": error, "categories": 0.25})
    assert "| MCAR | each cell by chance | not measured | not measured | not measured | .600 / .250 |" in missing(
        results
    )


def test_generators_that_are_not_installed_are_named(tmp_path, monkeypatch):
    for generator in (Synthesizer, Forest):
        monkeypatch.setattr(generator, "package", "no-such-distribution")
    results = Results(tmp_path, {})
    results.keep(Unit("samples", "wine", "real", 0), {"accuracy": 0.5, "rows": 60, "version": ""})
    assert "| wine | 60 | .500 | not measured | not installed | not installed | not installed |" in samples(results)
    with pytest.raises(NotInstalledError, match="no-such-distribution is not installed"):
        generators(Runs(tmp_path))["tvae"].version()


def test_real_rows_cannot_be_told_from_held_out_ones_nor_gaps_be_compared():
    random = np.random.default_rng(0)
    frame = pandas.DataFrame({"x": random.normal(size=400), "k": random.integers(0, 3, 400).astype(float)})
    rows = Training("x", frame[:200].reset_index(drop=True), {"k": 3}, 0)
    held = frame[200:].mask(random.random((200, 2)) < 0.05)
    found = told_apart(Real(), rows, held, trees=30)
    assert found["rows"] == len(held.dropna())
    assert found["accuracy"] == pytest.approx(0.5, abs=0.1)
    assert indicators(frame[:1].assign(k=2.0), {"k": 3})[0, 1:].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12345.6, "12346"),
        (45.67, "45.7"),
        (1.0, "1.00"),
        (0.05, ".0500"),
        (-0.4, "-.400"),
        (0.99999, "1.000"),
    ],
)
def test_figures_have_three_digits(value, text):
    assert figure(value) == text


def test_tables_are_put_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- results: panel few -->\nold\n<!-- end -->\nb\n", encoding="utf-8")
    publish({"panel few": "| new |\n", "panel": "| not there |\n"}, page)
    assert page.read_text(encoding="utf-8") == "a\n<!-- results: panel few -->\n| new |\n<!-- end -->\nb\n"
