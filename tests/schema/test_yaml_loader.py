"""Plain data from YAML files: YAML 1.2 numbers, labels as written, and errors with line and column."""

import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.errors import SchemaError
from metavoxel.plugins.registry import load_registry
from metavoxel.schema import load_schema
from metavoxel.schema.yaml_loader import MAX_BYTES, read_yaml

ROOT = Path(__file__).parents[2]
REGISTRY = load_registry(entry_points=False)


def read(folder, text):
    (folder / "schema.yaml").write_text(text, encoding="utf-8")
    return read_yaml(folder / "schema.yaml")


def schema_of(folder, settings, cohort="table: t.csv", more=""):
    """Load a schema of one variable with these settings; return the variable's settings and the schema."""
    (folder / "schema.yaml").write_text(
        f"cohort: {{{cohort}}}\nvariables:\n  v: {{{settings}}}\n{more}", encoding="utf-8"
    )
    schema = load_schema(folder / "schema.yaml", REGISTRY)
    return schema.variables["v"].spec, schema


def refused(folder, text):
    with pytest.raises(SchemaError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert "\n" not in message, "one sentence"
    return message


WRITTEN = [
    "010", "007", "08", "077", "1e3", "1E5", "1e-4", "3.10", "1.0", "1", "-5", "+5", "-0", "0x10", "0o17", "0b1", "1_000",
    "8:30", "190:20:30", "2020-01-01", "2020-13-01", "2020-01-01 99:00:00", "2001-12-14t21:59:43.10-05:00", "yes", "no",
    "on", "off", "y", "true", "False", "1.", ".5", "5e", "=", "1e999", "1" * 500, "0.1e-7", "1e-05", "1.5e+20",
]  # fmt: skip
NUMBERS = {
    "010": 10, "+5": 5, "-0": 0, "1e3": 1000, "1E5": 100000, "1e-4": 0.0001, "3.10": 3.1, "0x10": 16, "0o17": 15, "7.": 7,
    ".5": 0.5, "-1.5e+2": -150, "08": 8, "1.0e-05": 1e-5,
}  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN, ids=lambda text: text[:30])
def test_labels_keep_their_text(tmp_path, text):
    spec, _ = schema_of(tmp_path, f"type: categorical, categories: [{text}, other]")
    assert spec.labels == (text, "other")
    spec, _ = schema_of(tmp_path, f"type: categorical, categories: {{{text}: {text}, other: b}}")
    assert spec.categories == {text: text, "other": "b"}
    spec, _ = schema_of(tmp_path, f"type: image, entities: {{acq: {text}}}")
    assert spec.entities == {"acq": text}
    _, schema = schema_of(tmp_path, "type: continuous", f"table: t.csv, missing: [{text}, '']")
    assert schema.cohort.missing == [text, ""]
    spec, _ = schema_of(tmp_path, f"type: continuous, column: {text}, unit: {text}")
    assert (spec.column, spec.unit) == (text, text)


@pytest.mark.parametrize("text", NUMBERS)
def test_numeric_settings_follow_yaml_1_2(tmp_path, text):
    number = NUMBERS[text]
    spec, _ = schema_of(tmp_path, f"type: continuous, range: [{text}, 1e6], valid: [-1e3, {text}]")
    assert spec.range == (number, 1e6) and spec.valid == (-1000, number)
    if number > 0:
        assert schema_of(tmp_path, f"type: continuous, weight: {text}")[0].weight == number
    if number > 0 and number == int(number):
        _, schema = schema_of(tmp_path, "type: continuous", more=f"training: {{steps: {text}, batch_size: {text}}}")
        assert (schema.training.steps, schema.training.batch_size) == (number, number)


def test_coercion_in_other_settings(tmp_path):
    spec, _ = schema_of(tmp_path, "type: continuous, valid: [-.inf, .INF]")
    assert spec.valid == (-math.inf, math.inf)
    spec, _ = schema_of(tmp_path, "type: image, codec: {type: kl_vae, downsampling: 04}, shape: [010, 0x10, 8]")
    assert spec.shape == (10, 16, 8)
    spec, schema = schema_of(tmp_path, "type: continuous, kernel: {schedule: {type: cosine, power: 01}}")
    assert schema.variables["v"].parts.kernel.schedule.power == 1
    spec, _ = schema_of(
        tmp_path, "type: image, flip: true, affine: [[1e0, 0, 0, -0], [0, 02, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]"
    )
    assert spec.flip is True and spec.affine[1] == [0, 2, 0, 0]
    assert schema_of(tmp_path, "type: image, flip: False")[0].flip is False
    assert schema_of(tmp_path, "type: continuous, column: 2019")[0].column == "2019"
    assert schema_of(tmp_path, "type: continuous, range: ~, column: null")[0].column is None


