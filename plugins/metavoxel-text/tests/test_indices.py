"""A model of words held as indices is the model of their one-hot codes, at the same seed."""

import json
import warnings
from typing import ClassVar, Literal

import metavoxel_absorbing
import metavoxel_text
import numpy as np
import pandas
import pytest
import torch
from metavoxel_text.codec import WordCodec, WordsSpec
from scipy import stats

import metavoxel as mv
from metavoxel.errors import CohortWarning
from metavoxel.parts.codecs.base import Encoded
from metavoxel.parts.indices import one_hot
from metavoxel.plugins.hookspecs import hookimpl

ROWS, DRAWS, LIMIT = 60, 600, 1e-6
WORDS = ["no", "small", "large", "mass", "effusion", "left", "right"]


class OneHotCodec(WordCodec):
    """Words as one-hot codes."""

    indexed = False

    def encode(self, x):
        if x.is_meta:  # a schema is checked with tensors that have no content
            return Encoded(self.blank(len(x), x.device))
        return Encoded(one_hot(super().encode(x).mean[:, 0], self.code_shape[0]))


class OneHotSpec(WordsSpec):
    """Settings of words as one-hot codes."""

    indexed: ClassVar[bool] = False

    type: Literal["one_hot_words"] = "one_hot_words"

    def build(self, data_shape):
        return OneHotCodec(self, data_shape[0])


class Plugin:
    @hookimpl
    def metavoxel_codecs(self):
        return [OneHotSpec]


REGISTRY = mv.load_registry(plugins=[metavoxel_absorbing, metavoxel_text, Plugin()])


def table():
    rng = np.random.default_rng(0)
    reports = [" ".join(rng.choice(WORDS, rng.integers(2, 6))) + "." for _ in range(ROWS)]
    ages = [30 + 8 * len(text.split()) + rng.normal() for text in reports]
    frame = pandas.DataFrame({"participant_id": [f"s{row}" for row in range(ROWS)], "report": reports, "age": ages})
    frame.loc[::7, "report"] = None
    return frame


def trained(codec, folder):
    schema = {
        "variables": {
            "report": {"type": "text", "tokens": 8, "vocabulary": 12, "codec": codec},
            "age": {"type": "continuous", "range": [0, 110]},
        },
        "backbone": {"type": "transformer", "width": 16, "depth": 1, "dropout": 0.0},
        "training": {"steps": 40, "batch_size": 16, "learning_rate": 3e-3, "validate_every": 20},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CohortWarning)
        mv.train(schema, folder, table=table(), registry=REGISTRY)
        return mv.load(folder, registry=REGISTRY)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    settings = {"tokens": 8, "vocabulary": 12}
    return folder, [trained({"type": name, **settings}, folder / name) for name in ("words", "one_hot_words")]


def test_losses_of_training_and_validation_are_the_same(models):
    folder, _ = models
    found = []
    for name in ("words", "one_hot_words"):
        lines = (folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        found.append(
            [
                value
                for one in records
                for key, value in sorted(one.items())
                if isinstance(value, float) and "second" not in key and "time" not in key
            ]
        )
    assert len(found[0]) > 4 and found[0] == pytest.approx(found[1], rel=1e-3)


def test_weights_are_the_same(models):
    _, (one, other) = models
    states = [model.joint.state_dict() for model in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-3, atol=1e-4, msg=name)


def test_predictions_and_likelihoods_are_the_same(models):
    _, (one, other) = models
    rows = table().dropna()
    for found in (
        [model.predict(rows, "age", ["report"])["age"] for model in (one, other)],
        [model.log_likelihood(rows, "report")["logp[report]"] for model in (one, other)],
    ):
        np.testing.assert_allclose(found[0], found[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("given", [{"age": 60.0}, {"age": 60.0, "report": "no [MASK] effusion [...]"}])
def test_draws_have_the_same_distribution_in_every_cell(models, given):
    _, both = models
    drawn = []
    for seed, model in enumerate(both):
        texts = model.sample(DRAWS, given, seed=seed, steps=8).frame["report"]
        values = torch.stack(
            [model.value_of("report", text) if text else torch.zeros(128, dtype=torch.int32) for text in texts]
        )
        drawn.append(both[0].codecs["report"].encode(values).mean[:, 0])
    for cell in range(8):
        counts = torch.stack([torch.bincount(one[:, cell], minlength=12) for one in drawn])
        rare = counts.sum(0) < 10
        counts = torch.cat([counts[:, ~rare], counts[:, rare].sum(1, keepdim=True)], 1)
        counts = counts[:, counts.sum(0) > 0]
        if counts.shape[1] > 1:
            assert stats.chi2_contingency(counts.numpy()).pvalue > LIMIT


def test_joint_draws_are_of_indices(models):
    _, (one, _) = models
    found = one.predict(table().dropna().head(4), ["report", "age"], [], draws=3)
    assert found["report"].notna().all() and found["age"].notna().all()
