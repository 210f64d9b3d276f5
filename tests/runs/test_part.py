import pytest
import yaml

from metavoxel.inference.model import Model
from metavoxel.runs.part import own_table
from metavoxel.schema.parse import load_schema


@pytest.mark.parametrize(
    ("cohort", "ages"),
    [
        ({"bids": "study"}, ["11", "22"]),
        ({"bids": "study", "participants": "others.tsv"}, ["61", "62"]),
        ({"table": "study/participants.tsv"}, ["11", "22"]),
    ],
)
def test_own_table_is_the_cohort_of_the_schema(tmp_path, cohort, ages):
    for subject in ("01", "02"):
        (tmp_path / f"study/sub-{subject}/anat").mkdir(parents=True)
    (tmp_path / "study/participants.tsv").write_text("participant_id\tage\nsub-01\t11\nsub-02\t22\n")
    (tmp_path / "others.tsv").write_text("participant_id\tage\nsub-01\t61\nsub-02\t62\n")
    (tmp_path / "schema.yaml").write_text(
        yaml.safe_dump({"cohort": cohort, "variables": {"age": {"type": "continuous"}, "iq": {"type": "continuous"}}})
    )
    model = object.__new__(Model)  # only its schema is used
    object.__setattr__(model, "schema", load_schema(tmp_path / "schema.yaml"))
    assert own_table(model).frame["age"].tolist() == ages