@pytest.mark.parametrize(
    ("settings", "more", "expected"),
    [
        ("type: continuous, range: [8:30, 9:30]", "", "variables.v.range.0: Input should be a valid number"),
        ("type: continuous, weight: .nan", "", "variables.v.weight: Input should be"),
        ("type: continuous", "training: {steps: 1e-3}", "training.steps: Input should be a valid integer"),
        ("type: continuous", "training: {steps: true}", "training.steps: Input should be a valid integer"),
        ("type: continuous", f"training: {{seed: {'1' * 5000}}}", "training.seed: "),
        ("type: continuous", f"training: {{seed: {10**30}}}", "training.seed: Input should be less than"),
        ("type: image, flip: maybe", "", "variables.v.flip: Input should be a valid boolean"),
        ("type: categorical, categories: [a, null]", "", "variables.v.categories: None is no text or number"),
    ],
)
def test_invalid_numbers_are_refused(tmp_path, settings, more, expected):
    with pytest.raises(SchemaError) as caught:
        schema_of(tmp_path, settings, more=more)
    assert str(caught.value).startswith(expected) and len(str(caught.value)) < 400


def test_a_missing_code_null_has_to_be_quoted(tmp_path):
    with pytest.raises(SchemaError, match=r"cohort\.missing\.0: .*write it in quotation marks"):
        schema_of(tmp_path, "type: continuous", "table: t.csv, missing: [NULL]")


@given(label=st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=12))
def test_quoted_labels_are_read_unchanged(label, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    text = f"cohort: {json.dumps(label)}\n'{label.replace(chr(39), chr(39) * 2)}x': 1" if "\n" not in label else "a: 1"
    if not any(separator in label for separator in "\x85\u2028\u2029"):
        assert read(folder, text) == {"cohort": label, f"{label}x": 1}
    # Also as PyYAML writes it.
    assert read(folder, yaml.safe_dump({"key": [label], label: 1}, allow_unicode=True)) == {"key": [label], label: 1}


@given(number=st.floats(allow_nan=False) | st.integers(-(10**18), 10**18))
def test_numbers_round_trip(number, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    written = repr(number) if math.isfinite(number) else (".inf" if number > 0 else "-.inf")
    for text in (written, yaml.safe_dump(number).split("\n")[0]):
        spec, _ = schema_of(folder, f"type: continuous, valid: [{text}, .inf]") if number != math.inf else (None, None)
        assert spec is None or spec.valid[0] == number
    if isinstance(number, float) and 0 < number < math.inf:
        assert schema_of(folder, f"type: continuous, weight: {written}")[0].weight == number


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("examples/**/*.yaml")) + sorted(Path(__file__).parent.glob("contracts/*.yaml")),
    ids=lambda path: path.stem,
)
def test_ordinary_schemas_are_read_as_by_pyyaml(path):
    """Compared up to the types of numbers and booleans, which settings coerce."""

    def text(value):
        if isinstance(value, dict):
            return {text(key): text(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [text(entry) for entry in value]
        if isinstance(value, bool):
            return str(value).lower()
        try:
            return float(value)
        except (TypeError, ValueError):
            return value

    assert text(read_yaml(path)) == text(yaml.safe_load(path.read_text(encoding="utf-8")))


WRONG = {
    "duplicate": ("a: 1\nb: {c: 1, d: 2,\n  c: 3}", "line 3, column 3: key 'c' is given twice"),
    "null-key": ("a:\n  ~: 1", "line 2, column 3: a key must be text, not null"),
    "list-key": ("? [a, b]\n: c", "line 1, column 3: a key must be text"),
    "tag": ("a: 1\nb: !!python/name:os.system x", "line 2, column 4: the tag '!!python/name:os.system' is not supported"),
    "set": ("a: !!set {b, c}", "line 1, column 4: the tag '!!set' is not supported"),
    "binary": ("a: !!binary aGk=", "line 1, column 4: the tag '!!binary' is not supported"),
    "timestamp": ("a: !!timestamp 2020-13-01", "line 1, column 4: the tag '!!timestamp' is not supported"),
    "no-integer": ("a: !!int 1.5", "line 1, column 4: '1.5' is not a number of the tag '!!int'"),
    "deep": ("a: " + "[" * 3000, "line 1, column 103: nested too deeply (more than 100 levels)"),
    "alias-in-itself": ("a: &x [b, *x]", "line 1, column 11: alias *x refers to a value that contains it"),
    "alias-of-nothing": ("a: *x", "line 1, column 4: alias *x has no anchor before it"),
    "merge": ("a: {<<: 3}", "line 1, column 9: '<<' merges a mapping"),
    "nul": ("a: b\nc: d\x00", "line 2, column 5: the control character U+0000 is not allowed"),
    "escape": ("a: \x1b[0m", "line 1, column 4: the control character U+001B is not allowed"),
    "tab": ("a:\n\tb: 1", "line 2, column 1: "),
    "surrogate": (r'a: "\ud800"', "line 1, column 4: half of a surrogate pair"),
    "unclosed": ("a: [1,\nb: 2", "line 2, column "),
    "two-documents": ("a: b\n---\nc: d", "line 2, column 1: expected a single document"),
    "list": ("- a\n- b", "line 1, column 1: a schema must be a mapping of section names to settings, not a list"),
    "value": ("\n word", "line 2, column 2: a schema must be a mapping of section names to settings, not a single value"),
    "empty": ("", "line 1, column 1: the file is empty"),
    "comments": ("# nothing\n\n", "line 1, column 1: the file is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_other_than_plain_data_is_refused_in_one_sentence(tmp_path, name):
    text, expected = WRONG[name]
    assert refused(tmp_path, text).startswith(f"{tmp_path / 'schema.yaml'}: not valid YAML: {expected}")


def test_a_byte_that_is_not_utf_8(tmp_path):
    (tmp_path / "schema.yaml").write_bytes(b"a: 1\nb: \xe9t\xe9")
    with pytest.raises(SchemaError, match=r"line 2, column 4: byte 0xe9 is not UTF-8 text"):
        read_yaml(tmp_path / "schema.yaml")
    (tmp_path / "schema.yaml").write_bytes("\ufeffa: é".encode())
    assert read_yaml(tmp_path / "schema.yaml") == {"a": "é"}


def test_aliases_are_counted_before_they_are_expanded(tmp_path):
    """Nested tenfold aliases: 10^8 words in four hundred bytes."""
    lines = ["a0: &a0 [" + ", ".join("x" * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 8)]
    assert "line 6, column " in refused(tmp_path, "\n".join(lines))
    assert "1,000,000 values once its aliases are expanded" in refused(tmp_path, "\n".join(lines))
    few = read(tmp_path, "\n".join(lines[:3]))
    assert sum(len(inner) for outer in few["a2"] for inner in outer) == 1000
    merged = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(10)) + "}"]
    merged += [f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}, <<: *a{n - 1}}}" for n in range(1, 30)]
    assert "values once its aliases are expanded" in refused(tmp_path, "\n".join(merged))


