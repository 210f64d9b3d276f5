from metavoxel.parts.variables.text import composed, looks_like


def test_an_accent_joins_its_letter_in_texts_that_may_be_labels():
    assert composed("gro\u0308ße") == "größe"
    assert composed("a" * 998 + "o\u0308") == "a" * 998 + "ö"
    assert looks_like("o\u0308", "ö")


def test_a_text_that_is_too_long_for_a_label_stays_as_it_is():
    text = "a" * 999 + "o\u0308"
    assert composed(text) == text
    assert not looks_like(text, "a" * 999 + "ö")
