"""The joint model and its training loss: masks, independence of rows, and work without grids."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import corrupt, loss_sums, ratio
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.network.banded_field import BandedField
from metavoxel.network.residual_field import ResidualField
from metavoxel.parts.conformance.modules import at_generic_weights
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.schema import parse_schema

ROWS = 5
UNET = {"type": "unet", "channels": [8, 16], "head_channels": 8, "token_width": 16}
MIXED = {
    "cohort": {"table": "subjects.csv"},
    "variables": {
        "scan": {"type": "image", "codec": "identity", "shape": [4, 6], "adapter": {"type": "grid_summary", "components": 2}},
        "age": {"type": "continuous"},
        "site": {"type": "categorical", "categories": ["a", "b", "c"]},
    },
    "backbone": UNET,
}  # fmt: skip
NAMES = list(MIXED["variables"])
SHAPES = {"scan": (1, 4, 6), "age": (1,), "site": (3,)}


def joint_of(raw):
    torch.manual_seed(0)
    schema = parse_schema(raw, folder=Path())
    return at_generic_weights(build_joint(schema, build_codecs(schema)))


@pytest.fixture(scope="module")
def model():
    joint = joint_of(MIXED)
    joint.baseline.features_of("scan").fit(lambda: [Rng.for_rows(9, "codes").normal((9, 1, 4, 6))])
    return joint


def banks(present, absent_codes=0.0):
    """Return codes of ``ROWS`` rows; those of absent data are ``absent_codes``."""
    rng, made = Rng.for_rows(ROWS, "banks"), {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        code = rng.fork(name).normal((ROWS, *shape))
        if name == "site":
            code = torch.eye(3)[torch.arange(ROWS) % 3]
        here = present[:, index]
        code = torch.where(here.reshape(-1, *[1] * len(shape)), code, absent_codes)[:, None]
        partial = trusted = None
        if name == "scan":
            partial, trusted = 0.9 * code, torch.zeros(ROWS, 1, 1, 4, 6, dtype=torch.bool)
            trusted[..., :2, :] = True
        made[name] = LatentCache(here, code, None, partial, trusted)
    return made


def times(t, observed=None):
    t = torch.as_tensor(t, dtype=torch.float64).expand(ROWS, 3)
    observed = torch.zeros(ROWS, 3, dtype=torch.bool) if observed is None else observed
    return RowTimes(torch.where(observed, 0.0, t), observed)


def terms_of(model, made, row_times, **options):
    rows, rng = torch.arange(ROWS), Rng.for_rows(ROWS, "terms")
    corrupted = corrupt(model, made, rows, row_times, rng, device=torch.device("cpu"), **options)
    predictions = model(corrupted.states, corrupted.times, corrupted.observed)
    return corrupted, predictions, loss_sums(model, predictions, corrupted)


ALL = torch.ones(ROWS, 3, dtype=torch.bool)
SOME = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1]]).bool()


def test_predictions_have_the_shapes_of_codes(model):
    _, predictions, _ = terms_of(model, banks(ALL), times(0.5))
    assert {name: tuple(prediction.shape) for name, prediction in predictions.items()} == {
        name: (ROWS, *shape) for name, shape in SHAPES.items()
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e20])
def test_an_absent_datum_never_has_influence(model, value):
    """For any value in its place, on the loss or the gradient of any weight."""
    found = []
    for absent in (0.0, value):
        model.zero_grad()
        corrupted, _, sums = terms_of(model, banks(SOME, absent), times(0.5))
        for name in NAMES:
            assert torch.isfinite(corrupted.states[name]).all()
        torch.stack([ratio(*pair) for pair in sums.values()]).sum().backward()
        found.append((sums, {name: weight.grad.clone() for name, weight in model.named_parameters()}))
    (sums, gradients), (same_sums, same_gradients) = found
    for name in NAMES:
        assert torch.isfinite(sums[name][0]) and torch.equal(sums[name][0], same_sums[name][0])
        assert torch.equal(sums[name][1], same_sums[name][1])
    for name, gradient in gradients.items():
        assert torch.isfinite(gradient).all() and torch.equal(gradient, same_gradients[name]), name


def test_absent_and_observed_variables_alone_have_no_weight_in_the_loss(model):
    observed = torch.tensor([[0, 1, 0]] * ROWS).bool()
    corrupted, _, sums = terms_of(model, banks(SOME), times(0.5, observed), partial=False)
    for index, name in enumerate(NAMES):
        expected = SOME[:, index] & ~observed[:, index]
        counts = corrupted.counts[name].flatten(1)
        assert torch.equal(counts.all(1), expected) and torch.equal(counts.any(1), expected)
        assert int(sums[name][1]) == int(expected.sum()) * counts.shape[1]
    assert float(sums["age"][0].detach()) == 0 and float(ratio(*sums["age"]).detach()) == 0


def test_a_present_variable_at_the_end_keeps_its_loss(model):
    """Posterior means are predicted at t = 1, so it must be trained there."""
    made = banks(ALL)
    corrupted, predictions, sums = terms_of(model, made, times(1.0), partial=False)
    assert all(counts.all() for counts in corrupted.counts.values())
    # Without signal, v is the negative of the data
    torch.testing.assert_close(corrupted.targets["age"], -made["age"].mean[:, 0])
    expected = (predictions["age"] + made["age"].mean[:, 0]).square().sum()
    torch.testing.assert_close(sums["age"][0], expected)


def test_an_observed_variable_enters_clean(model):
    observed = torch.tensor([[1, 1, 1]] * ROWS).bool()
    made = banks(ALL)
    corrupted, _, _ = terms_of(model, made, times(0.7, observed))
    for name in NAMES:
        assert torch.equal(corrupted.states[name], made[name].mean[:, 0])
        assert corrupted.observed[name].all() and not corrupted.times[name].any()


def test_an_absent_variable_enters_as_a_draw_of_the_prior(model):
    none = torch.zeros(ROWS, 3, dtype=torch.bool)
    corrupted, _, sums = terms_of(model, banks(none), times(1.0))
    assert set(corrupted.states["site"].unique().tolist()) == {0, 1}
    assert corrupted.states["scan"].std() > 0.5
    assert all(float(ratio(*pair).detach()) == 0 for pair in sums.values())


def test_a_partly_known_image_counts_where_it_is_not_known(model):
    made = banks(ALL)
    corrupted, _, _ = terms_of(model, made, times(0.6))
    partly = corrupted.observed["scan"].flatten(1).any(1)
    assert 0 < int(partly.sum()) < ROWS, "the draw of this test has no partly known image; choose another name"
    for row in range(ROWS):
        known, t = corrupted.observed["scan"][row, 0], corrupted.times["scan"][row, 0]
        if partly[row]:
            assert torch.equal(known, made["scan"].trusted[row, 0, 0])
            assert torch.equal(corrupted.states["scan"][row, 0][known], made["scan"].partial[row, 0, 0][known])
        assert torch.equal(t, (0.6 * (~known).double()))
        assert torch.equal(corrupted.counts["scan"][row, 0], ~known)


def test_the_loss_is_a_ratio_of_sums(model):
    """The mean over all counted cells, not the mean of the rows' means."""
    corrupted, predictions, sums = terms_of(model, banks(ALL), times(0.6))
    squares = (predictions["scan"] - corrupted.targets["scan"]).square()
    torch.testing.assert_close(ratio(*sums["scan"]), squares[corrupted.counts["scan"]].mean())
    assert float(ratio(torch.tensor(0.0), torch.tensor(0))) == 0
    # Over several devices the count is a mean, and may be below one
    assert float(ratio(torch.tensor(3.0), torch.tensor(0.5))) == 6


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_reach_all_weights(shared):
    raw = {**MIXED, "diffusion": {"times": "shared" if shared else "evidence"}}
    model = joint_of(raw)
    model.baseline.features_of("scan").fit(lambda: [Rng.for_rows(9, "codes").normal((9, 1, 4, 6))])
    _, _, sums = terms_of(model, banks(ALL), times(0.5))
    torch.stack([ratio(*pair) for pair in sums.values()]).sum().backward()
    missed = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not missed
    assert len(model.time_tags) == (1 if shared else 3)


