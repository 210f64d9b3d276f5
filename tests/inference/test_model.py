"""A trained model from Python: draws, predictions and invalid queries."""

import json

import pandas
import pytest
import torch
from tiny_cohorts import IMAGES, TABLE, write_images, write_schema, write_table

import metavoxel as mv
from metavoxel.errors import CohortError, EvidenceError, RunError
from metavoxel.schema import load_schema


def trained(folder, raw):
    run = folder / "run"
    for _ in mv.training(load_schema(write_schema(folder, raw)), run, precision="32-true", accelerator="cpu"):
        pass
    return run


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    write_table(folder)
    return trained(folder, TABLE)


@pytest.fixture(scope="module")
def scan_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write_images(folder)
    return trained(folder, IMAGES)


@pytest.fixture(scope="module")
def model(table_run):
    return mv.load(table_run)


@pytest.fixture(scope="module")
def scans(scan_run):
    return mv.load(scan_run)


FRAME = pandas.DataFrame(
    {"participant_id": ["a", "b", "c"], "Age": [30, 41.5, None], "Sex": [1, 2, 1], "score": [50.0, None, 80.0]}
)


def test_training_from_python(tmp_path):
    write_table(tmp_path)
    model = mv.train(mv.load_schema(write_schema(tmp_path, TABLE, training={"steps": 2})), tmp_path / "run")
    assert isinstance(model, mv.Model) and model.names == ["age", "sex", "score"]


def test_draws_are_values_of_every_variable(model):
    drawn = model.sample(5, steps=3)
    assert {name: (tuple(v.shape), v.dtype) for name, v in drawn.items()} == {
        "age": ((5,), torch.float64), "sex": ((5,), torch.int64), "score": ((5,), torch.float64),
    }  # fmt: skip
    assert all(torch.isfinite(value).all() for value in drawn.values()) and set(drawn["sex"].tolist()) <= {0, 1}


def test_a_given_value_is_returned_bitwise(model):
    drawn = model.sample(4, given={"age": 33.3, "sex": "male"}, steps=3)
    assert torch.equal(drawn["age"], torch.full((4,), 33.3, dtype=torch.float64)) and drawn["sex"].tolist() == [1] * 4
    exact = model.sample(2, given={"age": torch.tensor(27.0)}, steps=2)
    assert exact["age"].tolist() == [27.0, 27.0]


def test_draws_depend_on_the_seed_and_their_index_alone(model):
    whole = model.sample(6, given={"sex": "female"}, seed=3, steps=4)
    few, other = (model.sample(n, given={"sex": "female"}, seed=seed, steps=4) for n, seed in ((2, 3), (2, 4)))
    torch.testing.assert_close(few["age"], whole["age"][:2], rtol=1e-5, atol=1e-4)
    assert torch.equal(model.sample(6, given={"sex": "female"}, seed=3, steps=4)["age"], whole["age"])
    assert not torch.allclose(other["age"], whole["age"][:2])


@pytest.mark.parametrize(
    "settings", [{}, {"solver": "ddim", "eta": 1.0}, {"conditioning": "repaint", "resamplings": 2}], ids=str
)
def test_predictions_do_not_depend_on_other_rows_or_order(model, settings):
    """Up to rounding, for each row alone, among others, and in another order."""
    table = pandas.DataFrame(
        {"participant_id": list("abcdef"), "Sex": [1, 2, 1, 2, 1, 2], "score": [40, 55, 60, 75, 80, 95]}
    )
    query = {"target": "age", "draws": 2, "steps": 4, **settings}
    whole = model.predict(table, **query)["age"].to_numpy(float)
    for rows in ([3], [5, 1], [4, 3, 2, 1, 0, 5]):
        part = model.predict(table.iloc[rows], **query)["age"].to_numpy(float)
        assert part == pytest.approx(whole[rows], rel=1e-4)


def test_a_prediction_has_the_rows_of_the_table_in_order(model):
    found = model.predict(FRAME.iloc[[2, 0, 1]], target=["score", "age"], given=["sex"])
    assert list(found.columns) == [
        "participant_id", "score", "score_sd", "score_p05", "score_p95", "age", "age_sd", "age_p05", "age_p95",
    ]  # fmt: skip
    assert list(found["participant_id"]) == ["c", "a", "b"]
    assert found["age_sd"].isna().all()


