"""``metavoxel evaluate`` on the command line."""

import pandas


def test_a_run_is_evaluated(metavoxel, table_study, tmp_path):
    arguments = ["evaluate", table_study / "run", "--output", tmp_path / "out", "--steps", "1", "--target", "age"]
    done = metavoxel(*arguments, "--table2", "score", "--by", "Sex")
    assert done.code == 0 and done.out == f"4 test rows: {tmp_path / 'out' / 'report.html'}\n"
    table = pandas.read_csv(tmp_path / "out" / "table2.csv", keep_default_na=False)
    assert table["given"].tolist() == ["age, sex", "age", "sex", "∅", "population mean"]
    assert "sex accuracy" not in pandas.read_csv(tmp_path / "out" / "table1.csv")


def test_problems_are_reported_before_anything_is_computed(metavoxel, table_study, tmp_path):
    def refused(*arguments):
        done = metavoxel("evaluate", table_study / "run", "--output", tmp_path / "out", *arguments)
        assert done.code == 2 and not (tmp_path / "out").exists()
        return done.lines

    assert refused("--target", "agee,sex", "--samples", "3") == [
        "--target: no variable 'agee'. Did you mean 'age'? Variables: age, sex, score",
        "--samples: must be 0 (no image quality) or at least 5, not 3",
        "2 problems.",
    ]
    assert refused("--features", "nowhere.pth")[0].startswith("--features nowhere.pth: no such file of weights")
    assert refused("--device", "gpu")[0].startswith("--device gpu: not a device of this machine")
