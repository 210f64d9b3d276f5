"""Options of the form NAME=VALUE."""

from collections.abc import Sequence

from metavoxel.errors import EvidenceError, Problem
from metavoxel.parts.variables.text import composed


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Parse NAME=VALUE of each text.

    Raises:
        EvidenceError: a text without an equals sign, or a repeated name.
    """
    parts = [text.partition("=") for text in texts]
    problems = [
        Problem(option, f"{text!r} must be NAME=VALUE") for text, part in zip(texts, parts, strict=True) if not part[1]
    ]
    found = [composed(name.strip()) for name, _, _ in parts]
    problems += [
        Problem(option, f"{name!r} is given twice") for name in sorted({n for n in found if found.count(n) > 1})
    ]
    if problems:
        raise EvidenceError(problems)
    return {name: value.strip() for name, (_, _, value) in zip(found, parts, strict=True)}
