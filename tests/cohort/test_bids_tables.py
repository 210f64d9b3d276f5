"""Values of every row are compared with those from which the tables were written."""

import pytest

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.bids_tables import read_records
from metavoxel.cohort.visit import Visit
from metavoxel.errors import CohortError
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec

IMAGE = {"T1w": ImageSpec()}
SUBJECTS, SESSIONS = range(1, 13), (1, 2)


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x1f\x8b content")


def _age(subject, session):
    return str(20 + 5 * subject + 2 * session)


@pytest.fixture
def longitudinal(tmp_path):
    """Twelve subjects sub-001 ... with an image in each of ses-01 and ses-02, and a participants.tsv with their sex."""
    for s in SUBJECTS:
        for k in SESSIONS:
            _touch(tmp_path / f"sub-{s:03}/ses-{k:02}/anat/sub-{s:03}_ses-{k:02}_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tsex\n" + "".join(f"sub-{s:03}\t{'MF'[s % 2]}\n" for s in SUBJECTS)
    )
    return tmp_path


def _sessions(folder, label):
    for s in SUBJECTS:
        lines = [f"{label.format(k)}\t{_age(s, k)}\n" for k in SESSIONS]
        (folder / f"sub-{s:03}/sub-{s:03}_sessions.tsv").write_text("session_id\tage\n" + "".join(lines))


def _assert_right_ages(table):
    frame = table.frame
    assert len(frame) == len(SUBJECTS) * len(SESSIONS)
    found = list(
        zip(frame["T1w"], frame["participant_id"], frame["session_id"], frame["age"], frame["sex"], strict=True)
    )
    assert found == [
        (f"sub-{s:03}/ses-{k:02}/anat/sub-{s:03}_ses-{k:02}_T1w.nii.gz", f"sub-{s:03}", f"ses-{k:02}", _age(s, k), "MF"[s % 2])
        for s in SUBJECTS for k in SESSIONS
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "joined"), [("ses-{:02}", 0), ("{:02}", 0), ("ses-{}", 24), ("{}", 24), ("SES-{:03}", 24)]
)
def test_sessions_are_matched_ignoring_zeros(longitudinal, label, joined):
    _sessions(longitudinal, label)
    table = read_bids(longitudinal, IMAGE)
    _assert_right_ages(table)
    notices = [str(notice) for notice in table.notices]
    assert [f"sessions in tables: {joined} differ from their folder names" in notice for notice in notices] == [
        True
    ] * bool(joined)


@pytest.mark.parametrize("label", ["sub-{}", "{}", "{:03}", "SUB-{:02}"])
def test_subjects_are_matched_ignoring_zeros(longitudinal, label):
    _sessions(longitudinal, "ses-{:02}")
    (longitudinal / "participants.tsv").write_text(
        "participant_id\tsex\n" + "".join(f"{label.format(s)}\t{'MF'[s % 2]}\n" for s in SUBJECTS)
    )
    table = read_bids(longitudinal, IMAGE)
    _assert_right_ages(table)
    joined = [
        str(notice) for notice in table.notices if "12 of 12 subjects differ from their folder names" in str(notice)
    ]
    assert len(joined) == (label != "{:03}")


def test_participants_may_have_one_row_per_session(longitudinal):
    (longitudinal / "participants.tsv").write_text(
        "participant_id\tsession_id\tage\tsex\n"
        + "".join(f"sub-{s}\tses-{k}\t{_age(s, k)}\t{'MF'[s % 2]}\n" for s in SUBJECTS for k in SESSIONS)
    )
    table = read_bids(longitudinal, IMAGE)
    _assert_right_ages(table)
    assert table.places[3] == "participants.tsv row 5 (sub-002) ses-02"