def test_a_long_text_that_aliases_repeat_counts_by_its_length(tmp_path):
    text = f"a: &a {'x' * 200_000}\nb: [{', '.join(['*a'] * 600)}]"
    assert "1,000,000 values once its aliases are expanded" in refused(tmp_path, text)
    assert len(read(tmp_path, text.replace("x" * 200_000, "x" * 20_000))["b"]) == 600


def test_files_that_are_too_large_are_not_parsed(tmp_path):
    (tmp_path / "schema.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(SchemaError, match="larger than 4 MiB"):
        read_yaml(tmp_path / "schema.yaml")
    (tmp_path / "schema.yaml").write_bytes(b"#" * (MAX_BYTES - 4) + b"\na: 1"[:5])
    with pytest.raises(SchemaError, match="larger than 4 MiB"):
        read_yaml(tmp_path / "schema.yaml")


def test_own_keys_override_merged_ones(tmp_path):
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\na: {y: 9, <<: *b}\nb: {<<: [*b, *m], w: 0}"
    found = read(tmp_path, text)
    assert found["a"] == {"x": 1, "y": 9} and found["b"] == {"x": 1, "y": 2, "z": 4, "w": 0}
    assert found == yaml.safe_load(text)


def test_core_tags_and_blocks(tmp_path):
    text = "a: !!str 010\nb: !!int 010\nc: !!float 3\nd: ! 1\ne: !!map {f: !!seq [!!null ~, !!bool true]}\ng: |\n  two\n  lines\n"
    assert read(tmp_path, text) == {
        "a": "010", "b": 10, "c": 3.0, "d": "1", "e": {"f": [None, "true"]}, "g": "two\nlines\n",
    }  # fmt: skip