def test_a_row_does_not_depend_on_the_other_rows(model):
    corrupted, predictions, _ = terms_of(model, banks(ALL), times(torch.linspace(0.1, 0.9, 3)))
    rows = torch.tensor([3, 1])
    alone = model(
        *(
            {name: part[name][rows] for name in NAMES}
            for part in (corrupted.states, corrupted.times, corrupted.observed)
        )
    )
    for name in NAMES:
        torch.testing.assert_close(alone[name], predictions[name][rows], atol=1e-5, rtol=1e-5)


def test_predictions_depend_on_every_time_and_observed_mask(model):
    made, t = banks(ALL), torch.tensor([0.3, 0.6, 0.9])
    corrupted, _, _ = terms_of(model, made, times(t), partial=False)
    before = model(corrupted.states, corrupted.times, corrupted.observed)
    for name in NAMES:
        later = {**corrupted.times, name: corrupted.times[name] + 0.05}
        after = model(corrupted.states, later, corrupted.observed)
        known = {**corrupted.observed, name: ~corrupted.observed[name]}
        as_known = model(corrupted.states, corrupted.times, known)
        for other in NAMES:
            assert not torch.equal(after[other], before[other]), f"{other} does not depend on the time of {name}"
            assert not torch.equal(as_known[other], before[other]), (
                f"{other} does not depend on whether {name} is given"
            )


