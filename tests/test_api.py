"""The Python interface: schemas as data, cohorts as data frames, progress, plugins given as objects, lazy names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from tiny_cohorts import BACKBONE, TABLE, write_schema, write_table

import metavoxel as mv
from metavoxel.api import schema
from metavoxel.errors import CohortError, RunError, SchemaError
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.continuous import ContinuousSpec
from metavoxel.plugins.hookspecs import API_VERSION

SETTINGS = {"precision": "32-true", "accelerator": "cpu"}
SHORT = {"variables": TABLE["variables"], "backbone": BACKBONE, "training": TABLE["training"]}


@pytest.fixture
def frame(tmp_path):
    return pandas.read_csv(write_table(tmp_path, missing=False)).rename(columns={"Sex": "Sex"})


def test_every_public_name_is_there():
    assert sorted(mv.__all__) == mv.__all__ and not [name for name in mv.__all__ if name not in dir(mv)]
    for name in mv.__all__:
        getattr(mv, name)
    with pytest.raises(AttributeError, match="no attribute 'trian'. It has: .*train"):
        mv.trian  # noqa: B018


def imported_by(code):
    """Top-level packages that a new process has imported after some code."""
    environment = {"PYTHONPATH": str(Path(mv.__file__).parents[1]), "PATH": ""}
    listing = f"{code}; import sys; print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, env=environment, check=True)
    return set(json.loads(done.stdout.replace("'", '"')))


def test_importing_is_quick_and_a_help_page_needs_no_torch():
    """Libraries that take seconds are imported on first use."""
    heavy = {"torch", "monai", "pandas", "numpy", "nilearn", "lightning_fabric", "matplotlib", "sklearn", "scipy"}
    assert not heavy & imported_by("import metavoxel, metavoxel.cli.main")


def test_loading_a_model_imports_nothing_of_its_training():
    assert not {"lightning_fabric", "sklearn", "matplotlib"} & imported_by("import metavoxel; metavoxel.load")


def test_a_model_of_a_data_frame(frame, tmp_path):
    model = mv.train(SHORT, tmp_path / "run", table=frame, **SETTINGS)
    assert (tmp_path / "run" / "cohort.csv").exists() and model.names == ["age", "sex", "score"]
    again = mv.load(str(tmp_path / "run"))
    rows = frame.head(3).set_index(pandas.Index(["x", "y", "z"]))
    found = again.predict(rows, "age", ["sex", "score"])
    assert list(found.index) == ["x", "y", "z"] and found["age"].notna().all()
    assert repr(model).startswith("Model of p(age, sex, score) and all its conditionals: backbone 'transformer'")
    assert "<td>categorical</td>" in model._repr_html_()
    answer = model.answer(rows, ["age", "sex"], ["score"], draws=3)
    assert repr(answer) == "Answer(age, sex given score: 3 joint draws of 3 rows)" and "<table" in answer._repr_html_()


def test_a_run_of_a_data_frame_resumes_with_the_same_rows_alone(frame, tmp_path):
    unfinished = mv.training(SHORT, str(tmp_path / "run"), table=frame, **SETTINGS)
    next(event for event in unfinished if event.stage == "joint" and event.done == 12)
    unfinished.close()
    with pytest.raises(RunError, match="differs from the table; resume with the table"):
        mv.train(SHORT, tmp_path / "run", table=frame.head(30), resume=True, **SETTINGS)
    assert mv.train(SHORT, tmp_path / "run", table=frame, resume=True, **SETTINGS).names == ["age", "sex", "score"]


def test_rows_are_not_written_over_another_run(frame, tmp_path):
    mv.train(SHORT, tmp_path / "run", table=frame, **SETTINGS)
    kept = (tmp_path / "run" / "cohort.csv").read_bytes()
    with pytest.raises(RunError, match="holds a run already. Continue it with `resume=True`"):
        mv.train(SHORT, tmp_path / "run", table=frame.head(20), **SETTINGS)
    assert (tmp_path / "run" / "cohort.csv").read_bytes() == kept


def test_a_path_as_text_and_progress(tmp_path, capsys):
    write_table(tmp_path)
    path = write_schema(tmp_path, TABLE)
    model = mv.train(str(path), str(tmp_path / "run"), progress=True, **SETTINGS)
    assert model.names == ["age", "sex", "score"] and "joint 30/30" in capsys.readouterr().err


def test_settings_objects_in_a_mapping(tmp_path):

    write_table(tmp_path)
    age = ContinuousSpec(column="Age", range=(10, 90), unit="years")
    raw = {"cohort": {"table": "people.csv"}, "variables": {"age": age, "score": {"type": "continuous"}}}
    found = schema(raw, folder=tmp_path)
    assert found.variables["age"].spec == age
    assert repr(found) == "Schema(age: continuous, score: continuous; cohort people.csv; backbone transformer)"
    assert "range:" in found._repr_html_()
    with pytest.raises(SchemaError, match="schema: must be a path, a mapping or a Schema, not int"):
        schema(3)


def test_a_plugin_given_as_an_object(tmp_path):
    """Its run needs it again when it is loaded, and names it where it is not given."""

    class OwnKernel(GaussianKernel):
        type: str = "own"

    class Plugin:
        metavoxel_api = API_VERSION

        @mv.hookimpl
        def metavoxel_kernels(self):
            return [OwnKernel]

    registry = mv.load_registry([Plugin()])
    write_table(tmp_path)
    raw = {**TABLE, "variables": {**TABLE["variables"], "score": {"type": "continuous", "kernel": "own"}}}
    path = write_schema(tmp_path, raw)
    model = mv.train(path, tmp_path / "run", registry=registry, **SETTINGS)
    assert model.schema.variables["score"].parts.kernel.type == "own"
    with pytest.raises(RunError, match="needs the plugin Plugin"):
        mv.load(tmp_path / "run")


def test_a_run_of_another_plugin_api_is_refused(tmp_path):
    write_table(tmp_path)
    mv.train(write_schema(tmp_path, TABLE), tmp_path / "run", **SETTINGS)
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    assert record["plugin_api"] == API_VERSION
    del record["plugin_api"]  # as the first versions wrote it
    file.write_text(json.dumps(record))
    with pytest.raises(RunError, match=f"trained with plugin API 1 .* API {API_VERSION}. Load it with the version"):
        mv.load(tmp_path / "run")
    with pytest.raises(RunError, match="trained with plugin API 1"):
        mv.train(tmp_path / "schema.yaml", tmp_path / "run", resume=True, **SETTINGS)


def test_phantoms_and_their_errors(tmp_path):
    with pytest.raises(CohortError, match="spacing: Input should be less than or equal to 10"):
        mv.phantom(tmp_path / "phantoms", subjects=2, spacing=12)
    with pytest.raises(CohortError, match="sizes: Extra inputs are not permitted"):
        mv.phantom(tmp_path / "phantoms", sizes=2)
    assert mv.load_schema(mv.phantom(tmp_path / "phantoms", subjects=2, spacing=10)).variables.keys() == {
        "T1w",
        "age",
        "sex",
    }


WRONG = """
import sys, warnings, pandas
warnings.simplefilter("ignore")
import metavoxel as mv

