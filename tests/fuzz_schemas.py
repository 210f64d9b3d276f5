"""Fuzzing of schemas: damaged text is refused or read."""

import re
from pathlib import Path

import numpy as np
from fuzz_limits import Counts, attempt
from fuzz_texts import ODD_NUMBERS, encoded, one_of, with_odd_character, with_piece_moved

from metavoxel.plugins.registry import load_registry
from metavoxel.schema.parse import load_schema

_SCHEMAS = (
    """\
cohort:
  table: people.csv
  subject: id
  missing: ["", n/a, -999]
  split: {train: 0.7, validation: 0.2, test: 0.1, seed: 3, stratify: [sex]}
variables:
  age: {type: continuous, valid: [10, 90], unit: years, transform: log}
  sex: {type: categorical, categories: [F, M], weight: 2.0}
  site:
    type: categorical
    column: Site (code)
    categories: {Bonn: 007, Kiel: "010"}
training:
  steps: 200
  batch_size: 8
  learning_rate: 1e-3
  optimiser: adamw
diffusion: {times: evidence, factors: [[age, sex], [sex, site]]}
backbone: {type: transformer, width: 32}
""",
    """\
cohort: {bids: ., split: {train: .6, validation: .2, test: .2}}
variables:
  T1w: &image
    type: image
    entities: {suffix: T1w, ses: "01", rec: null}
    spacing: 2.0
    codec: {type: kl_vae, steps: 100}
  FLAIR:
    <<: *image
    entities: {suffix: FLAIR}
    intensities: [0, 1500]
  age: {type: continuous, kernel: gaussian}
training: {steps: 20}
""",
)

_TOKENS = (
    "&a ",
    "*a",
    "*image",
    "<<: *image\n",
    "<<: [*image, 3]\n",
    "!!int ",
    "!!binary ",
    "!!set ",
    "!!timestamp ",
    "!local ",
    "!<tag:yaml.org,2002:str> ",
    "? ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "%YAML 1.3\n",
    "%TAG ! x\n",
    "# ",
    ": ",
    "\n\t",
    "\n  ",
    "'",
    '"',
    '"\\ud800"',
    '"\\x00"',
    '"\\u2028"',
    "[[]]",
    "{{}: 1}",
    "{a: {b: {c: 1}}}",
)
_VALUE = re.compile(r"(?<=[:,\[] )[^\s,\[\]{}]+|(?<=: )\[[^\]]*\]|(?<=: )\{[^{}]*\}")
_WORD = re.compile(r"[A-Za-z_]+")


def damaged_schema(rng: np.random.Generator) -> bytes:
    """Return the bytes of a small schema with one to three random defects, usually one."""
    text = one_of(_SCHEMAS, rng)
    for _ in range(int(one_of((1, 1, 1, 2, 3), rng))):
        text = _damaged(text, rng)
    return encoded(text, rng)


def _damaged(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(text) + 1))
    match int(rng.integers(12)):
        case 0:
            return with_odd_character(text, rng)
        case 1:
            return with_piece_moved(text, rng)
        case 2:
            return text[:at] + one_of(_TOKENS, rng) + text[at:]
        case 3 | 8 | 9:
            return _replaced(text, _VALUE, one_of(ODD_NUMBERS, rng), rng)
        case 4 | 10:
            return _replaced(text, _VALUE, one_of(_VALUE.findall(text) or ["x"], rng), rng)
        case 5:
            return _replaced(text, _WORD, one_of(_WORD.findall(text) or ["x"], rng), rng)
        case 6:
            depth = int(rng.integers(1, 300))
            opened, closed = one_of((("[", "]"), ("{a: ", "}"), ("- ", "")), rng)
            return _replaced(text, _VALUE, opened * depth + "x" + closed * depth, rng)
        case 7:
            return _replaced(text, _VALUE, _aliases(rng), rng)
        case _:
            lines = text.splitlines(keepends=True)
            order = rng.permutation(len(lines)) if rng.integers(4) == 0 else np.arange(len(lines))
            if len(lines) > 1:
                order = np.delete(order, int(rng.integers(len(lines))))
            return "".join(lines[line] for line in order)


def _replaced(text: str, pattern: re.Pattern[str], new: str, rng: np.random.Generator) -> str:
    """Replace one match of a pattern."""
    found = list(pattern.finditer(text))
    if not found:
        return text
    match = one_of(found, rng)
    return text[: match.start()] + new + text[match.end() :]


def _aliases(rng: np.random.Generator) -> str:
    """Build a YAML list in which each item repeats the previous one several times, by aliases."""
    width, depth = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    items = ["&a0 x", *(f"&a{index} [{', '.join([f'*a{index - 1}'] * width)}]" for index in range(1, depth))]
    return f"[{', '.join(items)}]"


def fuzz_schemas(folder: Path, count: int, seed: int = 0) -> Counts:
    """Read ``count`` damaged schemas.

    Raises:
        AssertionError: see :func:`fuzz_limits.attempt`; or a schema that differs after writing and reading.
    """
    rng = np.random.default_rng(seed)
    registry = load_registry()
    path, counts = folder / "schema.yaml", Counts()
    for number in range(count):
        path.write_bytes(damaged_schema(rng))
        where = f"schema {number} of seed {seed}"
        schema = attempt(lambda: load_schema(path, registry), where)
        counts = counts.with_one(schema)
        if schema is not None:
            path.write_text(schema.to_yaml(folder), encoding="utf-8")
            again = attempt(lambda: load_schema(path, registry), f"{where}, after writing")
            assert again is not None and again.specs == schema.specs and again.training == schema.training, where
    return counts
