import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.cohort.identifiers import match_identifiers, prefixed, simplified, some

LABELS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6)
FOLDERS = st.sets(LABELS.map("sub-{}".format), min_size=1, max_size=8)


@pytest.mark.parametrize("label", ["sub-001", "sub-1", "1", "SUB-0001", "001"])
def test_zeros_case_and_prefix_are_ignored(label):
    assert simplified("sub-", label) == "1"
    assert match_identifiers("sub-", [label], ["sub-001", "sub-002"]).found == {label: "sub-001"}


def test_only_different_spellings_are_joined():
    matching = match_identifiers("sub-", ["01", "sub-2", "sub-A7", "sub-9"], ["sub-01", "sub-02", "sub-a07"])
    assert matching.found == {"01": "sub-01", "sub-2": "sub-02", "sub-A7": "sub-a07", "sub-9": "sub-9"}
    assert matching.joined == {"sub-2": "sub-02", "sub-A7": "sub-a07"}, "a missing prefix is common"
    assert not matching.ambiguous


def test_an_exact_match_takes_precedence_and_two_candidates_are_ambiguous():
    matching = match_identifiers("sub-", ["sub-01", "1"], ["sub-01", "sub-001"])
    assert matching.found["sub-01"] == "sub-01"
    assert matching.ambiguous == {"1": ["sub-001", "sub-01"]}


@given(FOLDERS)
def test_folders_match_themselves(folders):
    matching = match_identifiers("sub-", folders, folders)
    assert matching.found == {folder: folder for folder in folders}
    assert not matching.joined and not matching.ambiguous


@given(FOLDERS, LABELS)
def test_matches_differ_only_in_zeros_and_case(folders, label):
    found = match_identifiers("sub-", [label], folders).found[label]
    assert found in folders or found == prefixed("sub-", label)
    assert simplified("sub-", found) == simplified("sub-", label)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
def test_zeros_before_numbers_do_not_matter(number, few, many):
    assert simplified("ses-", f"ses-{number:0{few}d}") == simplified("ses-", f"SES-{number:0{many}d}") == str(number)


def test_the_first_of_many_names_are_listed():
    assert some(["b", "a", "a"]) == "a, b"
    assert some("edcba") == "a, b, c and 2 more"