def test_denoise_gives_probabilities_and_data(model):
    corrupted, _, _ = terms_of(model, banks(ALL), times(0.5))
    x0_hats = model.denoise(corrupted.states, corrupted.times, corrupted.observed)
    torch.testing.assert_close(x0_hats["site"].sum(1), torch.ones(ROWS))
    assert (x0_hats["site"] > 0).all()
    assert x0_hats["scan"].shape == (ROWS, 1, 4, 6)


def test_images_on_one_grid_share_a_port_and_others_do_not():
    raw = {**MIXED, "variables": {**MIXED["variables"]}}
    raw["variables"]["other"] = {"type": "image", "codec": "identity", "shape": [4, 6]}
    raw["variables"]["deep"] = {"type": "image", "codec": "identity", "shape": [4, 4, 4]}
    model = joint_of(raw)
    assert set(model.backbone.ports.grids) == {"grid_4x6", "grid_4x4x4"}


def test_a_batch_is_a_function_of_rows_and_seed():
    """The same rows and streams in another order have the same codes, noise and masks."""
    made, order = banks(ALL), torch.tensor([4, 2, 0])
    model, rng = joint_of(MIXED), Rng.for_rows(ROWS, "order")
    device = torch.device("cpu")
    whole = corrupt(model, made, torch.arange(ROWS), times(0.5), rng, device=device)
    part = corrupt(model, made, order, RowTimes(*(x[order] for x in times(0.5))), rng[order], device=device)
    for name in NAMES:
        assert torch.equal(part.states[name], whole.states[name][order])
        assert torch.equal(part.observed[name], whole.observed[name][order])


def test_a_further_variable_does_not_change_the_noise_of_others():
    """In any position, as the streams of a training row are forked by variable name."""
    more = {name: {"type": "continuous"} for name in ("height", "score", "weight")}
    six = {**MIXED["variables"], **more}
    seven = {"iq": {"type": "continuous"}, **six}
    states = []
    for variables in (six, seven):
        made = banks(ALL)
        made |= {name: made["age"] for name in variables if name not in made}
        joint, width = joint_of({**MIXED, "variables": variables}), len(variables)
        halfway = RowTimes(torch.full((ROWS, width), 0.5).double(), torch.zeros(ROWS, width, dtype=torch.bool))
        rng = Rng.for_rows(ROWS, "seventh")
        states.append(corrupt(joint, made, torch.arange(ROWS), halfway, rng, device=torch.device("cpu")).states)
    assert set(states[1]) - set(states[0]) == {"iq"}
    assert all(torch.equal(states[1][name], state) for name, state in states[0].items())
    assert not torch.equal(states[0]["age"], states[0]["height"]), "two variables have the same noise"


def test_rows_after_the_grid_rows_are_evaluated_without_grids(model):
    """The first rows are unchanged; in the others, predictions depend on an image by its components."""
    corrupted, whole, _ = terms_of(model, banks(ALL), times(0.5))
    inputs = (corrupted.states, corrupted.times, corrupted.observed)
    mixed = model(*inputs, grid_rows=2)
    for name, prediction in mixed.items():
        assert prediction.shape == whole[name].shape
        assert torch.allclose(prediction[:2], whole[name][:2], atol=1e-5)
    other = {**corrupted.states, "scan": -corrupted.states["scan"]}
    assert (model(other, *inputs[1:], grid_rows=2)["age"][2:] - mixed["age"][2:]).abs().min() > 1e-5


