import pytest
import yaml
from pydantic import ValidationError

from metavoxel.schema.parse import load_schema
from metavoxel.schema.settings import CohortSettings


def test_participants_require_a_bids_folder():
    assert str(CohortSettings(bids="study", participants="subjects.tsv").participants) == "subjects.tsv"
    with pytest.raises(ValidationError, match="'participants' is the table of a BIDS folder's subjects"):
        CohortSettings(table="cohort.csv", participants="subjects.tsv")


def test_participants_and_null_entities_survive_a_move(tmp_path):
    image = {"type": "image", "entities": {"suffix": "T1w", "space": None, "run": "first"}}
    raw = {
        "cohort": {"bids": "derivatives/prep", "participants": "participants.tsv", "qa": "qa.tsv"},
        "variables": {"T1w": image, "age": {"type": "continuous"}},
    }
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(raw))
    run = tmp_path / "runs/one"
    run.mkdir(parents=True)
    (run / "schema.yaml").write_text(load_schema(tmp_path / "schema.yaml").to_yaml(run))
    moved = load_schema(run / "schema.yaml")
    assert (moved.folder / moved.cohort.participants).resolve() == tmp_path / "participants.tsv"
    assert (moved.folder / moved.cohort.qa).resolve() == tmp_path / "qa.tsv"
    assert moved.specs["T1w"].entities == image["entities"]
