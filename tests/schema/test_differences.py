"""Settings in which schemas differ."""

from metavoxel.schema.differences import differing_settings


def test_the_settings_that_differ_are_named():
    first = "a: 1\nb:\n  c: [1, 2]\n  d: x\n"
    assert differing_settings(first, first) == []
    assert differing_settings(first, "a: 1\nb:\n  c: [1]\n  e: 2\n") == [
        ("b.c", "[1, 2] there, [1] now"), ("b.d", "'x' there, none now"), ("b.e", "none there, 2 now"),
    ]  # fmt: skip
    assert differing_settings(first, first + "\n") == [("its text", "the same settings in another form")]
    assert differing_settings("a: [", first)[0][0] == "all settings"
    assert len(differing_settings("a: " + "x" * 500, "a: 2")[0][1]) < 100
