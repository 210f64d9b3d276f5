"""Joint draws against exact joints: one after another, and together."""

from typing import ClassVar

import pytest
import torch
from exact_joint import ExactJoint, agreeing_pair

from metavoxel.inference.order import DrawRequest, joint_draws
from metavoxel.parts.kernels.d3pm import UniformD3PMKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.settings import Sampling
from metavoxel.testing import MixtureOracle

MIXTURE = MixtureOracle.default()
PAIR = agreeing_pair()


def drawn(oracle, request, keys, draws, given=None, *, seed=0, **settings):
    model = ExactJoint(oracle)
    found = list(joint_draws(model, given or {}, request, keys, draws, seed, Sampling(**settings)))
    return found, model.rows / (draws * max(len(keys), 1))


def in_turn(*targets, **ratios):
    return DrawRequest(targets, True, (), ratios)


def together(oracle, *targets):
    return DrawRequest(targets, False, [name for name in oracle.names if name not in targets], {})


def agreement(found):
    a, b = (torch.cat([draw.codes[name].argmax(1) for draw in found]) for name in ("a", "b"))
    return float((a == b).double().mean())


def test_two_categories_one_after_another_are_exact_in_two_evaluations():
    """Together, a step treats them as independent, so that few steps underestimate an agreement of .9."""
    keys = [str(row) for row in range(500)]
    found, evaluations = drawn(PAIR, in_turn("a", "b"), keys, 20)
    assert evaluations == 2 and len(found) == 20
    assert abs(agreement(found) - 0.9) < 5 * 0.3 / 100
    few, _ = drawn(PAIR, together(PAIR, "a", "b"), keys, 4, steps=2, grid="uniform")
    assert agreement(few) < 0.75


def test_the_joint_of_two_categories_given_evidence():
    """Total variation below .02 with two evaluations, for a binary and a five-class category given two scalars."""
    rows = 20_000
    values = {"s1": torch.full((rows,), 0.2), "s4": torch.full((rows,), 0.1)}
    given = {
        name: Evidence(code.float(), torch.ones(rows, 1, dtype=torch.bool))
        for name, code in MIXTURE.codes(values).items()
    }
    (draw,), evaluations = drawn(MIXTURE, in_turn("five", "binary"), [str(row) for row in range(rows)], 1, given)
    counts = torch.einsum("ni,nj->ij", draw.codes["binary"].double(), draw.codes["five"].double()) / rows
    exact = MIXTURE.given({name: value[:1] for name, value in values.items()}).probabilities("binary", "five")[0]
    assert evaluations == 2 and float((counts - exact).abs().sum() / 2) < 0.02


@pytest.mark.parametrize("order", [("a", "x"), ("x", "a")], ids=" then ".join)
def test_a_scalar_and_a_category_in_either_order(order):
    found, _ = drawn(PAIR, in_turn(*order), [str(row) for row in range(1_000)], 2, steps=20)
    x = torch.cat([draw.codes["x"][:, 0] for draw in found]).double()
    label = torch.cat([draw.codes["a"].argmax(1) for draw in found])
    # Given a class, x is a mixture of two components with means one apart and weights .9 and .1
    for value, mean in ((0, -0.9), (1, 0.9)):
        of_class = x[label == value]
        assert abs(float(of_class.mean()) - mean) < 5 * 0.6 / len(of_class) ** 0.5 + 0.02
        assert abs(float(of_class.var()) - (0.25 + 0.09)) < 0.06
    assert abs(float(label.double().mean()) - 0.5) < 5 * 0.5 / len(label) ** 0.5


def test_a_categorys_probabilities_are_those_it_was_drawn_from():
    found, _ = drawn(PAIR, in_turn("a", "b"), ["one", "two"], 3)
    for draw in found:
        torch.testing.assert_close(draw.probabilities["a"], torch.full((2, 2), 0.5))
        expected = 0.1 + 0.8 * draw.codes["a"]
        torch.testing.assert_close(draw.probabilities["b"], expected, atol=1e-5, rtol=0)
        assert set(draw.codes["b"].unique().tolist()) <= {0, 1}


def test_base_rates_affect_targets_drawn_later():
    """With p(a = 1) = .9, 'b', which equals 'a' with probability .9, is 1 with probability .82."""
    ratio = torch.tensor([0.2, 1.8], dtype=torch.float64)
    (draw,), _ = drawn(PAIR, in_turn("a", "b", a=ratio), [str(row) for row in range(8_000)], 1)
    torch.testing.assert_close(draw.probabilities["a"], torch.tensor([[0.1, 0.9]]).expand(8_000, 2))
    assert abs(float(draw.codes["b"][:, 1].mean()) - 0.82) < 5 * 0.4 / 8_000**0.5


def test_a_draw_depends_on_its_row_and_number_alone():
    keys = ["a", "b", "c"]
    truth = MIXTURE.sample(Rng.for_rows(3, "evidence"))
    code = MIXTURE.codes({"s2": truth["s2"]})["s2"].float()
    given = {"s2": Evidence(code, torch.ones(3, 1, dtype=torch.bool))}
    whole, _ = drawn(MIXTURE, in_turn("binary", "s1"), keys, 3, given, steps=4)
    other = {"s2": Evidence(code[[2, 0]], torch.ones(2, 1, dtype=torch.bool))}
    part, _ = drawn(MIXTURE, in_turn("binary", "s1"), ["c", "a"], 1, other, steps=4)
    for name in ("binary", "s1"):
        torch.testing.assert_close(part[0].codes[name], whole[0].codes[name][[2, 0]], atol=1e-4, rtol=0)
    alone, _ = drawn(MIXTURE, in_turn("binary"), keys, 1, given)
    assert torch.equal(alone[0].codes["binary"], whole[0].codes["binary"]), "the first target depends on the later ones"
    assert not torch.equal(whole[0].codes["s1"], whole[1].codes["s1"])


class Cells:
    """A sequence of independent cells of known class probabilities."""

    kernels: ClassVar = {"x": UniformD3PMKernel()}
    code_shapes: ClassVar = {"x": (2, 3)}
    device = torch.device("cpu")

    def denoise(self, states, times, observed):
        return {"x": torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]]).expand(len(states["x"]), 2, 3)}


@pytest.mark.parametrize("turns", [True, False])
def test_a_sequence_is_drawn_in_classes_and_has_no_probabilities(turns):
    request = DrawRequest(["x"], turns, (), {})
    (draw,) = joint_draws(Cells(), {}, request, [str(row) for row in range(4000)], 1, 0, Sampling(steps=3))
    code = draw.codes["x"]
    assert not draw.probabilities
    assert torch.equal(code.sum(1), torch.ones(4000, 3)) and bool((code.amax(1) == 1).all())
    error = 5 * 0.5 / 4000**0.5
    torch.testing.assert_close(code.mean(0)[0], torch.tensor([0.9, 0.5, 0.1]), rtol=0, atol=error)