frame, schema = pandas.read_csv("people.csv"), {SCHEMA}
short = dict(table=frame, precision="32-true", accelerator="cpu")
model = mv.train(schema, "run", **short)
rows = frame.head(2)
calls = {
    "table": lambda: mv.train(schema, "other", table="people.csv"),
    "registry": lambda: mv.train(schema, "other", registry={"a": 1}, **short),
    "output": lambda: mv.train(schema, None, **short),
    "devices": lambda: mv.train(schema, "other", devices="two", **short),
    "run": lambda: mv.load(None),
    "device": lambda: mv.load("run", device="gpu"),
    "path": lambda: mv.load_schema(schema),
    "n": lambda: model.sample({"age": 70}),
    "given": lambda: model.sample(2, given="age=70"),
    "masks": lambda: model.sample(2, masks=[1]),
    "draws": lambda: model.predict(rows, "age", draws="10"),
    "steps": lambda: model.predict(rows, "age", draws=2, steps=2.5),
    "eta": lambda: model.predict(rows, "age", draws=2, eta="1"),
    "target": lambda: model.predict(rows, 5),
    "given ": lambda: model.predict(rows, "sex", {"age": 20}),
    "prior": lambda: model.predict(rows, "sex", prior={"sex": [0.5, 0.5]}),
}
for name, call in calls.items():
    try:
        call()
    except mv.MetavoxelError as error:
        print(name.strip(), "|", error)
"""


def test_arguments_of_wrong_types_are_named(tmp_path):
    """In a process of its own, where nothing checks annotations, as in a notebook."""
    write_table(tmp_path, missing=False)
    code = WRONG.replace("{SCHEMA}", repr(SHORT))
    environment = {**os.environ, "PYTHONPATH": str(Path(mv.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    lines = [line.split(" | ", 1) for line in done.stdout.splitlines()]
    assert len(lines) == 16
    assert not [line for line in lines if not line[1].startswith(line[0])]


def test_a_refused_data_frame_leaves_the_folder_free(frame, tmp_path):
    with pytest.raises(CohortError, match="Age"):
        mv.train(SHORT, tmp_path / "run", table=frame.rename(columns={"Age": "age"}), **SETTINGS)
    assert not (tmp_path / "run" / "cohort.csv").exists()
    assert mv.train(SHORT, tmp_path / "run", table=frame, **SETTINGS).names == ["age", "sex", "score"]
