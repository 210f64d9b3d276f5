"""The schema of a cohort of pictures and reports."""

from pathlib import Path

import yaml

from metavoxel.cohort.phantoms.factors import OLDEST, SEXES, YOUNGEST
from metavoxel.storage.atomic import write_text

TOKENS = 24
"""Tokens of a report; the longest has 23."""

_HEAD = """# Pictures and reports of simulated heads. The type `text` comes with a plugin: pip install metavoxel-text.
"""


def write_report_schema(folder: Path) -> Path:
    """Write ``schema.yaml`` of all variables to the cohort's folder, unless it exists; return its path."""
    file = folder / "schema.yaml"
    if not file.exists():  # an existing one may be the user's
        write_text(file, report_schema_text())
    return file


def report_schema_text() -> str:
    """Schema of picture, report, age and sex, for the cohort's folder."""
    split = {"train": 0.8, "validation": 0.1, "test": 0.1, "seed": 0}
    variables = {
        "image": {"type": "image", "column": "image", "codec": "wavelet"},
        "report": {"type": "text", "tokens": TOKENS, "vocabulary": 64},
        "age": {"type": "continuous", "range": [int(YOUNGEST), int(OLDEST)], "unit": "years"},
        "sex": {"type": "categorical", "categories": list(SEXES)},
    }
    cohort = {"table": "participants.tsv", "subject": "participant_id", "split": split}
    return _HEAD + yaml.safe_dump({"cohort": cohort, "variables": variables}, sort_keys=False)
