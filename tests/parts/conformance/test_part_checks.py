"""Broken codecs, adapters, backbones and features fail the conformance check of the violated contract."""

import pytest
import torch
from torch import nn

from metavoxel.parts.adapters.base import BackboneOutputs, Ports, Streams
from metavoxel.parts.adapters.sequence import SequenceAdapter, SequenceAdapterSpec
from metavoxel.parts.adapters.token import TokenAdapter, TokenAdapterSpec
from metavoxel.parts.backbones.transformer import Transformer, TransformerSpec
from metavoxel.parts.codecs.base import AbstractCodec, Encoded
from metavoxel.parts.codecs.identity import IdentityCodec
from metavoxel.parts.codecs.linear import LinearCodec
from metavoxel.parts.features.scalar import GaussianFeatures
from metavoxel.parts.indices import classes_of, is_indices, one_hot
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.testing import (
    adapter_checks,
    backbone_checks,
    codec_checks,
    feature_checks,
    run_checks,
)


def outcome(checks, name):
    (result,) = run_checks(check for check in checks if check.name == name)
    return result.outcome


class CentersBatch(IdentityCodec):
    """Encodes a row relative to the mean of its batch."""

    def encode(self, x):
        return Encoded(x - x.mean(0, keepdim=True))


class KeepsFitOutOfState(IdentityCodec):
    def fit(self, batches):
        self.shift = torch.cat(list(batches())).mean()

    def encode(self, x):
        return Encoded(x - self.shift)

    def decode(self, z):
        return z + self.shift


class Coarse(IdentityCodec):
    """Rounds values beyond the stated tolerance."""

    def encode(self, x):
        return Encoded((x * 10).round() / 10)


class InDouble(IdentityCodec):
    def encode(self, x):
        return Encoded(x.double())


class MarksAllReliable(IdentityCodec):
    """Marks codes of unknown data as reliable."""

    def encode_partial(self, x, known):
        return self.encode(x), torch.ones_like(known)


class WritesToData(IdentityCodec):
    def encode(self, x):
        return Encoded(x.sub_(self.center))


@pytest.mark.parametrize(
    ("codec", "found"),
    [
        (CentersBatch, "check_rows_independent"),
        (KeepsFitOutOfState, "check_state_round_trip"),
        (Coarse, "check_round_trip"),
        (InDouble, "check_code_precision"),
        (MarksAllReliable, "check_partial_conservative"),
        (WritesToData, "check_inputs_unchanged"),
    ],
)
def test_a_broken_codec_is_found(codec, found):
    samples = 3 + Rng.for_rows(6, "samples").normal((6, 1, 4, 4))
    assert outcome(codec_checks(codec((1, 4, 4)), samples), found) == "failed"


def test_a_codec_is_checked_on_a_copy():
    codec = LinearCodec(logarithm=False, center=0.0, scale=1.0, fitted=False)
    run_checks(codec_checks(codec, torch.tensor([20.0, 30.0, 50.0, 70.0])))
    assert float(codec.center) == 0


class Classes(AbstractCodec):
    """Codec of integers below 5 as indices."""

    support, indexed, tolerance, code_shape = "one_hot", True, 0.0, (5, 4)

    def encode(self, x):
        return Encoded(x[:, None])

    def decode(self, z):
        return classes_of(z)


class CountsFromOne(Classes):
    def encode(self, x):
        return Encoded(x[:, None] + 1)


class ReadsIndicesOtherwise(Classes):
    def decode(self, z):
        return super().decode(z).flip(1) if is_indices(z) else super().decode(z)


class HoldsOneHot(Classes):
    def encode(self, x):
        return Encoded(one_hot(x, 5))


@pytest.mark.parametrize(
    ("codec", "found"),
    [
        (CountsFromOne, "check_indices"),
        (ReadsIndicesOtherwise, "check_indices"),
        (HoldsOneHot, "check_code_shape"),
        (HoldsOneHot, "check_code_precision"),
    ],
)
def test_a_broken_codec_of_indices_is_found(codec, found):
    samples = torch.arange(24).reshape(6, 4) % 5
    assert not [result for result in run_checks(codec_checks(Classes(), samples)) if not result.ok]
    assert outcome(codec_checks(codec(), samples), found) == "failed"


CONTEXT = TokenAdapterSpec().context(GaussianKernel(), (2,), Ports({}, 8, 8, 8, 8))


class IgnoresTime(TokenAdapter):
    def embed(self, inputs):
        return super().embed(inputs._replace(time=torch.zeros_like(inputs.time)))


class IgnoresObserved(TokenAdapter):
    def embed(self, inputs):
        return super().embed(inputs._replace(observed=torch.zeros_like(inputs.observed)))


