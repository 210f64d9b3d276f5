"""Report section on texts: true and drawn ones, word by word, beside the images of the same rows."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from metavoxel.evaluation.held_out import HeldOut
from metavoxel.evaluation.report.figure import embedded_plane
from metavoxel.evaluation.report.report import Passage, Section, TextRow, TextTable
from metavoxel.evaluation.results import Results
from metavoxel.evaluation.settings import others
from metavoxel.evaluation.texts import DrawnText
from metavoxel.inference.plot import as_image, middle_slice

VALUES = 6
"""Most numbers and labels of a row beside its texts."""

EMPTY = "(no words)"
"""Shown for a text without words."""

_WORD = re.compile(r"\s*(?:\w+(?:(?:[.,](?=\d)|['\u2019-])\w+)*|[^\w\s])")
"""A word, which may have hyphens, apostrophes and decimal points inside, or one mark, after white space."""


def text_section(results: Results) -> Section:
    """Texts of some held-out rows, and a draw of each from all other variables."""
    if not results.texts:
        return Section("Texts")
    held_out = results.held_out
    words = [
        "One draw of each text given all other variables of its row, for the first test rows that have one. Marked are "
        "words of the true text that the drawn text lacks, and words of the drawn text that the true text lacks. A "
        "marked word may be another wording of the same fact.",
        "These are texts of held-out subjects as in the table: read them before passing this page on.",
    ]
    specs = held_out.model.schema.specs
    scalars = [name for name, spec in specs.items() if not (spec.spatial or spec.data_shape or spec.is_text)][:VALUES]
    values = {name: held_out.truth(name) for name in scalars}
    tables = [
        TextTable(
            f"{name} from {', '.join(others(held_out.model.schema, name))}",
            held_out.images,
            [_row(held_out, one, values) for one in found],
        )
        for name, found in results.texts.items()
    ]
    return Section("Texts", words, texts=tables)


def _row(held_out: HeldOut, text: DrawnText, values: Mapping[str, Sequence[object]]) -> TextRow:
    known = [f"{name} {cells[text.row]}" for name, cells in values.items() if cells[text.row] is not None]
    images = [_image(held_out, name, text.row) for name in held_out.images]
    return TextRow(held_out.subjects[text.row], ", ".join(known), images, *compared(text.true, text.drawn))


def _image(held_out: HeldOut, name: str, row: int) -> str | None:
    if not held_out.present(name)[row]:
        return None
    return embedded_plane(middle_slice(as_image(held_out.cohort.columns[name].read([row])[0])))


def compared(true: str, drawn: str) -> tuple[list[Passage], list[Passage]]:
    """Split two texts into passages that both have, in the same order, and passages of one alone."""
    first, second = _WORD.findall(true), _WORD.findall(drawn)
    matcher = SequenceMatcher(None, [one.lstrip() for one in first], [one.lstrip() for one in second], autojunk=False)
    here: list[Passage] = []
    there: list[Passage] = []
    for kind, start, stop, other_start, other_stop in matcher.get_opcodes():
        here += _passages(first[start:stop], shared=kind == "equal")
        there += _passages(second[other_start:other_stop], shared=kind == "equal")
    none = [Passage(EMPTY, False)]
    return here or none, there or none


def _passages(words: Sequence[str], *, shared: bool) -> Iterator[Passage]:
    """Yield the words as one passage, after the white space before it, which is never marked."""
    text = "".join(words)
    bare = text.lstrip()
    if bare != text:
        yield Passage(text[: len(text) - len(bare)], True)
    if bare:
        yield Passage(bare, shared)
