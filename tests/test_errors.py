from metavoxel.errors import Problem, SchemaError


def test_a_very_long_problem_keeps_its_start_and_end():
    what = f"{'x' * 100_000!r} is not a number. Leave the cell empty"
    shown = str(SchemaError(Problem("t.csv row 2", what)))
    assert len(shown) < 2100
    assert shown.startswith("t.csv row 2: 'xxx") and shown.endswith("xxx' is not a number. Leave the cell empty")
    assert " ... " in shown
    assert Problem("t.csv row 2", what).what == what


def test_a_short_problem_is_shown_whole():
    what = "an image" * 200
    assert str(Problem("", what)) == what
    assert str(Problem("here", what)) == f"here: {what}"
