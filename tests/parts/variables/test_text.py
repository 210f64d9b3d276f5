from metavoxel.parts.variables.text import composed, looks_like


def test_combining_accents_are_composed_in_short_texts():
    assert composed("gro\u0308ße") == "größe"
    assert composed("a" * 998 + "o\u0308") == "a" * 998 + "ö"
    assert looks_like("o\u0308", "ö")


def test_long_texts_are_unchanged():
    text = "a" * 999 + "o\u0308"
    assert composed(text) == text
    assert not looks_like(text, "a" * 999 + "ö")
