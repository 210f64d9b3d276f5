"""Invalid schemas, and the exact messages of their problems."""

from copy import deepcopy
from pathlib import Path

import pytest
from torch.torch_version import TorchVersion

from metavoxel.errors import SchemaError
from metavoxel.schema import load_schema, parse_schema

GOOD = {
    "cohort": {"table": "cohort.csv"},
    "variables": {
        "T1w": {"type": "image", "codec": "identity"},
        "age": {"type": "continuous", "range": [3, 40]},
        "sex": {"type": "categorical", "categories": ["F", "M"]},
    },
}
TABLE = {"cohort": {"table": "cohort.csv"}, "variables": {"age": {"type": "continuous"}}}
DELETE = object()
SECTIONS = "cohort, diffusion, training, variables, backbone"
NAME = "a variable's name is made of letters, digits and _ (give the table's name as 'column')"
INF, NAN = float("inf"), float("nan")

WRONG = [
    # Misspelt
    ("variables.sex.wieght", 2, "variables.sex.wieght: not a setting of type 'categorical'. Did you mean 'weight'? "
     "Settings: column, weight, categories, valid"),
    ("variables.age.type", "continous", "variables.age.type: unknown type 'continous'. Did you mean 'continuous'? "
     "Installed: categorical, continuous, image, labelmap"),
    ("variables.age.type", "ordinal", "variables.age.type: type 'ordinal' comes with a plugin that is not installed: "
     "pip install metavoxel-ordinal"),
    ("variables.age.type", ["continuous"], "variables.age.type: must be the name of a type, not ['continuous']"),
    ("variables.T1w.codec", "kl-vae", "variables.T1w.codec.type: unknown type 'kl-vae'. Did you mean 'kl_vae'? "
     "Installed: identity, kl_vae, linear, local_pca, onehot, quantile, wavelet"),
    ("variables.T1w.codec", {"type": "kl_vae", "step": 4}, "variables.T1w.codec.step: not a setting of type 'kl_vae'. "
     "Did you mean 'steps'? Settings: downsampling, "),
    ("varables", {}, f"varables: not a section of a schema. Did you mean 'variables'? Sections: {SECTIONS}"),
    ("training.batchsize", 4, "training.batchsize: not a setting of this section. Did you mean 'batch_size'? Settings: "),
    ("cohort.split", {"stratify": ["sexx"]}, "cohort.split.stratify: no variable 'sexx'. Did you mean 'sex'? "
     "Variables: T1w, age, sex"),
    ("training.questions", [["T1w", "agee"]], "training.questions: no variable 'agee'. Did you mean 'age'? "
     "Variables: T1w, age, sex"),
    ("training.questions", [["sex", "T1w", "age"]], "training.questions: [sex, T1w, age] leaves no variable to predict"),
    ("training", {"questions": [["T1w"]], "missing_weights": ["age"]}, "training.questions: 'missing_weights' assume the default "),
    ("diffusion.factors", [["age", "sex", "T1w"]], "diffusion.factors: backbone 'unet' connects all variables. "
     "Backbones that respect factors: transformer"),
    ("training", {"question_share": 0.9}, "training.question_share: only used with 'questions'"),
    ("training", {"draw_share": 0.5, "missing_weights": ["age"]}, "training.draw_share: 'missing_weights' assume the default "),
    ("backbone", {"type": "unett"}, "backbone.type: unknown type 'unett'. Did you mean 'unet'? "
     "Installed: mlp, transformer, unet"),
    # Missing
    ("cohort", DELETE, "cohort: this section is missing"),
    ("variables", DELETE, "variables: this section is missing"),
    ("variables", {}, "variables: name at least one variable"),
    ("variables", None, "variables: name at least one variable"),
    ("variables.age.type", DELETE, "variables.age.type: is missing. Installed: categorical, continuous, image, labelmap"),
    ("variables.sex.categories", DELETE, "variables.sex.categories: is missing"),
    ("cohort.table", DELETE, "cohort: give exactly one of 'table' (a CSV or TSV file) and 'bids' (a folder)"),
    ("cohort.bids", "folder", "cohort: give exactly one of 'table' (a CSV or TSV file) and 'bids' (a folder)"),
    # Of another type
    ("variables.age", "continuous", "variables.age: must be a mapping of names to settings, not 'continuous'"),
    ("variables.age", None, "variables.age: must be a mapping of names to settings, not None"),
    ("variables", ["age"], "variables: must be a mapping of names to settings, not ['age']"),
    ("variables", {1: {}}, "variables: must be a mapping of names to settings, not {1: {}}"),
    ("variables.age.codec", 3, "variables.age.codec: must be a mapping of names to settings, not 3"),
    ("training", "fast", "training: must be a mapping of names to settings, not 'fast'"),
    ("backbone", [1], "backbone: must be a mapping of names to settings, not [1]"),
    ("cohort.table", 5, "cohort.table: Input is not a valid path"),
    ("training.steps", 0, "training.steps: Input should be greater than 0 (given: 0)"),
    ("training.steps", 2.5, "training.steps: Input should be a valid integer"),
    ("training.seed", 10**30, "training.seed: Input should be less than 9223372036854775808"),
    ("training.clip", INF, "training.clip: Input should be a finite number (given: inf)"),
    ("variables.age.weight", INF, "variables.age.weight: Input should be a finite number (given: inf)"),
    ("variables.age.weight", -1, "variables.age.weight: Input should be greater than 0 (given: -1)"),
    ("diffusion.times", "own", "diffusion.times: Input should be 'evidence' or 'shared' (given: 'own')"),
    ("cohort.missing", "n/a", "cohort.missing: Input should be a valid list (given: 'n/a')"),
    ("cohort.split", {"train": 0.5}, "cohort.split: train + validation + test must be 1, not 0.7"),
    # Names and labels
    ("variables.age at scan", {"type": "continuous"}, f"variables.age at scan: {NAME}"),
    ("variables.a/b", {"type": "continuous"}, f"variables.a/b: {NAME}"),
    ("variables.", {"type": "continuous"}, f"variables.: {NAME}"),
    ("variables.sex.categories", ["F"], "variables.sex.categories: Dictionary should have at least 2 items"),
    ("variables.sex.categories", ["F", "F"], "variables.sex.categories: labels must differ, got ['F', 'F']"),
    ("variables.sex.categories", {"F": 1, "M": "1.0"}, "variables.sex.categories: two labels have the code 1.0"),
    ("variables.sex.categories", [True, False], "variables.sex.categories: True is no text or number; "
     "write it in quotation marks, as the table has it"),
    ("variables.sex.categories", {"F": [1, 2], "M": 3}, "variables.sex.categories: [1, 2] is no text or number"),
    ("variables.sample", {"type": "continuous"}, "variables.sample: is the name of a column written by "
     "'metavoxel sample'; choose another, and set 'column'"),
    ("variables.participant_id", {"type": "continuous"}, "variables.participant_id: is the name of the subject column"),
    ("variables.age_sd", {"type": "continuous"}, "variables.age_sd: is the name of a column of the predictions of 'age'"),
    # Ranges and shapes
    ("variables.age.range", [40, 3], "variables.age: range must rise: [low, high], not [40.0, 3.0]"),
    ("variables.age.range", [NAN, 3], "variables.age: range must rise: [low, high], not [nan, 3.0]"),
    ("variables.age.range", [0, INF], "variables.age: range must be finite, not [0.0, inf]"),
    ("variables.age.range", [3], "variables.age.range.1: is missing"),
    ("variables.age.range", "3-40", "variables.age.range: Input should be a valid tuple"),
    ("variables.age", {"type": "continuous", "range": [0, 9], "transform": "log"},
     "variables.age: 'transform: log' needs a range above 0, not [0.0, 9.0]"),
    ("variables.age.codec", {"range": [4, 1]}, "variables.age.codec: range must be finite and rise: [low, high], "
     "not [4.0, 1.0]"),
    ("variables.T1w.percentiles", [99, 1], "variables.T1w: percentiles must rise within [0, 100], not [99.0, 1.0]"),
    ("variables.T1w.shape", [8], "variables.T1w: shape has 2 or 3 axes, not 1"),
    ("variables.T1w.affine", [[1, 0], [0, 1]], "variables.T1w: affine has 4 rows of 4 numbers"),
    ("variables.T1w", {"type": "image", "path": "x", "column": "y"},
     "variables.T1w: path and column each specify the file: give one of them"),
    ("variables.T1w.codec", {"type": "kl_vae", "channels": [8, 8, 8, 8]},
     "variables.T1w.codec: downsampling 4 has 1 to 3 levels of channels, not 4"),
    # Incompatible parts
    ("variables.age.kernel", "d3pm_uniform", "variables.age.kernel: kernel 'd3pm_uniform' needs one_hot code, "
     "but codec 'linear' of variable 'age' gives real code"),
    ("variables.sex.codec", {"categories": 3}, "variables.sex: codec 'onehot' has 3 categories, and the variable 2"),
    ("variables.age", {"type": "continuous", "codec": {"scale": "range"}},
     "variables.age.codec: scale 'range' needs the variable's range: [low, high]"),
    ("variables.age.kernel", {"prediction": "epsilon"}, "variables.age.kernel: prediction 'epsilon' cannot recover "
     "the data where schedule 'cosine' leaves no signal (t = 1). Use prediction 'v' or 'x0', or schedule "
     "'scaled_linear' or 'linear'"),
    ("variables.age.kernel", {"schedule": {"type": "cosin"}}, "variables.age.kernel.schedule: Input tag 'cosin' found "),
    ("variables.age.kernel", {"schedule": {"type": "cosine", "pwer": 1}}, "variables.age.kernel.schedule.cosine.pwer: "),
    ("variables.age.adapter", "grid", "variables.age.adapter: adapter 'grid' carries images, and this variable is a "
     "scalar. Use adapter 'token' or 'painted'"),
    ("variables.T1w.adapter", "painted", "variables.T1w.adapter: adapter 'painted' carries scalars, and this variable "
     "is an image. Use adapter 'grid'"),
    ("backbone", "transformer", "backbone: backbone 'transformer' has no port for images. Use backbone 'unet'"),
    ("backbone", "mlp", "backbone: backbone 'mlp' has no port for images. Use backbone 'unet'"),
    ("backbone", {"attention_levels": [2]}, "backbone: attention_levels must be below 2, the number of levels"),
]  # fmt: skip

