from concurrent.futures import ThreadPoolExecutor

from metavoxel.preparation.qa.decisions import Decisions


def test_a_decision_is_a_row_with_rater_time_and_output(derivative):
    Decisions(derivative).record(("sub-01", ""), "hash01", "Ann", "drop", "tilted,\n bad")
    (row,) = Decisions(derivative).read()
    assert row[:6] == ("sub-01", "", "Ann", "drop", "tilted, bad", "hash01") and row.time.endswith("Z")
    assert (derivative / "qa.tsv").read_text().splitlines()[1].startswith("sub-01\tn/a\tAnn\tdrop\ttilted, bad")


def test_undo_removes_the_row_and_another_decision_replaces_it(derivative):
    table = Decisions(derivative)
    table.record(("sub-01", ""), "hash01", "Ann", "drop", "")
    table.record(("sub-01", ""), "hash01", "Ann", "keep", "")
    assert [row.decision for row in table.read()] == ["keep"]
    table.record(("sub-01", ""), "hash01", "Ann", None, "")
    assert table.read() == [] and not table.path.exists()


def test_raters_at_once_lose_nothing(derivative):
    def rate(rater):
        table = Decisions(derivative)
        for number in range(1, 11):
            table.record((f"sub-{number:02}", ""), "hash", rater, "keep", "")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(rate, ["Ann", "Bob", "Cid"]))
    assert len(Decisions(derivative).read()) == 30
