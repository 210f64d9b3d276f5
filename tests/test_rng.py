import math

import pytest
import torch

from metavoxel.rng import Rng, stream_key

ROWS, DRAWS = 400, 1000
Z = 5.0


def z_of_mean(x, mean, variance):
    """z-score of the mean over all of x."""
    return float((x.double().mean() - mean) / math.sqrt(variance / x.numel()))


def correlation_z(a, b):
    """z-score of the correlation of two samples, for independence."""
    a, b = (((x.double() - x.double().mean()) / x.double().std()).flatten() for x in (a, b))
    return float((a * b).mean() * math.sqrt(a.numel()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_uniform(dtype):
    x = Rng.for_rows(ROWS, "uniform").uniform((ROWS, DRAWS), dtype=dtype)
    assert x.dtype == dtype
    assert float(x.min()) > 0 and float(x.max()) < 1
    for power in (1, 2, 3):
        variance = 1 / (2 * power + 1) - 1 / (power + 1) ** 2
        assert abs(z_of_mean(x.double() ** power, 1 / (power + 1), variance)) < Z
    counts = torch.histc(x, bins=100, min=0, max=1)
    expected = x.numel() / 100
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_squared - 99) < Z * math.sqrt(2 * 99)


def test_low_bits_are_uniform():
    x = Rng.for_rows(ROWS, "bits").uniform((ROWS, DRAWS), dtype=torch.float64)
    fine = (x * 2**30) % 1
    assert abs(z_of_mean(fine, 0.5, 1 / 12)) < Z


def test_normal_is_normal():
    x = Rng.for_rows(ROWS, "normal").normal((ROWS, DRAWS), dtype=torch.float64)
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs(z_of_mean(x**power, mean, variance)) < Z
    for edge in (-3.0, -1.0, 0.5, 2.0):
        share = float(torch.special.ndtr(torch.tensor(edge)))
        assert abs(z_of_mean((x < edge).double(), share, share * (1 - share))) < Z
    assert float(x.abs().max()) > 4


def test_gumbel_max_samples_the_category():
    weights = torch.tensor([0.9, 0.09, 0.01])
    drawn = (weights.log() + Rng.for_rows(100_000, "gumbel").gumbel((100_000, 3))).argmax(1)
    for category, weight in enumerate(weights.tolist()):
        assert abs(z_of_mean((drawn == category).double(), weight, weight * (1 - weight))) < Z


def test_numbers_of_one_row_are_independent():
    x = Rng.for_rows(ROWS, "within").normal((ROWS, DRAWS))
    for lag in (1, 2, 3, 64, 500):
        assert abs(correlation_z(x[:, :-lag], x[:, lag:])) < Z


def test_neighbouring_rows_and_keys_are_independent():
    for rng in (Rng.for_rows(ROWS, "between"), Rng.of(range(ROWS)), Rng.of(2**40 * key for key in range(ROWS))):
        x = rng.normal((ROWS, DRAWS))
        for lag in (1, 2, 128):
            assert abs(correlation_z(x[:-lag], x[lag:])) < Z
            assert abs(correlation_z(x[:-lag].abs(), x[lag:].abs())) < Z
        assert abs(correlation_z(x[:-1, :-1], x[1:, 1:])) < Z


def test_keys_that_differ_in_one_bit_are_independent():
    x = Rng.of([0, *(1 << bit for bit in range(63))]).normal((64, 20_000))
    for row in range(1, 64):
        assert abs(correlation_z(x[0], x[row])) < Z


def test_successive_draws_are_independent():
    rng = Rng.for_rows(ROWS, "draws")
    draws = [rng.normal((ROWS, DRAWS)) for _ in range(4)]
    for index, first in enumerate(draws):
        for second in draws[index + 1 :]:
            assert abs(correlation_z(first, second)) < Z


def test_forks_are_independent_of_their_parent_and_of_each_other():
    parent = Rng.for_rows(ROWS, "parent")
    children = [parent.fork("noise"), parent.fork("noise", 1), parent.fork("step"), parent.fork("noise").fork("step")]
    draws = [rng.normal((ROWS, DRAWS)) for rng in (parent, *children)]
    for index, first in enumerate(draws):
        for second in draws[index + 1 :]:
            assert abs(correlation_z(first, second)) < Z


def test_a_row_draws_the_same_in_any_batch_and_any_order():
    rng = Rng.for_rows(6, "batch")
    together = rng.normal((6, 3, 2))
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    assert torch.equal(Rng(rng.keys[order]).normal((6, 3, 2)), together[order])
    for row in range(6):
        assert torch.equal(rng[row : row + 1].normal((1, 3, 2)), together[row : row + 1])
    assert torch.equal(Rng.for_rows(100, "batch").normal((100, 3, 2))[:6], together)


def test_longer_draws_start_with_the_same_numbers():
    short = Rng.for_rows(3, "length").uniform((3, 4))
    assert torch.equal(Rng.for_rows(3, "length").uniform((3, 10))[:, :4], short)


def test_a_fork_does_not_depend_on_what_was_drawn():
    before, after = Rng.for_rows(3, "fork"), Rng.for_rows(3, "fork")
    after.normal((3, 5))
    assert torch.equal(before.fork("x").normal((3, 5)), after.fork("x").normal((3, 5)))


def test_forks_equal_single_forks():
    parent, names = Rng.for_rows(3, "several"), ["age", "sex"]
    together = parent.forks(names).uniform((6, 2)).reshape(3, 2, 2)
    for place, name in enumerate(names):
        assert torch.equal(together[:, place], parent.fork(name).uniform((3, 2)))


def test_a_skipped_draw_advances_the_stream():
    drawn, skipped = Rng.for_rows(3, "skip"), Rng.for_rows(3, "skip")
    drawn.normal((3, 5))
    skipped.skip()
    assert torch.equal(drawn.normal((3, 2)), skipped.normal((3, 2)))


def test_precision_changes_digits_not_draws():
    single, double = (Rng.for_rows(5, "p").normal((5, 50), dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


def test_numbers_are_reproducible_across_processes_and_machines():
    key = stream_key("train", 3, "sub-01")
    assert key == -4171781582601133772
    drawn = Rng.of([key]).normal((1, 3), dtype=torch.float64)[0].tolist()
    assert drawn == pytest.approx([1.26337167397, 0.422610780789, 1.55440283612], rel=1e-10)


def test_keys_of_different_parts_differ():
    keys = [stream_key(*parts) for parts in (("a", 1), ("a", "1"), ("a1",), (1, "a"), ("a", 1, ""), ())]
    assert len(set(keys)) == len(keys)
    assert all(-(2**63) <= key < 2**63 for key in keys)


def test_rows_must_match_keys():
    with pytest.raises(ValueError, match="3 random streams cannot fill a batch of 4 rows"):
        Rng.for_rows(3, "rows").normal((4, 2))


def test_a_row_without_numbers():
    assert Rng.for_rows(2, "none").normal((2, 0)).shape == (2, 0)
    assert Rng.for_rows(0, "none").normal((0, 3)).shape == (0, 3)
    assert Rng.for_rows(2, "scalar").normal((2,)).shape == (2,)
