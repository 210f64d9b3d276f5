import pytest

from metavoxel.preparation.qa.decisions import Decision
from metavoxel.preparation.qa.scans import agreements, scans_worst_first


def test_a_wrong_registration_stands_first(derivative):
    rows = scans_worst_first(derivative)
    assert len(rows) == 12 and rows[0].name == "sub-05" and rows[0].reasons
    assert not any(row.reasons for row in rows[1:]) and rows[0].steps == ["registered", "extraction"]


def test_agreement_is_cohens_kappa():
    def by(rater, choices):
        return [Decision(f"sub-{i}", "", rater, choice, "", "h", "") for i, choice in enumerate(choices)]

    keep, drop = "keep", "drop"
    (found,) = agreements(by("Ann", [keep, keep, drop, drop]) + by("Bob", [keep, drop, drop, drop]))
    assert found.scans == 4 and found.equal == 0.75 and found.kappa == pytest.approx(0.5)
    (same,) = agreements(by("Ann", [keep]) + by("Bob", [keep]))
    assert same.kappa is None and same.equal == 1
    assert agreements(by("Ann", [keep])) == []
