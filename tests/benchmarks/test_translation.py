"""The benchmark of translation: what a shorter run changes."""

from pathlib import Path

from benchmarks.translation import TARGET, with_steps
from metavoxel.schema import load_schema

SCHEMA = Path(__file__).resolve().parents[2] / "examples" / "lgg" / "schema.yaml"


def test_fewer_steps_leave_the_rest_alone():
    schema = load_schema(SCHEMA)
    short = with_steps(schema, 5, 20)
    codec = short.variables[TARGET].parts.codec
    assert (codec.steps, codec.downsampling, short.training.steps, short.training.warm_up) == (5, 2, 20, 2)
    assert short.training.questions == schema.training.questions
    assert with_steps(schema, None, None) == schema
