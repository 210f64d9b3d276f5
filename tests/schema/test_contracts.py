"""The three contract schemas, and the settings parsed from them."""

from pathlib import Path

import pytest
import yaml

from metavoxel.parts.backbones.transformer import TransformerSpec
from metavoxel.parts.backbones.unet import UNetSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.kernels.schedules import CosineSchedule, ScaledLinearSchedule
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.schema import load_schema, parse_schema

CONTRACTS = Path(__file__).parent / "contracts"
NAMES = ("ds000228", "ds000228_paper", "ixi_tabular")


@pytest.mark.parametrize("name", NAMES)
def test_copies_equal_the_contracts(name):
    original = Path(__file__).parents[3] / "shared" / "contracts" / f"{name}.yaml"
    if not original.exists():
        pytest.skip("the contracts are not on this machine")
    text = original.read_text(encoding="utf-8").replace("../data/", "data/")
    assert yaml.safe_load(text) == yaml.safe_load((CONTRACTS / f"{name}.yaml").read_text(encoding="utf-8"))
    load_schema(original)


def test_the_main_schema():
    schema = load_schema(CONTRACTS / "ds000228.yaml")
    assert schema.folder == CONTRACTS
    assert schema.cohort.table == Path("data/ds000228/participants.tsv")
    assert schema.cohort.split.stratify == ["sex"] and schema.cohort.split.test == 0.15
    assert list(schema.variables) == ["T1w", "age", "sex"]
    image, age, sex = (schema.variables[name] for name in ("T1w", "age", "sex"))
    assert image.spec.spacing == 4.0 and image.spec.spatial
    assert (image.parts.codec.type, image.parts.codec.downsampling) == ("kl_vae", 4)
    assert image.parts.adapter.type == "grid_summary"
    assert age.spec == ContinuousSpec(column="Age", range=(3, 40), transform="log", unit="years")
    assert (age.parts.codec.type, age.parts.codec.scale, age.parts.codec.transform) == ("linear", "standard", "log")
    assert age.parts.kernel == GaussianKernel(schedule=CosineSchedule(power=2), prediction="v")
    assert sex.spec.labels == ("F", "M")
    assert (sex.parts.codec.type, sex.parts.kernel.type) == ("onehot", "d3pm_uniform")
    assert sex.parts.kernel.reverse == "mixture"
    assert age.parts.adapter.type == sex.parts.adapter.type == "token"
    assert isinstance(schema.backbone, UNetSpec)
    assert schema.diffusion.times == "evidence"
    assert schema.multiples() == {"T1w": 4 * schema.backbone.grid_multiple(), "age": 2, "sex": 2}


def test_the_schema_of_the_paper():
    schema = load_schema(CONTRACTS / "ds000228_paper.yaml")
    assert schema.diffusion.times == "shared"
    as_published = GaussianKernel(
        schedule=ScaledLinearSchedule(beta_start=0.0015, beta_end=0.0195, steps=1000), prediction="epsilon"
    )
    assert schema.variables["T1w"].parts.kernel == schema.variables["age"].parts.kernel == as_published
    age, sex = schema.variables["age"].parts, schema.variables["sex"].parts
    # The variable's range is kept when the codec is overridden.
    assert (age.codec.scale, age.codec.range, age.codec.transform) == ("range", (3.0, 40.0), None)
    assert sex.kernel.reverse == "printed" and sex.kernel.schedule == CosineSchedule(power=1)
    assert age.adapter.type == sex.adapter.type == "painted"


def test_a_table_without_images():
    schema = load_schema(CONTRACTS / "ixi_tabular.yaml")
    assert isinstance(schema.backbone, TransformerSpec)
    assert len(schema.variables) == 9
    sex = schema.variables["sex"].spec
    assert isinstance(sex, CategoricalSpec) and sex.categories == {"male": "1", "female": "2"}
    assert schema.variables["ethnicity"].parts.codec.categories == 6
    assert schema.variables["height"].spec.bounds() == (120, 220)
    assert schema.variables["age"].spec.bounds() == (18 - 36, 90 + 36)
    assert schema.variables["thalamus"].spec.column == "Left-Thalamus-Proper"


EXTRA = {
    "open-ended": {"type": "continuous", "valid": [0, float("inf")]},
    "labels-of-all-kinds": {"type": "categorical", "categories": ["yes", "no", "on", 3, "n/a", "é", "1e3"]},
    "codes": {"type": "categorical", "categories": {"yes": 1, "no": 0}, "weight": 2.5, "valid": [0, 1]},
    "own-kernel": {"type": "continuous", "kernel": {"type": "gaussian", "schedule": {"type": "linear"}}},
    "weights": {"type": "image", "codec": {"type": "kl_vae", "weights": "fitted/T1w.safetensors"}},
    "entities": {"type": "image", "entities": {"run": 1, "suffix": "T2w"}, "codec": "identity", "shape": [8, 8]},
}


@pytest.mark.parametrize("name", [*NAMES, *EXTRA])
def test_schemas_round_trip_through_yaml(tmp_path, name):
    """Written with all defaults, to the same folder or another."""
    if name in EXTRA:
        raw = {"cohort": {"table": "cohort.csv", "missing": [-999, "NA"]}, "variables": {"a": EXTRA[name]}}
        schema = parse_schema(raw, folder=tmp_path)
    else:
        schema = load_schema(CONTRACTS / f"{name}.yaml")
    written = tmp_path / "schema.yaml"
    written.write_text(schema.to_yaml(schema.folder), encoding="utf-8")
    assert parse_schema(yaml.safe_load(written.read_text(encoding="utf-8")), folder=schema.folder) == schema
    elsewhere = tmp_path / "runs" / "first"
    elsewhere.mkdir(parents=True)
    (elsewhere / "schema.yaml").write_text(schema.to_yaml(elsewhere), encoding="utf-8")
    again = load_schema(elsewhere / "schema.yaml")
    assert (again.variables, again.backbone, again.training) == (schema.variables, schema.backbone, schema.training)
    assert (elsewhere / again.cohort.table).resolve() == (schema.folder / schema.cohort.table).resolve()
    assert again.to_yaml(elsewhere) == schema.to_yaml(elsewhere)


def test_paths_of_weights_are_relative_to_the_schema(tmp_path):
    raw = {"cohort": {"table": "cohort.csv"}, "variables": {"a": EXTRA["weights"]}}
    codec = parse_schema(raw, folder=tmp_path / "study").variables["a"].parts.codec
    assert codec.weights == tmp_path / "study" / "fitted" / "T1w.safetensors"