def test_the_evidence_of_a_prediction(model):
    """By default all variables of the table; a missing cell is unknown, not zero."""
    default = model.predict(FRAME, target="sex")
    assert list(default.columns) == ["participant_id", "sex", "sex_p[female]", "sex_p[male]"]
    probability = default["sex_p[female]"].to_numpy(float)
    assert probability + default["sex_p[male]"].to_numpy(float) == pytest.approx(1, abs=1e-5)
    explicit = model.predict(FRAME, target="sex", given=["age", "score"])
    pandas.testing.assert_frame_equal(default, explicit)
    fewer = model.predict(FRAME.assign(score=None), target="sex", given=["age", "score"])
    without = model.predict(FRAME.drop(columns="score"), target="sex")
    pandas.testing.assert_frame_equal(fewer, without)
    assert abs(float(fewer["sex_p[female]"][0]) - probability[0]) > 1e-7


def test_draws_have_spread_and_quantiles(model):
    few = model.predict(FRAME, target="age", draws=3, steps=2)
    assert (few["age_sd"] > 0).all() and few["age_p05"].isna().all()
    many = model.predict(FRAME, target="age", draws=20, steps=2)
    low, middle, high = (many[name].astype(float) for name in ("age_p05", "age", "age_p95"))
    assert ((low < middle) & (middle < high)).all()
    median = model.predict(FRAME, target="age", draws=3, steps=2, point="median")
    assert not (median["age"] == few["age"]).all()
    labels = model.predict(FRAME, target="sex", draws=3, steps=2, vote=True)
    assert set(labels["sex"]) <= {"female", "male"}


def test_a_table_without_rows(model):
    assert len(model.predict(FRAME.iloc[:0], target="age", given=["sex"])) == 0


