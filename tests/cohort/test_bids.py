import json
import pickle

import pytest

from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.read import read_cohort
from metavoxel.errors import CohortError
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.parts.variables.image import ImageSpec
from metavoxel.parts.variables.labelmap import LabelMapSpec
from metavoxel.schema.settings import CohortSettings


@pytest.fixture
def dataset(tmp_path, volume):
    """Three subjects with a T1w each, two with a FLAIR, and a participants.tsv with a fourth."""
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.8.0"}))
    for number, subject in enumerate(("01", "02", "03")):
        volume(tmp_path / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz", seed=number)
    for subject in ("01", "03"):
        volume(tmp_path / f"sub-{subject}/anat/sub-{subject}_FLAIR.nii.gz")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-03\t33\nsub-01\t11\nsub-02\tn/a\nsub-04\t44\n")
    return tmp_path


def test_rows_join_images_and_the_participants_table(dataset):
    table = read_bids(dataset, {"T1w": ImageSpec(), "flair": ImageSpec(entities={"suffix": "FLAIR"})})
    assert table.frame.to_dict("list") == {
        "participant_id": ["sub-01", "sub-02", "sub-03", "sub-04"],
        "age": ["11", "n/a", "33", "44"],
        "T1w": [f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in ("01", "02", "03")] + [""],
        "flair": ["sub-01/anat/sub-01_FLAIR.nii.gz", "", "sub-03/anat/sub-03_FLAIR.nii.gz", ""],
    }
    assert table.folder == dataset
    assert table.places[0] == "participants.tsv row 3 (sub-01)"


def test_a_cohort_is_read_from_a_folder(dataset):
    variables = {"T1w": ImageSpec(), "age": ContinuousSpec(range=(0, 100))}
    cohort = read_cohort(variables, CohortSettings(bids=dataset.name), folder=dataset.parent, split=False)
    assert cohort.subjects == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert cohort.columns["T1w"].present.tolist() == [True, True, True, False]
    assert cohort.columns["age"].present.tolist() == [True, False, True, True]
    assert cohort.columns["age"].read([3, 0]).tolist() == [44, 11]


def test_sessions_are_rows(dataset, volume):
    for session in ("a", "b"):
        volume(dataset / f"sub-09/ses-{session}/anat/sub-09_ses-{session}_T1w.nii.gz")
    (dataset / "sub-09/sub-09_sessions.tsv").write_text("session_id\tage\tmood\nses-a\t50\tgood\nses-b\tn/a\tbad\n")
    table = read_bids(dataset, {"T1w": ImageSpec()})
    rows = table.frame[table.frame["participant_id"] == "sub-09"].to_dict("records")
    assert [(row["session_id"], row["age"], row["mood"]) for row in rows] == [
        ("ses-a", "50", "good"),
        ("ses-b", "n/a", "bad"),
    ]
    assert rows[1]["T1w"] == "sub-09/ses-b/anat/sub-09_ses-b_T1w.nii.gz"
    cohort = read_cohort({"T1w": ImageSpec()}, CohortSettings(bids=dataset), folder=dataset, split=False)
    assert "sub-09/ses-a" in cohort.row_keys
    assert "sub-01" in cohort.row_keys
    assert len(set(cohort.row_keys)) == len(cohort)


def test_a_session_overrides_the_participant_unless_missing(dataset, volume):
    volume(dataset / "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz")
    (dataset / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\nses-a\tn/a\n")
    frame = read_bids(dataset, {"flair": ImageSpec(entities={"suffix": "FLAIR"})}).frame
    assert frame[frame["session_id"] == "ses-a"]["age"].tolist() == ["11"]


def test_entities_distinguish_files(dataset, volume):
    volume(dataset / "sub-01/anat/sub-01_space-MNI152_T1w.nii.gz")
    volume(dataset / "sub-02/anat/sub-02_acq-hi_run-02_T1w.nii.gz")
    with pytest.raises(CohortError) as caught:
        read_bids(dataset, {"T1w": ImageSpec()})
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "sub-01, variable T1w: 2 images with {suffix: T1w}: sub-01/anat/sub-01_T1w.nii.gz" in lines[0]
    in_space = read_bids(dataset, {"T1w": ImageSpec(entities={"space": "MNI152"})}).frame
    assert in_space["T1w"].tolist() == ["sub-01/anat/sub-01_space-MNI152_T1w.nii.gz", "", "", ""]
    for entities in ({"run": 2}, {"run": "02", "acquisition": "hi"}, {"acq": "hi", "suffix": "T1w"}):
        frame = read_bids(dataset, {"T1w": ImageSpec(entities=entities)}).frame
        assert frame["T1w"].tolist() == ["", "sub-02/anat/sub-02_acq-hi_run-02_T1w.nii.gz", "", ""]


def test_derivatives_are_not_raw_data(dataset, volume):
    volume(dataset / "derivatives/clean/sub-01/anat/sub-01_T1w.nii.gz")
    assert read_bids(dataset, {"T1w": ImageSpec()}).frame["T1w"][0] == "sub-01/anat/sub-01_T1w.nii.gz"


def test_unknown_entities_and_absent_images_are_named(dataset):
    variables = {"T1w": ImageSpec(entities={"spce": "MNI152"}), "pet": ImageSpec(entities={"suffix": "pet"})}
    with pytest.raises(CohortError) as caught:
        read_bids(dataset, variables)
    lines = str(caught.value).splitlines()
    assert "variables.T1w.entities: 'spce' is not a BIDS entity. Did you mean 'space'?" in lines[0]
    assert "variable pet: no image with {suffix: pet}; the folder has images with suffix FLAIR, T1w" in lines[1]


def test_paths_and_columns_are_used_as_in_a_table(dataset):
    pattern = "{participant_id}/anat/{participant_id}_T1w.nii.gz"
    (dataset / "participants.tsv").write_text("participant_id\tscan\nsub-01\tsub-01/anat/sub-01_FLAIR.nii.gz\n")
    variables = {"T1w": ImageSpec(path=pattern), "flair": ImageSpec(column="scan")}
    cohort = read_cohort(variables, CohortSettings(bids=dataset), folder=dataset, split=False)
    assert cohort.columns["T1w"].cells == [str(dataset / "sub-01/anat/sub-01_T1w.nii.gz")]
    assert cohort.columns["flair"].cells == [str(dataset / "sub-01/anat/sub-01_FLAIR.nii.gz")]


def test_participants_may_lack_the_prefix(dataset):
    (dataset / "participants.tsv").write_text("participant_id\tage\n01\t11\n")
    assert read_bids(dataset, {"T1w": ImageSpec()}).frame["age"].tolist() == ["11", "", ""]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id\tage\nsub-01\t3\n", "no column 'participant_id'; columns: id, age"),
        ("participant_id\tage\nsub-01\t3\n01\t4\n", r"row 3: sub-01 is already in participants\.tsv row 2"),
        ("participant_id\tT1w\nsub-01\t3\n", "column 'T1w' has the name of an image variable"),
    ],
)
def test_a_broken_participants_table_is_located(dataset, text, reason):
    (dataset / "participants.tsv").write_text(text)
    with pytest.raises(CohortError, match=reason):
        read_bids(dataset, {"T1w": ImageSpec()})


