"""Broken variable types fail the conformance check of the violated contract."""

from typing import Literal

import numpy as np
import pytest
import torch

from metavoxel.parts.codecs.base import Encoded
from metavoxel.parts.codecs.linear import LinearCodec, LinearSpec
from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.variables.base import Missing, Parts, read_number
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.measures import AbstractMeasure
from metavoxel.testing import run_checks, variable_checks


def outcome(checks, name):
    (result,) = run_checks(check for check in checks if check.name == name)
    return result.outcome


class HasUndescribedSetting(ContinuousSpec):
    type: Literal["undescribed"] = "undescribed"
    extra: int = 0


class TakesAnySetting(ContinuousSpec, extra="ignore"):
    type: Literal["any"] = "any"


class GivesInfinity(ContinuousSpec):
    type: Literal["infinity"] = "infinity"

    def parse(self, cell):
        return torch.tensor(float(cell))


class RaisesKeyError(ContinuousSpec):
    type: Literal["crashes"] = "crashes"

    def parse(self, cell):
        return super().parse({"30": "30", "40": "40", "50": "50"}[cell])


class FormatsTooFewDigits(ContinuousSpec):
    type: Literal["digits"] = "digits"

    def format(self, value):
        return round(float(value), -1)


class HasIncompatibleParts(ContinuousSpec):
    type: Literal["disagree"] = "disagree"

    def parts(self):
        parts = super().parts()
        return Parts(OneHotSpec(), parts.kernel, parts.adapter)


class OmitsRule(ContinuousSpec):
    type: Literal["blanks"] = "blanks"

    def parse(self, cell):
        try:
            value = super().parse(cell)
        except ValueError:
            return Missing("")
        return Missing("") if isinstance(value, Missing) or not value.isfinite() else value


class IgnoresBounds(ContinuousSpec):
    """States bounds, but accepts any number."""

    type: Literal["beyond"] = "beyond"

    def bounds(self):
        return 0.0, 100.0

    def parse(self, cell):
        return torch.tensor(read_number(cell), dtype=torch.float32)


class Folds(LinearCodec):
    """Encodes the absolute value, which is not monotone."""

    def encode(self, x):
        return Encoded(super().encode(x).mean.abs())


class FoldsSpec(LinearSpec):
    type: Literal["folds"] = "folds"

    def build(self, data_shape):
        return Folds(logarithm=False, center=0.0, scale=1.0, fitted=False)


class HasCodesOutOfBounds(ContinuousSpec):
    type: Literal["folded"] = "folded"

    def parts(self):
        parts = super().parts()
        return Parts(FoldsSpec(), parts.kernel, parts.adapter)


class HasDecreasingBounds(ContinuousSpec):
    type: Literal["order"] = "order"

    def bounds(self):
        return 100.0, 0.0


class HasTooManyClasses(CategoricalSpec):
    type: Literal["classes"] = "classes"

    def parts(self):
        return super().parts()._replace(codec=OneHotSpec(categories=3))


class Unstandardised(LinearSpec):
    type: Literal["unstandardised"] = "unstandardised"

    @property
    def is_standardised(self):
        return True


class ClaimsToStandardise(ContinuousSpec):
    type: Literal["claims"] = "claims"

    def parts(self):
        return super().parts()._replace(codec=Unstandardised(scale="range", range=(0, 1)))


class WarnsWithoutText(ContinuousSpec):
    type: Literal["warns"] = "warns"

    def value_warnings(self, values):
        yield ""


class Agreement(AbstractMeasure):
    """Share of equal values."""

    name, higher_is_better = "agreement", True

    def statistics(self, predicted, true):
        return np.array([[one == other, 1] for one, other in zip(predicted, true, strict=True)], np.float64)

    def value(self, totals):
        return float(totals[0] / totals[1])


class Disagreement(Agreement):
    """The same, with the wrong direction."""

    higher_is_better = False


class Endless(Agreement):
    def value(self, totals):
        return float("inf")


class Entangled(Agreement):
    def statistics(self, predicted, true):
        return super().statistics(predicted, true) / len(true)


@pytest.mark.parametrize(
    ("measures", "expected"),
    [([Agreement()], "passed"), ([], "passed"), ([Agreement(), Agreement()], "failed"), ([Disagreement()], "failed"),
     ([Endless()], "failed"), ([Entangled()], "failed")],
)  # fmt: skip
def test_measures_are_checked(measures, expected):
    class Measured(ContinuousSpec):
        type: Literal["measured"] = "measured"

        def measures(self):
            return measures

    assert outcome(variable_checks(Measured(), ["30", "41.5", "12"]), "check_measures") == expected


def test_classes_are_those_of_the_labels():
    spec = HasTooManyClasses(categories=["F", "M"])
    assert outcome(variable_checks(spec, ["F", "M"]), "check_classes_match") == "failed"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (ClaimsToStandardise, "check_standardised_codes"),
        (WarnsWithoutText, "check_cohort_texts"),
        (IgnoresBounds, "check_bounds_hold"),
        (HasDecreasingBounds, "check_bounds_hold"),
        (HasCodesOutOfBounds, "check_bounds_hold"),
        (HasUndescribedSetting, "check_settings_described"),
        (TakesAnySetting, "check_unknown_setting_rejected"),
        (GivesInfinity, "check_extreme_cells"),
        (RaisesKeyError, "check_extreme_cells"),
        (OmitsRule, "check_extreme_cells"),
        (FormatsTooFewDigits, "check_format_parses"),
        (HasIncompatibleParts, "check_parts_agree"),
    ],
)
def test_a_broken_variable_type_is_found(spec, found):
    cells = ["30", "41.5"] if spec is not RaisesKeyError else ["30", "40"]
    valid = (0, 100) if spec is HasCodesOutOfBounds else None
    assert outcome(variable_checks(spec(valid=valid), cells), found) == "failed"