def problems_of(error, function, *arguments, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    return [str(problem) for problem in caught.value.problems]


def test_invalid_queries(model):
    names = "Variables: age, sex, score"
    assert problems_of(EvidenceError, model.sample, given={"agee": 1, "sx": 2}) == [
        f"given: no variable 'agee'. Did you mean 'age'? {names}", f"given: no variable 'sx'. Did you mean 'sex'? {names}",
    ]  # fmt: skip
    assert problems_of(EvidenceError, model.sample, given={"age": "abc", "sex": "x", "score": "nan"}) == [
        "given: every variable is given, so there is none to sample; omit one of age, sex, score"
    ]
    assert problems_of(EvidenceError, model.sample, given={"age": "abc", "sex": "x"}) == [
        "given age=abc: 'abc' is not a number",
        "given sex=x: unknown category (known: female (1), male (2))",
    ]
    assert problems_of(EvidenceError, model.sample, given={"age": 1000}) == ["given age=1000: outside valid [-30, 130]"]
    assert problems_of(EvidenceError, model.sample, given={"age": torch.zeros(2)}) == [
        "given age: must have shape (), not (2,)"
    ]
    assert problems_of(EvidenceError, model.sample, given={"age": torch.tensor(500.0)}) == [
        "given age=500.0: outside valid [-30, 130]"
    ]
    assert problems_of(EvidenceError, model.sample, masks={"age": torch.ones(())}) == [
        "mask: 'age' has a mask but no given value"
    ]
    assert problems_of(EvidenceError, model.sample, step=3)[0].startswith(
        "step: no setting of sampling. Did you mean 'steps'?"
    )
    assert problems_of(EvidenceError, model.predict, FRAME, []) == [
        "target: name a variable to predict: age, sex, score"
    ]
    assert problems_of(EvidenceError, model.predict, FRAME, ["age", "agee"], ["age", "sx"]) == [
        f"target: no variable 'agee'. Did you mean 'age'? {names}",
        f"given: no variable 'sx'. Did you mean 'sex'? {names}",
        "given: 'age' is also a target; a variable is either a target or given: use another target: sex, score",
    ]
    assert problems_of(EvidenceError, model.predict, FRAME, "age", draws=0, steps=5) == [
        "steps: only used when sampling; use `draws=1` or more, or omit"
    ]
    assert problems_of(EvidenceError, model.sample, particles=64) == [
        "particles: has no effect with conditioning 'clean': use 'smc', or omit it"
    ]
    assert problems_of(EvidenceError, model.predict, FRAME, "age", draws=-1, evaluations=0) == [
        "draws: must be at least 0, not -1", "evaluations: must be at least 1, not 0",
    ]  # fmt: skip
    assert problems_of(EvidenceError, model.predict, FRAME, "age", draws=2, evaluations=4) == [
        "evaluations: only used for a posterior mean (draws 0); a draw takes `steps` evaluations. Use those, or omit it"
    ]
    assert problems_of(EvidenceError, model.log_likelihood, FRAME, evaluations=-1) == [
        "evaluations: must be at least 1, not -1"
    ]
    assert problems_of(EvidenceError, model.sample, 0) == ["n: must be at least 1, not 0"]
    assert problems_of(EvidenceError, model.predict, FRAME[["participant_id"]], "age") == [
        "given: the table has no column to predict from; columns of other variables: Sex, score"
    ]


def test_tables_that_cannot_be_read(model):
    assert "no column 'Sex'" in problems_of(CohortError, model.predict, FRAME[["participant_id"]], "age", ["sex"])[0]
    assert (
        "no column 'participant_id' to name the subjects"
        in problems_of(CohortError, model.predict, FRAME[["Sex"]], "age")[0]
    )
    bad = FRAME.assign(Age=["thirty", "x", 5])
    assert problems_of(CohortError, model.predict, bad, "sex") == [
        f"table row {row} ({subject}), column Age: {cell!r} is not a number. Leave the cell empty, or add it to cohort.missing, if it means missing"
        for row, subject, cell in ((1, "a", "thirty"), (2, "b", "x"))
    ]


def test_known_voxels_are_returned_exactly(scans):
    """In data space, also if the codec is lossy; the others are drawn."""
    spec = scans.schema.variables["volume"].spec
    folder = scans.schema.folder / scans.schema.cohort.table.parent
    cell = str(folder / "scans" / "s01.nii.gz")
    image, mask = spec.parse(cell), torch.zeros(1, 12, 8, 8, dtype=torch.bool)
    mask[:, :5] = True
    drawn = scans.sample(3, given={"volume": cell, "age": 30.0}, masks={"volume": mask}, steps=2)["volume"]
    assert torch.equal(drawn[:, mask], image[mask].expand(3, -1))
    assert not torch.isclose(drawn[:, ~mask], image[~mask]).all()
    assert not torch.equal(drawn[0], drawn[1])
    whole = scans.sample(1, given={"volume": image}, steps=2)["volume"]
    assert torch.equal(whole[0], image)
    pixels = scans.schema.variables["picture"].spec.parse(str(folder / "scans" / "s02.png"))
    half = torch.zeros_like(pixels, dtype=torch.bool)
    half[:, ::2] = True
    drawn = scans.sample(2, given={"picture": pixels}, masks={"picture": half}, steps=2)["picture"]
    assert torch.equal(drawn[:, half], pixels[half].expand(2, -1))


def test_a_mask_of_another_shape(scans):
    image = torch.rand(1, 12, 8, 8)
    with pytest.raises(EvidenceError, match=r"mask volume: must have .* \(1, 12, 8, 8\) .* not \(1, 9, 8, 7\)"):
        scans.sample(1, given={"volume": image}, masks={"volume": torch.ones(1, 9, 8, 7)})
    with pytest.raises(EvidenceError, match=r"given volume: must have shape \(1, 12, 8, 8\), not \(9, 8, 7\)"):
        scans.sample(1, given={"volume": torch.rand(9, 8, 7)})


def test_numeric_masks_are_thresholded_as_in_files(scans):
    image, mask = torch.rand(1, 12, 8, 8), torch.full((1, 12, 8, 8), 0.5)
    mask[:, :6] = 0.6
    given = {"volume": image}
    assert torch.equal(
        scans.sample(1, given, {"volume": mask}, steps=1)["volume"],
        scans.sample(1, given, {"volume": mask > 0.5}, steps=1)["volume"],
    )
    assert problems_of(EvidenceError, scans.sample, 1, given, {"volume": mask * 0.5}) == [
        "mask volume: marks no voxel as known (1): omit 'volume' from given"
    ]
    mask[0, 0, 0, :2] = float("nan")
    assert problems_of(EvidenceError, scans.sample, 1, given, {"volume": mask}) == [
        "mask volume: 2 of 768 voxels are NaN or infinite"
    ]
    image[0, 0, 0, 0] = float("inf")
    assert problems_of(EvidenceError, scans.sample, 1, given) == ["given volume: 1 of 768 voxels are NaN or infinite"]


def test_masked_voxels_have_no_influence(scans):
    image, mask = torch.rand(1, 12, 8, 8), torch.zeros(1, 12, 8, 8, dtype=torch.bool)
    mask[:, :6] = True
    poisoned = torch.where(mask, image, float("nan"))
    first, second = (scans.sample(2, {"volume": x}, {"volume": mask}, steps=2) for x in (image, poisoned))
    for name in first:
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize(
    "settings", [{}, {"conditioning": "replace"}, {"solver": "ddim", "eta": 0.5, "grid": "uniform"}], ids=str
)
def test_images_are_sampled_with_all_methods(scans, settings):
    drawn = scans.sample(2, given={"sex": "F"}, steps=2, **settings)
    assert drawn["picture"].shape == (2, 1, 14, 10) and drawn["volume"].shape == (2, 1, 12, 8, 8)
    assert all(torch.isfinite(drawn[name]).all() for name in ("picture", "volume", "age"))


def test_predicting_from_images(scans):
    frame = pandas.read_csv(scans.schema.folder / scans.schema.cohort.table, dtype=str)
    folder = (scans.schema.folder / scans.schema.cohort.table).parent
    found = scans.predict(frame, "age", ["volume", "picture"], folder=folder)
    assert len(found) == 16 and found["age"].astype(float).between(0, 120).all()
    images = scans.predict(frame.head(2), ["volume", "sex"], ["age"], draws=1, steps=2, folder=folder)
    assert list(images["volume"]) == ["image of 12x8x8 voxels"] * 2
    with pytest.raises(CohortError) as caught:
        scans.predict(frame.assign(picture="scans/none.png"), "age", ["picture"], folder=folder)
    assert len(caught.value.problems) == 16
    assert str(caught.value.problems[0]).startswith("table row 1 (s00), column picture: ")


def test_a_shared_time_needs_the_papers_conditioning(tmp_path):
    write_table(tmp_path)
    run = trained(tmp_path, {**TABLE, "diffusion": {"times": "shared"}, "training": {"steps": 2, "batch_size": 4}})
    shared = mv.load(run)
    with pytest.raises(
        EvidenceError, match="conditioning: 'clean' needs a model trained with diffusion.times 'evidence'"
    ):
        shared.sample(1, {"age": 30}, conditioning="clean")
    with pytest.raises(EvidenceError, match="draws: 0 needs a model trained with diffusion.times 'evidence'"):
        shared.predict(FRAME, "age")
    assert shared.sample(2, {"age": 30.0}, steps=3)["age"].tolist() == [30.0, 30.0]
    assert len(shared.predict(FRAME, "age", draws=2, steps=3)) == 3
    assert len(shared.predict(FRAME, "sex", draws=2, steps=3, conditioning="repaint", resamplings=2)) == 3


def edited(run, tmp_path, **changes):
    """Copy a run folder, with changes of its record."""
    import shutil

    shutil.copytree(run, tmp_path / "copy")
    record = json.loads((tmp_path / "copy" / "run.json").read_text())
    record.update(changes)
    (tmp_path / "copy" / "run.json").write_text(json.dumps(record))
    return tmp_path / "copy"


def test_a_run_that_needs_a_plugin(table_run, tmp_path):
    record = json.loads((table_run / "run.json").read_text())
    needed = {**record["versions"], "metavoxel-ordinal": "1.2", "mv-odd": "0.1", "x; id #": "$(1)"}
    run = edited(table_run, tmp_path, versions=needed)
    assert problems_of(RunError, mv.load, run) == [
        f"{run}: needs the plugin metavoxel-ordinal 1.2, which is not installed: pip install metavoxel-ordinal",
        f"{run}: needs the plugin mv-odd 0.1, which is not installed; install it if you trust its authors",
        f"{run}: needs the plugin x??id?? ??1?, which is not installed; install it if you trust its authors",
    ]


def test_invalid_run_folders(table_run, tmp_path):
    assert problems_of(RunError, mv.load, tmp_path) == [f"{tmp_path}: not a run folder (it has no run.json)"]
    assert problems_of(RunError, mv.load, table_run / "run.json")[0].endswith("not a run folder (it has no run.json)")
    for text in ("{", "[]", "\x00"):
        (tmp_path / "run.json").write_text(text)
        assert problems_of(RunError, mv.load, tmp_path)[0].startswith(f"{tmp_path / 'run.json'}: not ")
    run = edited(table_run, tmp_path)
    (run / "codecs" / "age.safetensors").unlink()
    assert problems_of(RunError, mv.load, run) == [f"{run / 'codecs' / 'age.safetensors'}: no such file"]
    (run / "codecs" / "age.safetensors").write_bytes(b"\x80\x04.")
    assert "not a whole safetensors file" in problems_of(RunError, mv.load, run)[0]
    (run / "codecs" / "age.safetensors").write_bytes((run / "codecs" / "sex.safetensors").read_bytes())
    assert "does not fit the schema beside it" in problems_of(RunError, mv.load, run)[0]
    whole = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (run / "codecs" / "age.safetensors").write_bytes((table_run / "codecs" / "age.safetensors").read_bytes())
    assert "not a whole safetensors file" in problems_of(RunError, mv.load, run)[0]
    text = (run / "schema.yaml").read_text()
    (run / "schema.yaml").write_text(text.replace("type: continuous", "type: ordinal"))
    found = problems_of(RunError, mv.load, run)
    assert len(found) == 2 and all("pip install metavoxel-ordinal" in problem for problem in found)
    (run / "model.safetensors").unlink()
    assert "its training has not finished" in problems_of(RunError, mv.load, run)[0]


def test_a_run_folder_can_be_moved(table_run, model, tmp_path):
    run = edited(table_run, tmp_path)
    expected = model.predict(FRAME, "age")
    pandas.testing.assert_frame_equal(mv.load(run).predict(FRAME, "age"), expected)
