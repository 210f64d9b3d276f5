"""Options shared by commands, and their parsing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from metavoxel.cli.pairs import pairs
from metavoxel.errors import EvidenceError, Problem
from metavoxel.parts.variables.text import composed
from metavoxel.sampling.choices import ConditioningName, GridName, SolverName

if TYPE_CHECKING:
    from metavoxel.inference.model import Model

CHOICES = {"solver": SolverName, "grid": GridName, "conditioning": ConditioningName}

RunArgument = Annotated[Path, typer.Argument(help="Run folder, as metavoxel train writes it.")]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same results.")]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Network evaluations per draw; by default 50, or as many as a text has tokens."),
]
Solver = Annotated[str | None, typer.Option(help=f"Solver of the reverse steps: {' or '.join(get_args(SolverName))}.")]
Eta = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Noise of the reverse steps, from 0 (deterministic) to 1; by default 0, under smc 1."
    ),
]
Grid = Annotated[str | None, typer.Option(help=f"Time discretisation: {' or '.join(get_args(GridName))}.")]
Conditioning = Annotated[
    str | None, typer.Option(help=f"How given values enter the network: {', '.join(get_args(ConditioningName))}.")
]
Resamplings = Annotated[
    int | None,
    typer.Option(min=1, help="Passes over each segment of steps under --conditioning repaint; by default 10."),
]
Jump = Annotated[int | None, typer.Option(min=1, help="Steps per segment under --conditioning repaint; by default 1.")]
Particles = Annotated[int | None, typer.Option(help="Particles per draw under --conditioning smc; by default 64.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance weight: 0 is off; above 0 draws are not calibrated.")]
Prepare = Annotated[
    bool,
    typer.Option(
        "--prepare", help="The scans are native: prepare them first as the training scans were, and keep the results."
    ),
]
Device = Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, ...; auto is cuda if available.")]


def chosen(**settings: Any) -> dict[str, Any]:
    """Check the given sampling settings.

    Raises:
        EvidenceError: a choice that does not exist, named by its option.
    """
    from metavoxel.parts.variables.base import Point

    problems = [
        Problem(f"--{name}", f"{settings[name]!r} is not one of {', '.join(get_args(names))}")
        for name, names in {**CHOICES, "point": Point}.items()
        if settings.get(name) is not None and settings[name] not in get_args(names)
    ]
    if problems:
        raise EvidenceError(problems)
    return settings


def names(text: str | None) -> list[str] | None:
    """Split names at commas; None if the option was omitted."""
    return None if text is None else [composed(name.strip()) for name in text.split(",") if name.strip()]


def base_rates(
    texts: Sequence[str], labels: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, dict[str, float]]:
    """Parse ``sex=F:0.5,M:0.5`` or ``sex={"F": 0.5, "M": 0.5}`` to probabilities by category and label.

    Labels may contain commas and colons, in any position if ``labels`` lists those of the category.

    Raises:
        EvidenceError: all parts that are not a label with a number.
    """
    found, problems = {}, []
    for name, text in pairs("--prior", texts).items():
        rates: dict[str, float] = {}
        for part in _quoted(text) or _parts(text, [composed(label) for label in labels.get(name, ())]):
            label, sign, number = (composed(word.strip()) for word in part.rpartition(":"))
            if label in rates:
                problems.append(Problem(f"--prior {name}", f"{label!r} is given twice"))
            try:
                rates[label] = float(number)
            except ValueError:
                sign = ""
            if not sign or not label:
                what = f"{part.strip()!r} must be LABEL:PROBABILITY, as in F:0.5"
                if ":" not in part and (known := labels.get(name)):
                    what += f". Labels: {', '.join(known)}"
                problems.append(Problem(f"--prior {name}", what))
        found[name] = rates
    if problems:
        raise EvidenceError(problems)
    return found


def _quoted(text: str) -> list[str]:
    """Convert a JSON object to ``LABEL:PROBABILITY`` parts; an empty list for other text."""
    try:
        rates = json.loads(text, object_pairs_hook=list)
    except ValueError:
        return []
    entries = rates if isinstance(rates, list) else []
    return [f"{entry[0]}:{entry[1]}" for entry in entries if isinstance(entry, tuple)]


def _parts(text: str, labels: Sequence[str]) -> list[str]:
    """Split at commas, except inside a label: a known label, or a part without a colon."""
    parts: list[str] = []
    current = ""
    for piece in text.split(","):
        current = f"{current},{piece}" if current else piece
        start = composed(current.strip())
        longer = any(known.startswith(f"{start},") for known in labels)
        if not longer and (labels or ":" in start):
            parts.append(current)
            current = ""
    return [*parts, current] if current else parts


def load_on(run: Path, device: str) -> "Model":
    """Load the model of a run folder onto a device.

    Raises:
        RunError: not a finished run, or an unavailable device.
    """
    from metavoxel.runs.run import load, resolved_device

    return load(run, device=resolved_device(device, f"--device {device}"))
