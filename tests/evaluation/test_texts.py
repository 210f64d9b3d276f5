"""A variable of texts in an evaluation: drawn for some rows, and shown beside the images of the schema."""

from typing import Literal

import pytest
from tiny_cohorts import BACKBONE, IMAGES, write_images, write_table

import metavoxel as mv
from metavoxel.evaluation import texts
from metavoxel.evaluation.evaluating import REPORT
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.plugins.hookspecs import API_VERSION, hookimpl

SPLIT = {"train": 0.5, "validation": 0.2, "test": 0.3}
FINDINGS = {"a small <mass>": "1", "no mass": "2"}


class PhraseSpec(CategoricalSpec):
    """Labels that are texts of words."""

    type: Literal["phrase"] = "phrase"
    is_text = True


class Plugin:
    metavoxel_api = API_VERSION

    @hookimpl
    def metavoxel_variables(self):
        return [PhraseSpec]


REGISTRY = mv.load_registry(plugins=[Plugin()])


def evaluated(folder, monkeypatch):
    monkeypatch.setattr("metavoxel.evaluation.evaluating.drawings", lambda results: iter(()))
    results = mv.evaluate(folder / "run", registry=REGISTRY, steps=2, draws=2, samples=0, rows=0)
    return results, (folder / "run" / "evaluation" / REPORT).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    """A run on a table without images."""
    folder = tmp_path_factory.mktemp("texts")
    write_table(folder)
    schema = {
        "cohort": {"table": str(folder / "people.csv"), "missing": ["n/a"], "split": SPLIT},
        "variables": {
            "age": {"type": "continuous", "column": "Age"},
            "finding": {"type": "phrase", "column": "Sex", "categories": FINDINGS},
        },
        "backbone": BACKBONE,
        "training": {"steps": 4, "batch_size": 8, "validate_every": 2},
    }
    mv.train(schema, folder / "run", registry=REGISTRY)
    return folder


def test_texts_of_a_table_without_images(table_run, monkeypatch):
    results, page = evaluated(table_run, monkeypatch)
    shown = results.texts["finding"]
    assert [one.row for one in shown] == list(range(texts.SHOWN))
    assert [one.true for one in shown] == results.held_out.truth("finding")[: texts.SHOWN]
    assert {one.drawn for one in shown} <= {*FINDINGS}
    section = page.split(">Texts</h2>")[1].split("<h2")[0]
    assert "finding from age" in section and "<img" not in section and "<mass>" not in section
    assert section.count('<td class="text"') == 2 * texts.SHOWN and "<small>age " in section


def test_draws_are_kept_and_depend_on_their_row_alone(table_run, monkeypatch):
    first, _ = evaluated(table_run, monkeypatch)
    (path,) = (table_run / "run" / "evaluation" / "parts").glob("texts-finding-*.json")
    path.write_text(path.read_text(encoding="utf-8").replace("no mass", "no masses"), encoding="utf-8")
    again, _ = evaluated(table_run, monkeypatch)
    assert [one.drawn.replace("no masses", "no mass") for one in again.texts["finding"]] == [
        one.drawn for one in first.texts["finding"]
    ]
    path.unlink()
    monkeypatch.setattr(texts, "SHOWN", 3)
    fewer, _ = evaluated(table_run, monkeypatch)
    assert fewer.texts["finding"] == first.texts["finding"][:3]


def test_texts_beside_images(tmp_path, monkeypatch):
    write_images(tmp_path)
    schema = {
        **IMAGES,
        "cohort": {"table": str(tmp_path / "people.csv"), "split": SPLIT},
        "variables": {
            "picture": IMAGES["variables"]["picture"],
            "volume": {**IMAGES["variables"]["volume"], "codec": "local_pca"},
            "finding": {"type": "phrase", "column": "sex", "categories": {"no mass": "F", "a mass": "M"}},
        },
    }
    mv.train(schema, tmp_path / "run", registry=REGISTRY)
    results, page = evaluated(tmp_path, monkeypatch)
    section = page.split(">Texts</h2>")[1].split("<h2")[0]
    assert "<th>picture</th><th>volume</th>" in section
    present = results.held_out.present("volume")[: texts.SHOWN]
    assert section.count("<img") == len(present) + present.sum()


def test_a_schema_without_texts_has_no_section(table_run, monkeypatch):
    monkeypatch.setattr(PhraseSpec, "is_text", False)
    results, page = evaluated(table_run, monkeypatch)
    assert results.texts == {} and "Texts</h2>" not in page