WRONG_WITHOUT_IMAGES = [
    ("backbone", "unet", "backbone: backbone 'unet' needs an image in the schema. Use backbone 'transformer'"),
    ("backbone", {"width": 10, "heads": 3}, "backbone: width 10 must be a multiple of heads 3"),
    ("variables.age.adapter", "painted", "variables.age.adapter: adapter 'painted' needs an image in the schema to "
     "paint on. Use adapter 'token'"),
    ("diffusion", {"factors": [["age", "agee"]]}, "diffusion.factors: no variable 'agee'. Did you mean 'age'? Variables: "),
    ("diffusion", {"factors": [[]]}, "diffusion.factors: age: in no group. List every variable; an independent one forms "),
]  # fmt: skip

RIGHT = [
    ("training", {}), ("training", None), ("diffusion", None), ("backbone", None), ("backbone", "unet"),
    ("backbone", {"dropout": 0}), ("variables.âge_2", {"type": "continuous"}), ("variables.T1w.path", "{id}.nii"),
    ("cohort.missing", [-999, "NA"]), ("variables.sex.categories", {"yes": 1, "no": 0}),
    ("variables.T1w.entities", {"run": 1}), ("variables.age.valid", [0, INF]),
]  # fmt: skip


def changed(raw, path, value):
    raw = deepcopy(raw)
    *sections, last = path.split(".")
    section = raw
    for step in sections:
        section = section.setdefault(step, {})
    if value is DELETE:
        del section[last]
    else:
        section[last] = value
    return raw