def test_a_missing_or_empty_folder_is_located(tmp_path):
    with pytest.raises(CohortError, match="no such folder"):
        read_bids(tmp_path / "nothing", {})
    with pytest.raises(CohortError, match="no usable rows"):
        read_bids(tmp_path, {})


class _Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_a_pickle_in_the_folder_is_not_opened(dataset):
    (dataset / ".ancpbids-dataset.pickle").write_bytes(pickle.dumps(_Trap()))
    assert len(read_bids(dataset, {"T1w": ImageSpec()}).frame) == 4


def test_subjects_without_an_image_or_a_row_are_noticed(dataset):
    (dataset / "participants.tsv").write_text("participant_id\tage\nsub-1\t11\nsub-02\t22\nsub-04\t44\nsub-05\t55\n")
    table = read_bids(dataset, {"T1w": ImageSpec()})
    assert table.frame[["participant_id", "age"]].to_dict("list") == {
        "participant_id": ["sub-01", "sub-02", "sub-03", "sub-04", "sub-05"],
        "age": ["11", "22", "", "44", "55"],
    }
    joined, unmatched = map(str, table.notices)
    assert "1 of 4 subjects differ from their folder names" in joined and "sub-1 as sub-01" in joined
    assert "2 of 4 subjects of the table have no image: sub-04, sub-05" in unmatched
    assert "1 of 3 subjects with images are not in the table: sub-03" in unmatched
    cohort = read_cohort({"T1w": ImageSpec()}, CohortSettings(bids=dataset), folder=dataset, split=False)
    assert cohort.notices == table.notices


def test_a_table_of_other_subjects_is_refused(dataset):
    (dataset / "participants.tsv").write_text("participant_id\tage\nA1\t11\nA2\t22\n")
    with pytest.raises(CohortError) as caught:
        read_bids(dataset, {"T1w": ImageSpec()})
    assert (
        "no subject of this table has an image: the table has sub-A1, sub-A2 (2 subjects), images are of sub-01, "
        in str(caught.value)
    )


def test_other_sessions_are_refused_and_unmatched_ones_noticed(dataset, volume):
    for session in ("a", "b"):
        volume(dataset / f"sub-09/ses-{session}/anat/sub-09_ses-{session}_T1w.nii.gz")
    path = dataset / "sub-09/sub-09_sessions.tsv"
    path.write_text("session_id\tage\nses-a\t50\nses-c\t60\n")
    table = read_bids(dataset, {"T1w": ImageSpec()})
    notice = next(str(notice) for notice in table.notices if "sessions" in notice.what)
    assert "1 of 2 sessions of the tables have no image: sub-09 ses-c" in notice
    assert "1 of 2 sessions with images have no row in the session tables: sub-09 ses-b" in notice
    path.write_text("session_id\tage\nses-c\t50\nses-d\t60\n")
    with pytest.raises(CohortError, match="no row of the session tables has an image"):
        read_bids(dataset, {"T1w": ImageSpec()})


