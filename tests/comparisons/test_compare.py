"""What is asked for is checked before anything is trained, and what is done is not done again."""

import pytest
from compared_runs import NUMBERS, QUICK, compared
from tiny_cohorts import write_schema
from tiny_runs import train

from metavoxel.comparisons import compare
from metavoxel.errors import CohortError, EvidenceError, RunError


def refusal(error, *arguments):
    with pytest.raises(error) as caught:
        next(compare(*arguments))
    return [str(problem) for problem in caught.value.problems]


def test_every_mistake_is_told_at_once(numbers):
    told = refusal(EvidenceError, numbers / "run", ["liner", "densenet", "vit"], ["secnd", "label"])
    assert told == [
        "methods: no method 'liner'. Did you mean 'linear'? Methods: linear, densenet, vit, braid, ldm, continuous_sex",
        "methods: 'densenet' needs an image, and this schema has none. Of use here: linear, continuous_sex",
        "methods: 'vit' needs an image, and this schema has none. Of use here: linear, continuous_sex",
        "targets: no variable 'secnd'. Did you mean 'second'? Variables that can be: first, second, label",
    ]
    assert not (numbers / "run" / "comparisons").exists()


def test_images_are_no_targets(pictures):
    (told,) = refusal(EvidenceError, pictures / "run", ["linear"], ["picture"])
    assert told == "targets: 'picture' is no number or category; variables that can be: age, sex"


def test_a_run_needs_test_subjects(numbers):
    split = {"train": 0.8, "validation": 0.2, "test": 0.0}
    raw = {**NUMBERS, "cohort": {"table": "people.csv", "split": split}}
    train(write_schema(numbers, raw, name="other.yaml"), numbers / "other")
    (told,) = refusal(RunError, numbers / "other")
    assert "no test subjects" in told and "cohort.split.test" in told
    assert "not a run folder" in refusal(RunError, numbers / "nowhere")[0]


def test_a_cohort_that_lost_subjects_is_refused(numbers):
    lines = (numbers / "people.csv").read_text().splitlines()
    (numbers / "people.csv").write_text("\n".join(lines[:-3]) + "\n")
    (told,) = [line for line in refusal_after_reading(numbers) if "has no row" in line]
    assert "people.csv: has no row 's597', which the run's split names (3 such rows); it has changed" in told


def refusal_after_reading(folder):
    with pytest.raises(CohortError) as caught:
        compared(folder / "run", ["linear"])
    return [str(problem) for problem in caught.value.problems]


def test_what_is_done_is_kept(numbers):
    compared(numbers / "run", ["linear"], ["first"])
    folder = numbers / "run" / "comparisons" / "linear"
    before = (folder / "predictions-first.tsv").stat().st_mtime_ns
    records = compared(numbers / "run", ["linear"], ["first", "second"])
    assert (folder / "predictions-first.tsv").stat().st_mtime_ns == before
    assert set(records["linear"].targets) == {"first", "second"}


def test_results_of_other_settings_are_not_mixed(pictures):
    settings = QUICK._replace(steps=1)
    stopped = compare(pictures / "run", ["vit"], ["age"], settings)
    next(stopped)
    stopped.close()
    (told,) = refusal(RunError, pictures / "run", ["vit"], ["age"], settings._replace(size="full", samples=3))
    folder = pictures / "run" / "comparisons" / "vit"
    assert told.startswith(f"{folder}: was made with size None, not 'full'; ask for the same again")
    assert not compared(pictures / "run", ["vit"], ["age"], settings._replace(samples=3))["vit"].failures
    (folder / "record.json").write_text("{}")
    assert "is no record of a comparison" in refusal(RunError, pictures / "run", ["vit"])[0]
