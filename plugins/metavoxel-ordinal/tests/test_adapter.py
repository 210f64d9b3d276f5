"""The ordered probit on a known distribution."""

import torch
from metavoxel_ordinal.adapter import OrdinalFeatures

from metavoxel.rng import Rng


def fitted(latent, cuts):
    levels = (latent[:, None] > cuts).sum(1)
    codes = torch.nn.functional.one_hot(levels, len(cuts) + 1).float()
    features = OrdinalFeatures(len(cuts) + 1)
    features.fit(lambda: [codes])
    return features, codes


CUTS = torch.tensor([-0.5, 0.2, 1.3])


def test_cuts_and_scores_of_the_latent_number_are_recovered():
    latent = Rng.for_rows(40_000, "latent").normal((40_000,))
    features, codes = fitted(latent, CUTS)
    torch.testing.assert_close(features.cuts, CUTS, rtol=0, atol=0.03)
    of_level = (codes * latent[:, None]).sum(0) / codes.sum(0)
    torch.testing.assert_close(features.scores, of_level, rtol=0, atol=0.03)
    standardised = features.features_of(codes)
    torch.testing.assert_close(standardised.mean(), torch.zeros(()), rtol=0, atol=1e-4)
    torch.testing.assert_close(standardised.square().mean(), torch.ones(()), rtol=0, atol=1e-3)


def test_an_expected_score_of_0_gives_the_training_frequencies():
    features, codes = fitted(Rng.for_rows(5000, "latent").normal((5000,)), CUTS)
    outputs = features.baseline(codes[:1], torch.ones(1).double(), torch.zeros(1, 1))
    torch.testing.assert_close(features.link(outputs).softmax(1)[0], codes.mean(0), rtol=0, atol=2e-3)


def test_mean_and_sd_give_the_posterior_of_the_levels():
    """The posterior of a latent number given a noisy measurement is normal, so that the levels' probabilities are exact."""
    noise = 0.5
    latent = Rng.for_rows(200_000, "latent").normal((200_000,))
    features, _ = fitted(latent, CUTS)
    mean, sd = 0.9, (noise**2 / (1 + noise**2)) ** 0.5
    outputs = torch.tensor([[0.0, 0, 0, 0, mean, torch.tensor(sd).log()]])
    draws = mean + sd * Rng.for_rows(200_000, "posterior").normal((200_000,))
    expected = torch.nn.functional.one_hot((draws[:, None] > CUTS).sum(1), 4).double().mean(0)
    torch.testing.assert_close(features.link(outputs).softmax(1)[0].double(), expected, rtol=0, atol=5e-3)


def test_levels_without_rows_have_finite_logits():
    features, codes = fitted(torch.tensor([-1.0, 0.0, -0.7]), CUTS)
    assert torch.isfinite(features.cuts).all() and torch.isfinite(features.features_of(codes)).all()
    outputs = features.baseline(codes, torch.ones(3).double(), torch.full((3, 1), 9.0))
    assert torch.isfinite(features.link(outputs)).all()
