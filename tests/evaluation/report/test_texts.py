"""The section on texts: their differences, and the page."""

import base64
import io

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.evaluation.report.figure import embedded_plane
from metavoxel.evaluation.report.report import Section, TextRow, TextTable, write_report
from metavoxel.evaluation.report.texts import EMPTY, compared


def marked(passages):
    return [passage.text for passage in passages if not passage.shared]


@pytest.mark.parametrize(
    ("true", "drawn", "lacking", "added"),
    [
        ("no mass.", "no mass.", [], []),
        ("small mass, on the left.", "small mass, on the right.", ["left"], ["right"]),
        ("no mass.", "no mass", ["."], []),
        ("a lesion of 3.5 cm", "a lesion of 3 cm", ["3.5"], ["3"]),
        ("old infarct. no mass.", "no mass.", ["old infarct."], []),
        ("no mass.", "", ["no mass."], [EMPTY]),
        ("mass,no oedema", "mass, no oedema", [], []),
        ("Kein Ödem, T1-betont", "kein Ödem, T2-betont", ["Kein", "T1-betont"], ["kein", "T2-betont"]),
    ],
)
def test_words_of_one_text_alone_are_marked(true, drawn, lacking, added):
    here, there = compared(true, drawn)
    assert marked(here) == lacking and marked(there) == added


@given(st.text(max_size=40), st.text(max_size=40))
def test_passages_are_the_texts(true, drawn):
    for text, passages in zip((true, drawn), compared(true, drawn), strict=True):
        found = "".join(passage.text for passage in passages)
        assert found == text.rstrip() or (found == EMPTY and not text.strip())
    assert not any(marked(passages) for passages in compared(true, true)) or not true.strip()


def test_the_page_has_texts_beside_images_and_escapes_them(tmp_path):
    plane = torch.tensor([[0.0, 0.5, 1.0], [2.0, -1.0, 1.0]])
    rows = [
        TextRow("s<1>", "age 63", [embedded_plane(plane)], *compared("no <b>mass</b> & oedema", "no mass")),
        TextRow("s2", "", [None], *compared("no mass", "no mass")),
    ]
    section = Section("Texts", texts=[TextTable("report from scan", ["scan"], rows)])
    assert section and not Section("Texts")
    write_report(tmp_path / "page.html", title="t", facts=[], notes=[], sections=[section], figures=tmp_path)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<th>scan</th><th>true text</th><th>drawn text</th>" in page
    assert "s&lt;1&gt;" in page and "<small>age 63</small>" in page
    assert "<b>" not in page and "no <del>&lt;b&gt;</del>mass<del>&lt;/b&gt; &amp; oedema</del>" in page
    assert page.count("<img ") == 1 and "<td>—</td>" in page and page.count("no mass</td>") == 3
    uri = page.split('src="data:image/png;base64,')[1].split('"')[0]
    pixels = PIL.Image.open(io.BytesIO(base64.b64decode(uri)))
    assert np.asarray(pixels).tolist() == [[0, 128, 255], [255, 0, 255]]
