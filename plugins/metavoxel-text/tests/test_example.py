"""``examples/reports``: gaps in reports, the autoregressive writer, and both commands from end to end."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from metavoxel_text import TextSpec
from metavoxel_text.codec import END
from metavoxel_text.words import MASK, text_of, tokens_of

from metavoxel.cohort.phantoms.reports import Facts, Lesion, draw_report
from metavoxel.cohort.phantoms.reports.heads import GRADES, HISTORIES

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "reports"
LENGTH, VOCABULARY, BLOCKS = 24, 11, 4


@pytest.fixture(scope="module")
def example():
    """The modules of the example by name."""
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in ("facts", "autoregressive", "run")}
    sys.path.remove(str(FOLDER))
    for name in ("facts", "autoregressive", "run"):
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(0)
    lesions = [None, Lesion("left", "frontal", "small", "dark"), Lesion("right", "occipital", "large", "bright")]
    return [
        draw_report(Facts(lesion, grade), history, random)
        for lesion in lesions
        for grade in GRADES
        for history in HISTORIES
    ]


def test_a_gap_is_where_masked_words_are(example, texts):
    spec = TextSpec(tokens=LENGTH, vocabulary=64, least_rows=1)
    codec = spec.parts().codec.build(spec.data_shape)
    values = torch.stack([spec.parse(text) for text in texts])
    codec.fit(lambda: [values])
    gap = example["facts"].gap_of(codec.encode(values).mean[:, 0])
    assert (gap.sum(1) == example["facts"].GAP).all()
    for text, row in zip(texts, gap, strict=True):
        tokens = tokens_of(text)
        start = (len(tokens) - 6) // 2
        with_gap = text_of([*tokens[:start], *[MASK] * 6, *tokens[start + 6 :]])
        assert (codec.known_cells(spec.parse_given(with_gap)[None])[0, 0] == ~row).all()


@pytest.fixture
def pairs(example):
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randn(64, BLOCKS, 3, generator=generator)
    words = torch.full((64, LENGTH), END)
    words[:, :12] = 2
    words[:, 3] = torch.where(blocks[:, 1, 0] > 0, 3, 4)  # a word that the picture determines
    words[:, 9] = words[:, 3] + 2  # and one that an earlier word determines
    return example["autoregressive"].Pairs(blocks, words)


@pytest.fixture
def writer(example, pairs):
    torch.manual_seed(0)
    return example["autoregressive"].Writer(pairs, VOCABULARY, width=16, depth=2, heads=2)


@pytest.mark.parametrize("training", [True, False])
def test_a_word_depends_on_the_picture_and_the_words_before_it(writer, pairs, training):
    writer.train(training)
    with torch.no_grad():
        before = writer(pairs.blocks, pairs.words[:, :-1])
        assert before.shape == (64, LENGTH, VOCABULARY)
        changed = pairs.words.clone()
        changed[:, 7] = 9
        after = writer(pairs.blocks, changed[:, :-1])
        torch.testing.assert_close(after[:, :8], before[:, :8])
        assert ((after[:, 8:] - before[:, 8:]).abs().amax(2) > 1e-5).all()
        torch.testing.assert_close(writer(pairs.blocks, pairs.words[:, :5]), before[:, :6])
        other = writer(pairs.blocks.flip(0), pairs.words[:, :-1])
        assert ((other - before).abs().amax(2) > 1e-5).all()


def test_a_gap_is_written_from_the_left(example, writer, pairs):
    gap = example["facts"].gap_of(pairs.words)
    assert gap[0].nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    right = pairs._replace(words=pairs.words.masked_fill(torch.arange(LENGTH) >= 9, 5))
    written = example["autoregressive"].written
    for make in (lambda: torch.Generator().manual_seed(1), lambda: None):
        found, other = (written(writer.eval(), each, gap, make()) for each in (pairs, right))
        assert (found[~gap] == pairs.words[~gap]).all() and (found[gap] == other[gap]).all()
    assert (found[:, 3] == writer(pairs.blocks, pairs.words[:, :3])[:, -1].argmax(1)).all()


def test_every_pair_is_in_a_batch_before_any_is_again(example, pairs):
    feed = example["autoregressive"].batches(pairs, 24, torch.Generator().manual_seed(0))
    first = torch.cat([next(feed).blocks for _ in range(8)])
    assert len(first) == 3 * 64
    for start in range(0, 3 * 64, 64):
        assert len(first[start : start + 64, 0, 0].unique()) == 64


class _Settings:
    """Settings of a run, as the writer reads them."""

    learning_rate, batch_size, weight_decay, warm_up, clip, ema, validate_every = 1e-2, 32, 0.1, 10, 1.0, 0.9, 50


class _Model:
    schema = type("Schema", (), {"training": _Settings})


def test_it_learns_words_of_the_picture_and_of_the_text(example, writer, pairs):
    loss, step = example["autoregressive"].train(writer, _Model, pairs, pairs, steps=150, seed=0)
    assert loss < 0.05 and step in (50, 100, 150) and not writer.training
    found = example["autoregressive"].written(writer, pairs, torch.ones_like(pairs.words, dtype=torch.bool), None)
    assert (found == pairs.words).float().mean() > 0.98


@pytest.mark.slow
def test_both_commands(example, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path), "--subjects", "40", "--steps", "3"])
    example["run"].main()
    lines = (tmp_path / "results.txt").read_text(encoding="utf-8").splitlines()
    assert any("model, one draw: the 6 words right" in line for line in lines)
    monkeypatch.setattr(sys, "argv", ["autoregressive.py", str(tmp_path), "--steps", "5"])
    example["autoregressive"].main()
    lines = (tmp_path / "autoregressive.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("trained in") and lines[0].endswith("5 steps")
    assert sum("all facts right" in line for line in lines) == 3
    model = example["run"].mv.load(tmp_path / "run")
    cohort = tmp_path / "cohort"
    test = example["facts"].read_subjects(example["run"].RunFolder(tmp_path / "run"), cohort).test
    found = example["run"].filled(model, test, cohort, 0)
    gap = example["facts"].gap_of(found.true)
    assert (found.words == found.true)[~gap].all() and not (found.words == found.true)[gap].all()


def test_no_run(example, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["autoregressive.py", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        example["autoregressive"].main()
    assert stopped.value.code == 2 and "no trained run; first: python examples" in capsys.readouterr().err
