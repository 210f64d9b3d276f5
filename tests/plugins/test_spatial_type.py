"""A third party's type of images has all that the built-in ones have: BIDS files, affines, masks, warnings, summary."""

import io
import json
from dataclasses import dataclass
from typing import Literal

import nibabel
import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import metavoxel as mv
from metavoxel.cli.main import app
from metavoxel.cohort.bids import read_bids
from metavoxel.cohort.read import read_cohort
from metavoxel.cohort.summary import describe, render
from metavoxel.cohort.warnings import cohort_warnings
from metavoxel.errors import CohortError
from metavoxel.images.files import write_nifti
from metavoxel.parts.adapters.grid import GridSummaryAdapterSpec
from metavoxel.parts.codecs.identity import IdentitySpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import Parts
from metavoxel.parts.variables.spatial import AbstractSpatialSpec
from metavoxel.parts.variables.summaries import AbstractSummary
from metavoxel.plugins.hookspecs import API_VERSION, hookimpl
from metavoxel.schema.settings import CohortSettings
from metavoxel.testing import run_checks, variable_checks

AFFINE = np.array([[3.0, 0, 0, -10], [0, 3, 0, 5], [0, 0, 3, 2], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Mass(AbstractSummary):
    mean: float

    def text(self, unit):
        return f"mean probability {self.mean:.2f}"


class ProbabilitySpec(AbstractSpatialSpec):
    """A map of probabilities, which are not scaled."""

    type: Literal["probability"] = "probability"

    @property
    def data_shape(self):
        return (1, *self._resolved_shape())

    def parts(self):
        return Parts(IdentitySpec(), GaussianKernel(), GridSummaryAdapterSpec())

    def parse(self, cell):
        image, _ = self._placement().placed(self._read(cell, constant=True), 0.0)
        return torch.from_numpy(image.data)[None].clamp(0, 1)

    def bids_problems(self):
        return [] if self.entities.get("suffix") else ["a map of probabilities needs a suffix: {suffix: probseg}"]

    def file_warnings(self, column, others):
        yield from super().file_warnings(column, others)
        empty = sum(not column.read([row]).any() for row in column.rows)
        if empty:
            yield f"{empty} maps are empty"

    def summary(self, column):
        return Mass(float(column.read(column.rows).mean()))

    def format(self, value):
        return f"map of {value.numel()} voxels"

    def write(self, name, value, *, folder, stem, like=None):
        file, grid, _ = self._target(folder, f"{stem}_{name}", like, pictures=False)
        write_nifti(file, self._volume(value).__class__(self._volume(value).data, grid))
        return {name: file.name}


class Plugin:
    __name__ = "metavoxel"
    metavoxel_api = API_VERSION

    @hookimpl
    def metavoxel_variables(self):
        return [ProbabilitySpec]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """BIDS folder of 20 subjects with an age and a 2-D map of probabilities; the first map is empty."""
    folder = tmp_path_factory.mktemp("bids")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "maps", "BIDSVersion": "1.8.0"}))
    rows, draw = ["participant_id\tage"], np.random.default_rng(0)
    for number in range(20):
        file = folder / f"sub-{number:02}/anat/sub-{number:02}_label-WM_probseg.nii.gz"
        file.parent.mkdir(parents=True)
        data = draw.uniform(0, number / 20, (8, 8, 1)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, AFFINE), file)
        rows.append(f"sub-{number:02}\t{20 + 3 * number}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder


VARIABLES = {
    "wm": {"type": "probability", "entities": {"suffix": "probseg", "label": "WM"}},
    "age": {"type": "continuous", "range": [20, 80]},
}


@pytest.fixture(scope="module")
def registry():
    return mv.load_registry([Plugin()])


@pytest.fixture(scope="module")
def model(dataset, registry, tmp_path_factory):
    schema = {"cohort": {"bids": str(dataset)}, "variables": VARIABLES, "training": {"steps": 2, "batch_size": 4}}
    return mv.train(schema, tmp_path_factory.mktemp("run") / "run", registry=registry)


def test_bids_files_are_selected_by_its_entities(dataset):
    spec = ProbabilitySpec(entities={"suffix": "probseg"})
    table = read_bids(dataset, {"wm": spec})
    assert table.frame["wm"].tolist() == [f"sub-{k:02}/anat/sub-{k:02}_label-WM_probseg.nii.gz" for k in range(20)]
    with pytest.raises(CohortError, match=r"needs a suffix: \{suffix: probseg\}"):
        read_bids(dataset, {"wm": ProbabilitySpec()})


class Uncovered(ProbabilitySpec):
    """Has a mask without the axis of channels."""

    def inside(self, cell):
        return super().inside(cell)[0]


def test_it_passes_the_conformance_checks(dataset):
    cells = [str(dataset / f"sub-{k:02}/anat/sub-{k:02}_label-WM_probseg.nii.gz") for k in (3, 5)]
    results = run_checks(variable_checks(ProbabilitySpec(path="{map}"), cells))
    assert not [result for result in results if result.outcome != "passed"]
    failed = [
        result.name
        for result in run_checks(variable_checks(Uncovered(path="{map}"), cells))
        if result.outcome == "failed"
    ]
    assert failed == ["check_voxels"]


def test_it_has_warnings_and_a_summary_of_its_own(dataset):
    spec = ProbabilitySpec(entities={"suffix": "probseg"})
    cohort = read_cohort({"wm": spec}, CohortSettings(bids=dataset), folder=dataset, split=False)
    assert [str(one) for one in cohort_warnings(cohort, images=True)] == ["variables.wm: 1 maps are empty"]
    printed = io.StringIO()
    Console(file=printed, width=200).print(render(describe(cohort)))
    assert f"mean probability {float(cohort.columns['wm'].read(range(20)).mean()):.2f}" in printed.getvalue()


def test_draws_have_the_cohort_s_affine(model):
    drawn = model.sample(2, {"age": 40}, seed=0, steps=2)
    assert drawn.image_names == ["wm"]
    image = drawn.images["wm"][0]
    assert image.shape[:2] == (8, 8)
    assert np.allclose(image.affine, AFFINE)


def test_known_voxels_are_kept(model, dataset):
    file = dataset / "sub-19/anat/sub-19_label-WM_probseg.nii.gz"
    known = torch.zeros(model.schema.specs["wm"].data_shape)
    known[:, :4] = 1
    drawn = model.sample(2, {"wm": str(file)}, {"wm": known}, seed=0, steps=2)
    value = model.value_of("wm", str(file))
    assert torch.equal(drawn["wm"][:, :, :4], value[None, :, :4].expand(2, -1, -1, -1))
    assert not torch.equal(drawn["wm"][:, :, 4:], value[None, :, 4:].expand(2, -1, -1, -1))


def test_the_command_reads_masks_and_writes_images(model, dataset, registry, tmp_path, monkeypatch):
    file = dataset / "sub-19/anat/sub-19_label-WM_probseg.nii.gz"
    mask = np.zeros((8, 8, 1), np.float32)
    mask[:4] = 1
    nibabel.save(nibabel.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
    monkeypatch.setattr("metavoxel.cli.ask.load_on", lambda run, device: model)
    monkeypatch.setattr("metavoxel.runs.run.RunFolder.preparations", lambda folder: {})
    command = ["sample", str(tmp_path), "-n", "1", "--given", f"wm={file}", "--mask", f"wm={tmp_path / 'mask.nii.gz'}"]
    found = CliRunner().invoke(app, [*command, "--steps", "2", "--output", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    written = nibabel.load(tmp_path / "out/sample-001_wm.nii.gz")
    assert np.allclose(written.affine, AFFINE)
    assert np.allclose(written.get_fdata()[:4], nibabel.load(file).get_fdata()[:4], atol=1e-6)