def test_rows_of_a_matched_subject_share_a_part(dataset, volume):
    rows = []
    for subject in range(1, 13):
        for session in (1, 2):
            volume(dataset / f"sub-{subject:02}/ses-{session:02}/anat/sub-{subject:02}_ses-{session:02}_PDw.nii.gz")
            rows.append(f"{'sub-' if session == 1 else ''}{subject}\t{session}\t{subject * 10 + session}\n")
    (dataset / "participants.tsv").write_text("participant_id\tsession_id\tage\n" + "".join(rows))
    variables = {"image": ImageSpec(entities={"suffix": "PDw"}), "age": ContinuousSpec(range=(0, 200))}
    cohort = read_cohort(variables, CohortSettings(bids=dataset), folder=dataset)
    assert len(cohort) == 24
    assert cohort.columns["age"].read(range(24)).tolist() == [s * 10 + k for s in range(1, 13) for k in (1, 2)]
    where = {}
    for part, rows in cohort.parts.items():
        for row in rows.tolist():
            assert where.setdefault(cohort.subjects[row], part) == part
    assert len(where) == 12


def test_a_derivative_uses_the_table_of_its_dataset_or_a_given_one(dataset, volume):
    folder = dataset / "derivatives/prep"
    for subject in ("01", "02"):
        volume(folder / f"sub-{subject}/anat/sub-{subject}_space-MNI_T1w.nii.gz")
    image = {"T1w": ImageSpec(entities={"space": "MNI"})}
    table = read_bids(folder, image)
    assert table.frame["age"].tolist() == ["11", "n/a", "33", "44"]
    assert table.folder == folder
    assert "has no participants.tsv; using that of its dataset" in str(table.notices[0])
    (dataset / "subjects.tsv").write_text("participant_id\tage\n1\t61\n2\t62\n")
    settings = CohortSettings(bids="derivatives/prep", participants="subjects.tsv")
    cohort = read_cohort(image | {"age": ContinuousSpec(range=(0, 99))}, settings, folder=dataset, split=False)
    assert cohort.columns["age"].read([0, 1]).tolist() == [61, 62]
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t71\nsub-02\t72\n")
    assert read_bids(folder, image).frame["age"].tolist() == ["71", "72"]
    with pytest.raises(CohortError, match="no such table"):
        read_bids(folder, image, participants=dataset / "absent.tsv")


def test_a_derivative_is_selected_by_an_entity(dataset, volume):
    for subject in ("01", "02"):
        volume(dataset / f"derivatives/prep/sub-{subject}/anat/sub-{subject}_space-MNI_T1w.nii.gz")
    frame = read_bids(dataset, {"raw": ImageSpec(), "mni": ImageSpec(entities={"derivative": "prep"})}).frame
    assert frame[["raw", "mni", "age"]].to_dict("records")[0] == {
        "raw": "sub-01/anat/sub-01_T1w.nii.gz",
        "mni": "derivatives/prep/sub-01/anat/sub-01_space-MNI_T1w.nii.gz",
        "age": "11",
    }
    assert frame["mni"].tolist()[2:] == ["", ""]


def test_an_image_variable_named_like_a_column_by_session_is_located(dataset, volume):
    volume(dataset / "sub-09/ses-a/anat/sub-09_ses-a_T1w.nii.gz")
    (dataset / "sub-09/sub-09_sessions.tsv").write_text("session_id\tT1w\nses-a\tx\n")
    with pytest.raises(CohortError, match="session tables: column 'T1w' has the name of an image variable"):
        read_bids(dataset, {"T1w": ImageSpec()})


def test_label_maps_are_selected_by_entities_and_need_a_suffix(dataset, volume):
    for subject in ("01", "02", "03"):
        folder = dataset / "derivatives/masks"
        volume(folder / f"sub-{subject}/anat/sub-{subject}_space-orig_label-lesion_mask.nii.gz")
        volume(folder / f"sub-{subject}/anat/sub-{subject}_space-orig_label-brain_mask.nii.gz")
    (folder / "dataset_description.json").write_text(
        json.dumps({"Name": "m", "BIDSVersion": "1.8.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "m"}]})
    )
    labels = {"background": 0, "lesion": 1}
    lesion = LabelMapSpec(labels=labels, entities={"derivative": "masks", "suffix": "mask", "label": "lesion"})
    frame = read_bids(dataset, {"T1w": ImageSpec(), "lesion": lesion}).frame
    named = "derivatives/masks/sub-{0}/anat/sub-{0}_space-orig_label-lesion_mask.nii.gz"
    assert frame["lesion"].tolist()[:3] == [named.format(subject) for subject in ("01", "02", "03")]
    with pytest.raises(CohortError, match="variables.lesion.entities: a label map has no default suffix"):
        read_bids(dataset, {"T1w": ImageSpec(), "lesion": LabelMapSpec(labels=labels)})
