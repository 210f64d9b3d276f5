import pytest
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.cohort.entities import BidsFile, Selection, absent, differences, parse_name, select

LABEL = st.text("abcXYZ019", min_size=1, max_size=4)


@given(st.dictionaries(st.sampled_from(["ses", "acq", "rec", "run", "space", "cohort"]), LABEL), LABEL)
def test_parsing_inverts_formatting(entities, subject):
    entities = {"sub": subject, **entities}
    stem = "_".join(f"{key}-{label}" for key, label in entities.items()) + "_T1w"
    assert parse_name(stem) == {**entities, "suffix": "T1w"}


@pytest.mark.parametrize(
    "stem", ["T1w", "sub-04_T1w__dup-01", "sub-04", "sub-04-2_T1w", "sub-04_ses_T1w", "sub-1_sub-2_T1w", ""]
)
def test_other_names_are_rejected(stem):
    assert parse_name(stem) is None


def _files(*stems):
    return [
        BidsFile(f"{stem}.nii.gz", {**parse_name(stem), "extension": ".nii.gz", "datatype": "anat"}) for stem in stems
    ]


def _chosen(files, **entities):
    selection, problems = select(entities, {key for file in files for key in file.entities}, "variables.x.entities")
    assert not problems
    found, problems = selection.among(files, "variables.x.entities")
    return [file.path.removesuffix(".nii.gz") for file in selection.of_visit(found)], [
        str(problem) for problem in problems
    ]


def test_null_selects_a_file_without_the_entity():
    files = _files("sub-1_T1w", "sub-1_rec-norm_T1w", "sub-1_rec-null_T1w")
    assert _chosen(files, rec=None) == (["sub-1_T1w"], [])
    assert _chosen(files, reconstruction=None) == (["sub-1_T1w"], [])
    assert _chosen(files, rec="null") == (["sub-1_rec-null_T1w"], [])


def test_indices_match_as_numbers_and_labels_as_text():
    files = _files("sub-1_acq-on_run-08_T1w", "sub-1_acq-1e3_T1w", "sub-1_acq-0010_T1w", "sub-1_acq-ON_T1w")
    assert _chosen(files, run="8")[0] == ["sub-1_acq-on_run-08_T1w"]
    assert _chosen(files, acq="on")[0] == ["sub-1_acq-on_run-08_T1w"]
    assert _chosen(files, acq="1e3")[0] == ["sub-1_acq-1e3_T1w"]
    assert _chosen(files, acq="1000") == ([], [])
    assert _chosen(files, acq="10") == (["sub-1_acq-0010_T1w"], []), "the only label with this number"


def test_a_number_that_matches_two_labels_is_refused():
    files = _files("sub-1_acq-0010_T1w", "sub-2_acq-010_T1w", "sub-3_acq-10_T1w")
    assert _chosen(files, acq="10") == (["sub-3_acq-10_T1w"], [])
    _, problems = _chosen(files[:2], acq="10")
    assert problems == ["variables.x.entities: acq '10' matches 0010 and 010; use one"]


def test_the_first_and_the_last_run():
    files = _files("sub-1_run-10_T1w", "sub-1_run-9_T1w", "sub-1_T1w")
    assert _chosen(files, run="first")[0] == ["sub-1_T1w"]
    assert _chosen(files, run="last")[0] == ["sub-1_run-10_T1w"]
    assert _chosen(files[:2], run="first")[0] == ["sub-1_run-9_T1w"]
    assert _chosen([], run="first") == ([], [])


def test_entities_of_the_files_and_of_the_specification_are_valid():
    where = "variables.x.entities"
    assert select({"cohort": "2", "segmentation": "a"}, ["cohort"], where)[1] == []
    assert "'cohrt' is not a BIDS entity. Did you mean 'cohort'?" in str(
        select({"cohrt": "2"}, ["cohort"], where)[1][0]
    )
    assert "given twice" in str(select({"rec": None, "reconstruction": "a"}, [], where)[1][0])
    assert select({}, [], where)[0] == Selection({"suffix": "T1w"}, None)


def test_differences_are_listed_as_entities():
    assert differences(_files("sub-1_T1w", "sub-1_space-MNI_T1w", "sub-1_space-MNI_res-2_T1w")) == (
        "space: null or space: MNI; res: null or res: 2"
    )
    assert "run: 1 or run: 2 or run: first or run: last" in differences(_files("sub-1_run-1_T1w", "sub-1_run-2_T1w"))


def test_absence_lists_what_exists_instead():
    files = _files("sub-1_acq-hi_T1w", "sub-1_T1w", "sub-1_FLAIR")
    selection = Selection({"suffix": "T1w", "acq": "lo"}, "first")
    assert absent(selection, files) == (
        "no image with {suffix: T1w, acq: lo, run: first}; the folder has images with suffix FLAIR, T1w; "
        "those with suffix T1w have acq hi, null"
    )