def test_the_only_session_of_a_subject_without_sessions_is_the_subject(tmp_path):
    _touch(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_text("participant_id\tsession_id\tage\nsub-01\tses-01\t44\n")
    frame = read_bids(tmp_path, IMAGE).frame
    assert frame[["participant_id", "age", "T1w"]].to_dict("list") == {
        "participant_id": ["sub-01"], "age": ["44"], "T1w": ["sub-01/anat/sub-01_T1w.nii.gz"]
    }  # fmt: skip


def test_a_session_in_two_rows_is_refused(longitudinal):
    _sessions(longitudinal, "ses-{:02}")
    (longitudinal / "sub-003/sub-003_sessions.tsv").write_text("session_id\tage\nses-01\t30\n1\t31\n")
    with pytest.raises(CohortError, match=r"row 3: sub-003 ses-01 is already in sub-003_sessions\.tsv row 2"):
        read_bids(longitudinal, IMAGE)


@pytest.mark.parametrize("nested", [True, False])
def test_scans_tsv_gives_cells_of_files(longitudinal, nested):
    for s in SUBJECTS:
        rows = {k: f"anat/sub-{s:03}_ses-{k:02}_T1w.nii.gz\t{_age(s, k)}\tn/a\n" for k in SESSIONS}
        head = "filename\tage\tsex\n"
        if nested:
            for k, row in rows.items():
                (longitudinal / f"sub-{s:03}/ses-{k:02}/sub-{s:03}_ses-{k:02}_scans.tsv").write_text(head + row)
        else:
            text = head + "".join(f"ses-{k:02}/{row}" for k, row in rows.items())
            (longitudinal / f"sub-{s:03}/sub-{s:03}_scans.tsv").write_text(text)
    _assert_right_ages(read_bids(longitudinal, IMAGE))


def test_scans_tsv_gives_the_cells_of_the_selected_file(tmp_path):
    for stem in ("sub-01_T1w", "sub-01_FLAIR"):
        _touch(tmp_path / f"sub-01/anat/{stem}.nii.gz")
    (tmp_path / "sub-01/sub-01_scans.tsv").write_text(
        "filename\tage\tacq_time\nanat/sub-01_FLAIR.nii.gz\t31\tb\nanat/sub-01_T1w.nii.gz\t30\ta\n"
    )
    flair = {"flair": ImageSpec(entities={"suffix": "FLAIR"})}
    assert read_bids(tmp_path, IMAGE).frame[["age", "acq_time"]].to_dict("records") == [{"age": "30", "acq_time": "a"}]
    assert read_bids(tmp_path, flair).frame["age"].tolist() == ["31"]
    both = read_bids(tmp_path, IMAGE | flair).frame
    assert both[["age", "acq_time"]].to_dict("records") == [{"age": "", "acq_time": ""}], (
        "a row has one cell, and no variable needs it"
    )
    with pytest.raises(
        CohortError, match=r"scans\.tsv of sub-01, column age: its files have different cells \(30, 31\)"
    ):
        read_bids(tmp_path, IMAGE | flair | {"age": ContinuousSpec()})


def test_unfetched_tables_are_refused_in_one_line(longitudinal):
    _sessions(longitudinal, "ses-{:02}")
    for s in range(5, 13):
        path = longitudinal / f"sub-{s:03}/sub-{s:03}_sessions.tsv"
        path.unlink()
        path.symlink_to("../.git/annex/objects/x.tsv")
    with pytest.raises(CohortError) as caught:
        read_bids(longitudinal, IMAGE)
    (line,) = str(caught.value).splitlines()
    assert "8 of 12 tables of sessions (sessions.tsv) cannot be read, e.g. " in line and "datalad get" in line


def test_an_unfetched_participants_table_is_not_an_absent_one(longitudinal):
    (longitudinal / "participants.tsv").unlink()
    (longitudinal / "participants.tsv").symlink_to(".git/annex/objects/x.tsv")
    with pytest.raises(CohortError, match=r"participants\.tsv: its content is not fetched .* datalad get"):
        read_bids(longitudinal, IMAGE)


def test_duplicate_and_ambiguous_subjects_are_refused(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\nsub-001\t3\nsub-1\t4\n")
    with pytest.raises(CohortError, match=r"row 3: sub-1 is sub-001: sub-001 is already in participants\.tsv row 2"):
        read_records(path, [tmp_path], {"sub-001": ()})
    path.write_text("participant_id\tage\n1\t3\n")
    with pytest.raises(
        CohortError, match=r"participants\.tsv: '1' matches sub-001 and sub-01; use the name of its folder"
    ):
        read_records(path, [tmp_path], {"sub-001": (), "sub-01": ()})


def test_no_tables_are_no_records(tmp_path):
    records = read_records(None, [tmp_path], {"sub-01": ("ses-1",)})
    assert (records.subjects, records.visits, records.scans, records.notices) == ({}, {}, {}, [])


def test_later_roots_fill_cells_missing_in_earlier_ones(tmp_path):
    for root, text in (("own", "session_id\tage\nses-1\tn/a\n"), ("raw", "session_id\tage\tmood\nses-1\t30\tgood\n")):
        (tmp_path / root / "sub-01").mkdir(parents=True)
        (tmp_path / root / "sub-01/sub-01_sessions.tsv").write_text(text)
    records = read_records(None, [tmp_path / "own", tmp_path / "raw"], {"sub-01": ("ses-1",)})
    assert records.visits == {Visit("sub-01", "ses-1"): {"session_id": "ses-1", "age": "30", "mood": "good"}}
