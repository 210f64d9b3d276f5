"""Validation of methods and targets before training, and reuse of completed jobs."""

import pytest
from compared_runs import NUMBERS, QUICK, compared
from tiny_cohorts import write_schema
from tiny_runs import train

from metavoxel.errors import CohortError, EvidenceError, RunError
from metavoxel.evaluation.comparisons import compare


def problems_of(error, *arguments):
    with pytest.raises(error) as caught:
        next(compare(*arguments))
    return [str(problem) for problem in caught.value.problems]


def test_all_problems_are_reported_together(numbers):
    problems = problems_of(EvidenceError, numbers / "run", ["liner", "densenet", "vit"], ["secnd", "label"])
    assert problems == [
        "methods: no method 'liner'. Did you mean 'linear'? Methods: linear, densenet, vit, braid, ldm, continuous_sex",
        "methods: 'densenet' needs an image, and this schema has none. Of use here: linear, continuous_sex",
        "methods: 'vit' needs an image, and this schema has none. Of use here: linear, continuous_sex",
        "targets: no variable 'secnd'. Did you mean 'second'? Possible targets: first, second, label",
    ]
    assert not (numbers / "run" / "comparisons").exists()


def test_images_cannot_be_targets(pictures):
    (problem,) = problems_of(EvidenceError, pictures / "run", ["linear"], ["picture"])
    assert problem == "targets: 'picture' is neither a number nor a category. Possible targets: age, sex"


def test_runs_without_test_subjects_are_refused(numbers):
    split = {"train": 0.8, "validation": 0.2, "test": 0.0}
    raw = {**NUMBERS, "cohort": {"table": "people.csv", "split": split}}
    train(write_schema(numbers, raw, name="other.yaml"), numbers / "other")
    (problem,) = problems_of(RunError, numbers / "other")
    assert "no test subjects" in problem and "cohort.split.test" in problem
    assert "not a run folder" in problems_of(RunError, numbers / "nowhere")[0]


def test_cohorts_without_all_subjects_of_the_split_are_refused(numbers):
    lines = (numbers / "people.csv").read_text().splitlines()
    (numbers / "people.csv").write_text("\n".join(lines[:-3]) + "\n")
    with pytest.raises(CohortError) as caught:
        compared(numbers / "run", ["linear"])
    (problem,) = [str(problem) for problem in caught.value.problems if "has no row" in str(problem)]
    assert "people.csv: has no row 's597', which the run's split names (3 such rows); it has changed" in problem


def test_completed_jobs_are_reused(numbers):
    compared(numbers / "run", ["linear"], ["first"])
    folder = numbers / "run" / "comparisons" / "linear"
    before = (folder / "predictions-first.tsv").stat().st_mtime_ns
    records = compared(numbers / "run", ["linear"], ["first", "second"])
    assert (folder / "predictions-first.tsv").stat().st_mtime_ns == before
    assert set(records["linear"].targets) == {"first", "second"}


def test_results_with_other_settings_are_refused(pictures):
    settings = QUICK._replace(steps=1)
    stopped = compare(pictures / "run", ["vit"], ["age"], settings)
    next(stopped)
    stopped.close()
    (problem,) = problems_of(RunError, pictures / "run", ["vit"], ["age"], settings._replace(size="full", samples=3))
    folder = pictures / "run" / "comparisons" / "vit"
    assert problem.startswith(f"{folder}: was run with size None, not 'full'; use the same settings")
    assert not compared(pictures / "run", ["vit"], ["age"], settings._replace(samples=3))["vit"].failures
    (folder / "record.json").write_text("{}")
    assert "is not a comparison record" in problems_of(RunError, pictures / "run", ["vit"])[0]
