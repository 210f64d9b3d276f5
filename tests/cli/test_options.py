"""Parsing of options, before a model is loaded."""

import pytest

from metavoxel.cli.options import base_rates, names
from metavoxel.cli.pairs import pairs
from metavoxel.errors import EvidenceError

LABELS = {"dx": ["CN", "MCI, late", "MCI", "AD: severe", "a=b"], "sex": ["F", "M"]}


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("dx=CN:0.5,MCI, late:0.5", {"CN": 0.5, "MCI, late": 0.5}),
        ("dx=MCI:0.25,MCI, late:0.25,AD: severe:0.25,a=b:0.25", {"MCI": 0.25, "MCI, late": 0.25, "AD: severe": 0.25, "a=b": 0.25}),
        ('dx={"CN": 0.5, "MCI, late": 0.5}', {"CN": 0.5, "MCI, late": 0.5}),
        ("dx= CN : .5 , a=b : 5e-1", {"CN": 0.5, "a=b": 0.5}),
    ],
)  # fmt: skip
def test_base_rates_of_labels_with_commas_and_colons(text, rates):
    assert base_rates([text], LABELS) == {"dx": rates}


def test_a_comma_without_a_number_before_it_belongs_to_the_label():
    assert base_rates(["dx=CN:0.5,MCI, late:0.5"]) == {"dx": {"CN": 0.5, "MCI, late": 0.5}}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sex=F,M:1", r"--prior sex: 'F' must be LABEL:PROBABILITY, as in F:0\.5\. Labels: F, M"),
        ("sex=F:x,M:1", r"--prior sex: 'F:x' must be LABEL:PROBABILITY"),
        ("dx=MCI, late", r"--prior dx: 'MCI, late' must be"),
        ("sex=F:1,F:0", "'F' is given twice"),
        ('sex={"F": 1, "F": 0}', "'F' is given twice"),
    ],
)
def test_invalid_base_rates(text, what):
    with pytest.raises(EvidenceError, match=what):
        base_rates([text], LABELS)


def test_names_match_in_either_unicode_form():
    apart, composed = "gro\u0308\u00dfe", "gr\u00f6\u00dfe"
    assert names(f"{apart}, x") == [composed, "x"] and pairs("--given", [f"{apart}=1"]) == {composed: "1"}
