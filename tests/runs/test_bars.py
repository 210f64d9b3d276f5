"""Progress of long work on the terminal."""

from collections.abc import Generator

import pytest

from metavoxel.runs.bars import show
from metavoxel.runs.progress import Progress


def _work(count: int) -> Generator[Progress, None, str]:
    yield Progress("joint", 1, 1, {f"x{place}": float(place) for place in range(count)})
    return "done"


def test_few_metrics_are_printed_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(_work(3)) == "done"
    assert "joint 1/1 x0 0  x1 1  x2 2" in capsys.readouterr().err


def test_of_many_metrics_the_mean_and_the_highest_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show(_work(300))
    assert "joint 1/1 mean of 300 150, highest x299 299, x298 298, x297 297" in capsys.readouterr().err
