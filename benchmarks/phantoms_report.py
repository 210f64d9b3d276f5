"""Tables of a phantom benchmark, beside the Bayes errors. Run by benchmarks/phantoms.py."""

from collections.abc import Sequence
from pathlib import Path


def report(output: Path, modes: Sequence[str]) -> None:
    """Print the tables of docs/benchmarks.md."""
