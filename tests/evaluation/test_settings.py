"""Settings of an evaluation: defaults for a schema, and validation."""

import pytest
from tiny_cohorts import IMAGES, TABLE, write_schema, write_table

from metavoxel.errors import EvidenceError
from metavoxel.evaluation.settings import Settings, others, subsets
from metavoxel.schema import load_schema


def schema_of(raw, tmp_path):
    return load_schema(write_schema(tmp_path, raw))


def test_defaults_are_resolved_for_the_schema(tmp_path):
    write_table(tmp_path)
    schema = schema_of(TABLE, tmp_path)
    checked = Settings().checked(schema)
    assert checked.targets == ["age", "sex", "score"] and checked.flexible == "age" and checked.draws == 20
    assert Settings(targets=["sex"]).checked(schema).flexible == "sex"
    assert others(schema, "sex") == ("age", "score")


def test_shared_times_default_to_three_draws(tmp_path):
    raw = {**TABLE, "diffusion": {"times": "shared"}}
    assert Settings().checked(schema_of(raw, tmp_path)).draws == 3


def test_all_problems_are_reported(tmp_path):
    schema = schema_of(IMAGES, tmp_path)
    with pytest.raises(EvidenceError) as caught:
        Settings(targets=["agee", "volume"], flexible="sx", samples=2).checked(schema)
    assert [str(problem) for problem in caught.value.problems] == [
        "`targets`: no variable 'agee'. Did you mean 'age'? Variables: picture, volume, age, sex",
        "`flexible`: no variable 'sx'. Did you mean 'sex'? Variables: picture, volume, age, sex",
        "`targets`: 'volume' is not a number or a label. Those are: age, sex",
        "`samples`: must be 0 (no image quality) or at least 5, not 2",
    ]


@pytest.mark.parametrize("name", ["draws", "steps", "sample_steps", "samples", "rows"])
@pytest.mark.parametrize("value", [-20, True])
def test_counts_are_whole_numbers_in_range(tmp_path, name, value):
    with pytest.raises(EvidenceError, match=f"^`{name}`: must be "):
        Settings(**{name: value}).checked(schema_of(IMAGES, tmp_path))


def test_a_seed_is_a_whole_number(tmp_path):
    with pytest.raises(EvidenceError, match="seed: must be a whole number, not True"):
        Settings(seed=True).checked(schema_of(IMAGES, tmp_path))


def test_table_2_has_every_subset_of_few_variables(tmp_path):
    found = subsets(schema_of(IMAGES, tmp_path), "age")
    assert found[0] == ("picture", "volume", "sex") and found[-1] == () and len(found) == len(set(found)) == 8


def test_table_2_has_the_smallest_and_largest_subsets_of_many_variables(tmp_path):
    many = {f"x{number}": {"type": "continuous"} for number in range(8)}
    found = subsets(schema_of({**TABLE, "variables": many}, tmp_path), "x0")
    assert [len(subset) for subset in found] == [7, *[6] * 7, *[1] * 7, 0]