def messages_of(raw):
    with pytest.raises(SchemaError) as caught:
        parse_schema(raw, folder=Path())
    return [str(problem) for problem in caught.value.problems]


def test_the_unchanged_schemas_are_valid():
    parse_schema(GOOD, folder=Path())
    parse_schema(TABLE, folder=Path())


@pytest.mark.parametrize(
    ("raw", "path", "value", "expected"),
    [*((GOOD, *case) for case in WRONG), *((TABLE, *case) for case in WRONG_WITHOUT_IMAGES)],
    ids=[f"{path}-{expected[:40]}" for path, _, expected in WRONG + WRONG_WITHOUT_IMAGES],
)
def test_problems_are_located_and_explained(raw, path, value, expected):
    (message,) = messages_of(changed(raw, path, value))
    assert message.startswith(expected)


@pytest.mark.parametrize(("path", "value"), RIGHT, ids=[path for path, _ in RIGHT])
def test_valid_schemas_are_read(path, value):
    parse_schema(changed(GOOD, path, value), folder=Path())


def test_all_problems_are_reported_together():
    raw = {
        "cohort": {"table": "a", "bids": "b", "subjct": "id"},
        "variables": {
            "age": {"type": "continuous", "range": [3, 1]},
            "sex": {"type": "categorical", "categories": ["F"], "wieght": 1},
            "site": {"type": "catgorical"},
            "T1w": {"type": "image", "codec": {"type": "kl_vae", "downsampling": 3}},
            "score": {"type": "continuous", "kernel": "d3pm_uniform"},
        },
        "backbone": {"width": 0},
        "trainin": {},
        "diffusion": {"times": "own"},
    }
    places = [line.split(": ")[0] for line in messages_of(raw)]
    assert places == [
        "trainin", "cohort.subjct", "diffusion.times", "variables.age", "variables.sex.categories",
        "variables.sex.wieght", "variables.site.type", "variables.T1w.codec.downsampling", "variables.score.kernel",
        "backbone.width",
    ]  # fmt: skip