class HasIdleWeights(TokenAdapter):
    def __init__(self, context, dropout):
        super().__init__(context, dropout)
        self.idle = nn.Linear(2, 2)


class MixesRows(TokenAdapter):
    def head(self, features):
        prediction = super().head(features)
        return prediction - prediction.mean(0)


class PredictsTooMuch(TokenAdapter):
    def head(self, features):
        return super().head(features).repeat(1, 2)


class InventsPort(TokenAdapter):
    def embed(self, inputs):
        return Streams({"nowhere": torch.zeros(len(inputs.x), 8, 4)}, super().embed(inputs).tokens)


class ChoosesByContent(TokenAdapter):
    def head(self, features):
        prediction = super().head(features)
        return prediction if bool((features.tokens > 0).any()) else -prediction


@pytest.mark.parametrize(
    ("adapter", "found"),
    [
        (IgnoresTime, "check_embed_sees_time"),
        (IgnoresObserved, "check_embed_sees_observed"),
        (HasIdleWeights, "check_gradient_everywhere"),
        (MixesRows, "check_rows_independent"),
        (PredictsTooMuch, "check_prediction_shape"),
        (InventsPort, "check_stream_shapes"),
        (ChoosesByContent, "check_stacked"),
    ],
)
def test_a_broken_adapter_is_found(adapter, found):
    assert outcome(adapter_checks(adapter(CONTEXT, 0.0), CONTEXT), found) == "failed"


class TakesNoClassForTheFirst(SequenceAdapter):
    def embed(self, inputs):
        return super().embed(inputs._replace(x=inputs.x.clamp_min(0)) if is_indices(inputs.x) else inputs)


def test_a_broken_adapter_of_indices_is_found():
    context = SequenceAdapterSpec().context(UniformD3PMKernel(), (4, 6), CONTEXT.ports)
    assert outcome(adapter_checks(SequenceAdapter(context, 0.0), context), "check_indices") == "passed"
    assert outcome(adapter_checks(TakesNoClassForTheFirst(context, 0.0), context), "check_indices") == "failed"


class HasNoPrecision(GaussianFeatures):
    def likelihood(self, x, time, observed):
        found = super().likelihood(x, time, observed)
        return found._replace(precision=-found.precision - 1)


class LinksToTooMuch(GaussianFeatures):
    def link(self, outputs):
        return outputs.repeat(1, 2)


class ScalesInPlace(GaussianFeatures):
    def features_of(self, x0):
        return x0.sub_(self.center).div_(self.scale)


class LosesOne(GaussianFeatures):
    def features_of(self, x0):
        return super().features_of(x0)[:, :1]


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (HasNoPrecision, "check_likelihood"),
        (LinksToTooMuch, "check_baseline"),
        (ScalesInPlace, "check_inputs_unchanged"),
        (LosesOne, "check_features"),
    ],
)
def test_broken_features_are_found(features, found):
    assert outcome(feature_checks(features(2, GaussianKernel()), CONTEXT), found) == "failed"


class SeparatesTokens(Transformer):
    """Processes each token separately."""

    def forward(self, streams, time_embedding):
        alone = [
            super(SeparatesTokens, self).forward(Streams({}, token[:, None]), time_embedding)
            for token in streams.tokens.unbind(1)
        ]
        return BackboneOutputs({}, {}, torch.cat([features.tokens for features in alone], 1))


class IgnoresTimeEmbedding(Transformer):
    def forward(self, streams, time_embedding):
        return super().forward(streams, torch.zeros_like(time_embedding))


class DropsToken(Transformer):
    def forward(self, streams, time_embedding):
        features = super().forward(streams, time_embedding)
        return features._replace(tokens=features.tokens[:, 1:])


class IgnoresLinks(Transformer):
    def forward(self, streams, time_embedding):
        return super().forward(streams._replace(links=None), time_embedding)


class CutsLinks(Transformer):
    """Processes each token separately if there are no links."""

    def forward(self, streams, time_embedding):
        alone = torch.eye(streams.tokens.shape[1], dtype=torch.bool)
        return super().forward(streams if streams.links is not None else streams._replace(links=alone), time_embedding)


@pytest.mark.parametrize(
    ("backbone", "found"),
    [
        (IgnoresLinks, "check_links_respected"),
        (CutsLinks, "check_links_respected"),
        (SeparatesTokens, "check_outputs_depend_on_inputs"),
        (IgnoresTimeEmbedding, "check_outputs_depend_on_inputs"),
        (DropsToken, "check_feature_shapes"),
    ],
)
def test_a_broken_backbone_is_found(backbone, found):
    spec = TransformerSpec(width=8, heads=2, depth=1)
    assert outcome(backbone_checks(backbone(spec), respects_factors=True), found) == "failed"
