"""Invalid queries, and the valid alternatives in their messages."""

import pytest
from exact_joint import agreeing_pair, exact_model

from metavoxel.errors import EvidenceError
from metavoxel.inference.question import ask
from metavoxel.parts.variables.continuous import ContinuousSpec


@pytest.fixture
def model(tmp_path):
    return exact_model(agreeing_pair(), tmp_path)


def checked(model, targets, given=(), *, draws=0, order=None, prior=None, in_turn=True):
    return ask(
        model.schema, model.labels, ["id", "x", "a", "b"], targets, given,
        draws=draws, order=order, prior=prior, in_turn=in_turn,
    )  # fmt: skip


def refused(*arguments, **options):
    with pytest.raises(EvidenceError) as caught:
        checked(*arguments, **options)
    return [str(problem) for problem in caught.value.problems]


def test_targets_that_are_given(model):
    assert refused(model, ["x"], ["x", "a"]) == [
        "given: 'x' is also a target; a variable is either a target or given: use another target: b"
    ]
    assert refused(model, ["a"], ["x", "a", "b"]) == [
        "given: 'a' is also a target; a variable is either a target or given: omit it from given"
    ]
    assert refused(model, [], ["x"]) == ["target: name a variable to predict: a, b"]
    assert refused(model, [], ["x", "a", "b"]) == [
        "target: every variable is given; omit from given those to predict: x, a, b"
    ]


def test_orders(model):
    assert checked(model, ["b", "a"], draws=2).order == ["a", "b"]
    assert checked(model, ["b", "a"], draws=2, order=["b", "a"]).order == ["b", "a"]
    assert checked(model, ["b", "a"], draws=2, order=["together"]).order is None
    assert checked(model, ["b", "a"], draws=2, in_turn=False).order is None
    assert checked(model, ["x", "b"], draws=2, prior={"b": {"b0": 1, "b1": 0}}).order == ["b", "x"]
    assert refused(model, ["b", "a"], draws=2, order=["a"]) == [
        "order: a: must name each target once: b, a (or be 'together')"
    ]
    assert refused(model, ["b", "a"], order=["a", "b"]) == [
        "order: only used when sampling; use `draws=1` or more, or omit it"
    ]
    (problem,) = refused(model, ["b", "a"], draws=2, order=["a", "b"], in_turn=False)
    assert problem.startswith("order: drawing targets one after another needs clean evidence")
    (problem,) = refused(model, ["b", "a"], draws=2, order=["a", "b"], prior={"b": {"b0": 1, "b1": 0}})
    assert problem == "order: 'b' has a prior, on which the other targets depend: it must be first"
    (problem,) = refused(model, ["b", "a"], draws=2, order="together", prior={"b": {"b0": 1, "b1": 0}})
    assert problem.startswith("order: a prior is applied before the other targets are drawn")


def test_all_problems_of_a_prior_are_reported(model):
    assert refused(model, ["a"], prior={"a": {"a0": -0.1, "a3": 0.5}}) == [
        "prior a: no label 'a3'. Labels: a0, a1",
        "prior a: every label needs a probability, which may be 0; missing: a1",
        "prior a: a0: a probability must be between 0 and 1, not -0.1",
    ]
    assert refused(model, ["a"], prior={"a": {"a0": 0.5, "a1": 0.498}}) == [
        "prior a: the probabilities sum to 0.998, and must sum to 1 (within 0.001)"
    ]
    assert checked(model, ["a"], prior={"a": {"a0": 0.5, "a1": 0.4995}}).prior
    assert "not nan" in refused(model, ["a"], prior={"a": {"a0": float("nan"), "a1": 1.0}})[0]
    even = {"a0": 0.5, "a1": 0.5}
    assert refused(model, ["x"], prior={"a": even}) == [
        "prior a: is not a target, so the other targets would have to be averaged over it: use `target=a,...`"
    ]
    assert refused(model, ["x"], ["a"], prior={"a": even}) == [
        "prior a: is given, so its base rates have no effect; omit one of the two"
    ]
    assert refused(model, ["x"], prior={"x": {}}) == ["prior x: is not a category. Categories: a, b"]
    assert refused(model, ["a"], prior={"c": even})[0].startswith("prior: no variable 'c'.")
    assert refused(model, ["a", "b"], prior={"a": even, "b": {}})[0].startswith("prior: is for one category only")
    (problem,) = refused(model, ["a"], draws=1, prior={"a": even}, in_turn=False)
    assert problem.startswith("prior a: needs a model with a time for each variable")


def test_a_target_without_a_mean_needs_draws(model, monkeypatch):
    monkeypatch.setattr(ContinuousSpec, "has_mean", False)
    assert refused(model, ["x", "a"]) == [
        "target: 'x' is of type 'continuous', which has no mean: use `draws=1` or more"
    ]
    assert checked(model, ["x"], draws=1).targets == ["x"]
