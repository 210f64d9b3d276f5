from heads import inside, moved, pose

from metavoxel.preparation.quality import Quality, flags, similarity

GOOD = Quality(correlation=0.65, symmetry=0.75, volume=1500, cut=0.0, angle=3)


def test_a_wrong_pose_has_a_low_correlation(brain, template):
    right = similarity(brain, inside(brain), template.image, template.brain)
    wrong, _ = moved(brain, pose(35, 0)).onto(brain.grid)
    lower = similarity(wrong, inside(wrong), template.image, template.brain)
    assert right[0] > 0.95 and right[1] > 0.95
    assert lower[0] < 0.45 and lower[1] < right[1]


def test_each_figure_is_a_reason():
    bad = {
        "correlation": GOOD._replace(correlation=0.2),
        "symmetry": GOOD._replace(symmetry=0.3),
        "brain of": GOOD._replace(volume=3000),
        "edge": GOOD._replace(cut=0.2),
    }
    for word, quality in bad.items():
        (reason,) = flags({"a": quality})["a"]
        assert word in reason
    assert flags({"a": GOOD}) == {"a": []}


def test_the_spread_of_a_cohort_flags_its_outlier_alone():
    many = {str(number): GOOD._replace(correlation=0.64 + 0.002 * number) for number in range(12)}
    found = flags({**many, "bad": GOOD._replace(correlation=0.50)})
    assert found["bad"] and not any(found[name] for name in many)