@pytest.mark.parametrize("raw", [None, [], "text", 3, {1: 2}])
def test_a_schema_is_a_mapping(raw):
    assert messages_of(raw) == [f"schema: must be a mapping of names to settings, not {raw!r}"]


YAML = {
    "tag": ("a: !!python/object/apply:os.mkdir [made]", "the tag '!!python/object/apply:os.mkdir' is not supported"),
    "own-tag": ("a: !environment HOME", "line 1, column 4: the tag '!environment' is not supported"),
    "twice": ("cohort: {table: a}\ncohort: {table: b}", "key 'cohort' is given twice"),
    "twice-inside": ("variables: {age: {type: continuous, type: image}}", "key 'type' is given twice"),
    "list-as-key": ("? [a, b]\n: c", "a key must be text"),
    "broken": ("a: [", "not valid YAML"),
    "control": ("a: \x01", "not valid YAML"),
    "deep": ("[" * 5000, "nested too deeply"),
    "two": ("a: b\n---\nc: d", "expected a single document"),
}


@pytest.mark.parametrize("name", YAML)
def test_invalid_yaml_is_refused(tmp_path, monkeypatch, name):
    text, expected = YAML[name]
    monkeypatch.chdir(tmp_path)
    Path("schema.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SchemaError, match="schema.yaml: not valid YAML") as caught:
        load_schema("schema.yaml")
    assert expected in str(caught.value)
    assert not Path("made").exists(), "a tag was executed"


def test_unreadable_files(tmp_path):
    with pytest.raises(SchemaError, match="no such file"):
        load_schema(tmp_path / "none.yaml")
    with pytest.raises(SchemaError, match="is a folder"):
        load_schema(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("cohort: {table: Göttingen.csv}".encode("latin-1"))
    with pytest.raises(SchemaError, match="not valid YAML"):
        load_schema(tmp_path / "latin.yaml")
    with pytest.raises(SchemaError, match="cannot be read"):
        load_schema(tmp_path / "latin.yaml" / "schema.yaml")


def test_yaml_1_1_booleans_are_labels(tmp_path):
    """The words yes, no, on and off are common labels."""
    text = """
        cohort: {table: cohort.csv}
        variables:
          smoker: &answer {type: categorical, categories: [no, yes, "true"]}
          drinker: {<<: *answer, column: alcohol}
          scan: {type: image, codec: identity, flip: true}
    """
    (tmp_path / "schema.yaml").write_text(text, encoding="utf-8")
    schema = load_schema(tmp_path / "schema.yaml")
    assert schema.variables["smoker"].spec.labels == ("no", "yes", "true")
    assert schema.variables["drinker"].spec.column == "alcohol"
    assert schema.variables["scan"].spec.flip is True


def test_names_of_module_attributes():
    """A variable may have the name of an attribute of torch modules."""
    from metavoxel.runs.run import build_codecs, build_joint

    names = ["type", "values", "training", "forward", "half"]
    raw = {"cohort": {"table": "a"}, "variables": {name: {"type": "continuous"} for name in names}}
    schema = parse_schema({**raw, "backbone": {"width": 8, "depth": 1, "heads": 1}}, folder=Path())
    joint = build_joint(schema, build_codecs(schema))
    assert [joint.adapter(name) for name in names] == list(joint.adapters.children())


def test_a_long_value_is_not_repeated_in_the_message():
    (message,) = messages_of(["a"] * 1000)
    assert len(message) < 120


def test_an_optimiser_that_needs_a_newer_pytorch(monkeypatch):
    monkeypatch.setattr("metavoxel.schema.between.torch.__version__", TorchVersion("2.8.1"))
    assert messages_of({**TABLE, "training": {"optimiser": "muon"}}) == [
        "training.optimiser: 'muon' needs PyTorch 2.9 or later, and 2.8.1 is installed; use 'adamw'"
    ]
    monkeypatch.setattr("metavoxel.schema.between.torch.__version__", TorchVersion("2.13.0"))
    parse_schema({**TABLE, "training": {"optimiser": "muon"}}, folder=Path())