def test_variables_that_need_grids_are_not_predicted_without():
    """Images without components are predicted, and count in the loss, in the first rows alone."""
    raw = {**MIXED, "variables": {**MIXED["variables"], "scan": {**MIXED["variables"]["scan"], "adapter": "grid"}}}
    joint = joint_of(raw)
    corrupted, _, _ = terms_of(joint, banks(ALL), times(0.5))
    mixed = joint(corrupted.states, corrupted.times, corrupted.observed, grid_rows=2)
    assert {name: len(prediction) for name, prediction in mixed.items()} == {"scan": 2, "age": ROWS, "site": ROWS}
    counts = {name: int(count) for name, (_, count) in loss_sums(joint, mixed, corrupted).items()}
    assert counts["age"] == counts["site"] == ROWS and 0 < counts["scan"] <= 2 * 24


def test_variables_without_a_common_factor_are_independent():
    names = ["age", "iq", "site", "dose"]
    raw = {
        "cohort": {"table": "subjects.csv"},
        "variables": {name: {"type": "continuous", "adapter": {"type": "token", "baseline": False}} for name in names},
        "backbone": {"type": "transformer", "width": 16, "heads": 2, "depth": 3},
        "diffusion": {"factors": [["age", "iq"], ["site", "dose"]]},
    }
    joint = joint_of(raw)
    rng = Rng.for_rows(ROWS, "factors")
    states = {name: rng.fork(name).normal((ROWS, 1)) for name in names}
    times = {name: torch.full((ROWS,), 0.5) for name in names}
    observed = {name: torch.zeros(ROWS, 1, dtype=torch.bool) for name in names}
    before = joint(states, times, observed)
    after = joint({**states, "age": states["age"] + 1}, times, observed)
    assert {name for name in names if not torch.equal(before[name], after[name])} == {"age", "iq"}


def test_residual_fields_follow_the_bands_of_codecs():
    """One field for each band, where all images on a grid have bands; else one for all channels."""
    raw = deepcopy(MIXED)
    raw["variables"]["scan"] |= {"codec": "wavelet", "shape": [8, 16]}
    found = joint_of(raw).baseline.fields["grid_2x4"]
    assert isinstance(found, BandedField) and len(found.fields) == 4
    raw["variables"]["other"] = {"type": "image", "codec": "identity", "shape": [2, 4]}
    assert isinstance(joint_of(raw).baseline.fields["grid_2x4"], ResidualField)


def test_the_baselines_estimate_is_that_without_the_network(model):
    rng = Rng.for_rows(ROWS, "baseline")
    states = {name: rng.fork(name).normal((ROWS, *shape)) for name, shape in SHAPES.items()}
    states["site"] = torch.eye(3)[torch.arange(ROWS) % 3]
    times = {name: torch.linspace(0, 1, ROWS, dtype=torch.float64) for name in SHAPES}
    observed = {name: torch.zeros(ROWS, 1, *shape[1:], dtype=torch.bool) for name, shape in SHAPES.items()}
    found = model.denoise_baseline(states, times, observed)
    assert list(found) == list(model.with_baseline) == NAMES
    weights = model.network_weights.clone()
    with torch.no_grad():
        whole = model.denoise(states, times, observed)
    assert any(not torch.allclose(found[name], code) for name, code in whole.items())
    model.network_weights.zero_()
    expected = model.eval().denoise(states, times, observed)
    model.network_weights.copy_(weights)
    for name in NAMES:
        torch.testing.assert_close(found[name], expected[name])


def test_estimates_of_some_variables_are_those_of_all(model):
    """Also where none of them has a network weight, and the network is not evaluated."""
    rng = Rng.for_rows(ROWS, "some")
    states = {name: rng.fork(name).normal((ROWS, *shape)) for name, shape in SHAPES.items()}
    times = {name: torch.full((ROWS,), 0.4, dtype=torch.float64) for name in SHAPES}
    observed = {name: torch.zeros(ROWS, 1, *shape[1:], dtype=torch.bool) for name, shape in SHAPES.items()}
    weights = model.network_weights.clone()
    try:
        model.network_weights.copy_(torch.tensor([0.7, 0.0, 1.0]))
        with torch.no_grad():
            whole = model.denoise(states, times, observed)
            for names in (["age"], ["scan", "age"], ["site"]):
                some = model.of(names).denoise(states, times, observed)
                assert some.keys() == set(names)
                assert all(torch.equal(some[name], whole[name]) for name in names)
        handle = model.backbone.register_forward_hook(lambda *arguments: pytest.fail("the network was evaluated"))
        with torch.no_grad():
            model.of(["age"]).denoise(states, times, observed)
        handle.remove()
    finally:
        model.network_weights.copy_(weights)
