import hashlib
import random
from collections import Counter

import pytest

from metavoxel.cohort.split import draw_split, read_split
from metavoxel.errors import CohortError
from metavoxel.schema.settings import SplitSettings

SUBJECTS = [f"s{number}" for number in range(124)]
SETTINGS = SplitSettings(train=0.75, validation=0.1, test=0.15, seed=0)


def _parts(subjects, settings=SETTINGS, **strata):
    return dict(zip(subjects, draw_split(subjects, strata, settings), strict=True))


def test_sizes_are_the_shares_rounded():
    assert Counter(_parts(SUBJECTS).values()) == {"train": 93, "validation": 12, "test": 19}


@pytest.mark.parametrize("count", range(10, 60))
def test_sizes_are_within_one_of_the_shares(count):
    sizes = Counter(_parts(SUBJECTS[:count]).values())
    for part, size in sizes.items():
        assert abs(size - count * getattr(SETTINGS, part)) < 1


def test_the_split_is_independent_of_row_order():
    shuffled = random.Random(3).sample(SUBJECTS, len(SUBJECTS))
    sexes = {subject: "FM"[number % 2] for number, subject in enumerate(SUBJECTS)}
    first = _parts(SUBJECTS, sex=[sexes[subject] for subject in SUBJECTS])
    assert first == _parts(shuffled, sex=[sexes[subject] for subject in shuffled])


def test_the_split_depends_on_the_seed():
    other = SETTINGS.model_copy(update={"seed": 1})
    assert _parts(SUBJECTS) == _parts(SUBJECTS)
    assert _parts(SUBJECTS) != _parts(SUBJECTS, other)


def test_over_seeds_subjects_are_drawn_evenly():
    """Over seeds, each subject is in the test part with the frequency of its share."""
    subjects = SUBJECTS[:20]
    drawn = Counter()
    for seed in range(400):
        parts = _parts(subjects, SETTINGS.model_copy(update={"seed": seed}))
        drawn.update(subject for subject in subjects if parts[subject] == "test")
    sd = (400 * 0.15 * 0.85) ** 0.5
    assert all(abs(drawn[subject] - 400 * 0.15) < 4.5 * sd for subject in subjects)


def test_rows_of_a_subject_stay_together():
    rows = [subject for subject in SUBJECTS for _ in range(3)]
    parts = draw_split(rows, {}, SETTINGS)
    assert len(set(zip(rows, parts, strict=True))) == len(SUBJECTS)


@pytest.mark.parametrize("seed", range(5))
def test_every_stratum_is_divided_evenly(seed):
    rng = random.Random(seed)
    labels = [rng.choice(["a", "a", "a", "b", None]) for _ in SUBJECTS]
    settings = SETTINGS.model_copy(update={"seed": seed})
    parts = _parts(SUBJECTS, settings, label=labels)
    for label in ("a", "b", None):
        members = [subject for subject, found in zip(SUBJECTS, labels, strict=True) if found == label]
        for part in ("train", "validation", "test"):
            size = sum(parts[subject] == part for subject in members)
            assert abs(size - len(members) * getattr(settings, part)) < 2


def test_numbers_are_stratified_by_quantile():
    ages = [float(number**2) for number in range(len(SUBJECTS))]
    parts = _parts(SUBJECTS, age=ages)
    oldest = SUBJECTS[-31:]
    assert abs(sum(parts[subject] == "test" for subject in oldest) - 31 * 0.15) < 2


def test_several_variables_stratify_together():
    sexes = ["FM"[number % 2] for number in range(len(SUBJECTS))]
    ages = [float(number) for number in range(len(SUBJECTS))]
    parts = _parts(SUBJECTS, sex=sexes, age=ages)
    women = [subject for subject, sex in zip(SUBJECTS, sexes, strict=True) if sex == "F"]
    assert abs(sum(parts[subject] == "test" for subject in women) - 62 * 0.15) < 2


def test_a_part_left_empty_is_an_error():
    with pytest.raises(CohortError, match="3 subjects leave validation and test empty"):
        draw_split(SUBJECTS[:3], {}, SplitSettings())
    no_test = SplitSettings(train=0.5, validation=0.5, test=0)
    assert Counter(draw_split(SUBJECTS[:4], {}, no_test)) == {"train": 2, "validation": 2}


def test_parts_are_read_from_a_column():
    cells = ["train", "Train", "validation", "test"]
    settings = SplitSettings(column="part")
    places = [f"row {number}" for number in range(4)]
    assert read_split(["a", "a", "b", "c"], cells, places, settings) == ["train", "train", "validation", "test"]


def test_all_problems_of_a_split_column_are_reported():
    settings = SplitSettings(column="part")
    places = [f"t.csv row {number}" for number in range(2, 6)]
    with pytest.raises(CohortError) as caught:
        read_split(["a", "a", "b", "c"], ["train", "test", "tset", ""], places, settings)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "t.csv row 3 (a), column part: 'test', but another row of this subject is in 'train'" in lines[0]
    assert "Did you mean 'test'?" in lines[1]
    assert "row 5 (c), column part: '' is none of" in lines[2]
    assert "no row is in validation" in lines[3]


@pytest.mark.parametrize("shares", [(0.75, 0.1, 0.15), (0.8, 0.2, 0.0), (0.34, 0.33, 0.33)])
def test_parts_are_those_of_the_definition(shares):
    """Each subject in shuffled order gets the part furthest below its share, written out step by step."""
    settings = SplitSettings(train=shares[0], validation=shares[1], test=shares[2], seed=5)
    found = _parts(SUBJECTS, settings)
    totals = Counter(found.values())
    targets = {part: totals.get(part, 0) for part in ("train", "validation", "test")}
    order = sorted(SUBJECTS, key=lambda subject: hashlib.blake2b(repr((5, subject)).encode(), digest_size=16).digest())
    counts = dict.fromkeys(targets, 0)
    for rank, subject in enumerate(order, start=1):
        open_parts = [part for part in targets if counts[part] < targets[part]]
        part = max(open_parts, key=lambda part: targets[part] / len(SUBJECTS) * rank - counts[part])
        counts[part] += 1
        assert found[subject] == part
