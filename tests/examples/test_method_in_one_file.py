"""``examples/method_in_one_file.py`` is the package's method: the same loss, samples and answers for the same noise."""

import importlib.util
from pathlib import Path

import pytest
import torch

from metavoxel.learning.latent_cache import LatentCache
from metavoxel.learning.objective import corrupt, loss_sums, ratio
from metavoxel.learning.time_sampling import RowTimes
from metavoxel.parts.conformance.modules import at_generic_weights
from metavoxel.rng import Rng
from metavoxel.runs.run import build_codecs, build_joint
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import sample_codes
from metavoxel.sampling.settings import Sampling
from metavoxel.schema import parse_schema

FILE = Path(__file__).resolve().parents[2] / "examples" / "method_in_one_file.py"
ROWS = 40


@pytest.fixture(scope="module")
def one_file():
    spec = importlib.util.spec_from_file_location("method_in_one_file", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def joint():
    torch.manual_seed(0)
    token = {"adapter": {"type": "token", "baseline": False}}
    raw = {
        "cohort": {"table": "rows.csv"},
        "variables": {
            "x": {"type": "continuous", **token},
            "y": {"type": "continuous", **token},
            "k": {"type": "categorical", "categories": ["a", "b", "c"], **token},
        },
        "backbone": {"type": "mlp", "width": 128, "depth": 3},
    }
    schema = parse_schema(raw, folder=Path())
    return at_generic_weights(build_joint(schema, build_codecs(schema))).eval()


@pytest.fixture(scope="module")
def network(one_file, joint):
    weights = {}
    for key, value in joint.state_dict().items():
        if not key.startswith(("baseline.", "network_weights")):
            key = key.replace("adapters.", "ends.").replace(".own.", ".").removeprefix("backbone.")
            weights[key] = value
    network = one_file.Network()
    network.load_state_dict(weights)
    return network.eval()


class PackageNoise:
    """The package's random streams in the place of the file's generator."""

    def __init__(self, one_file, rng):
        self._file, self._streams = one_file, {name: rng.fork(name) for name in one_file.NAMES}

    def normal(self, name, shape):
        return self._streams[name].normal(shape)

    def gumbel(self, name, shape):
        return self._streams[name].gumbel(shape)

    def draw_class(self, name, log_p):
        return self._file.Noise.draw_class(self, name, log_p)

    def prior(self, name, rows):
        return self._file.Noise.prior(self, name, rows)


@pytest.fixture(scope="module")
def table(one_file):
    return one_file.make_table(ROWS, torch.Generator().manual_seed(1))


def evidence(table, names):
    return {name: Evidence(table[name], torch.ones(ROWS, 1, dtype=torch.bool)) for name in names}


def test_it_is_short():
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_loss_is_the_packages(one_file, joint, network, table):
    times, observed = one_file.sample_times(ROWS, torch.Generator().manual_seed(2))
    row_times = RowTimes(torch.stack(list(times.values()), 1), torch.cat(list(observed.values()), 1))
    caches = {
        name: LatentCache(torch.ones(ROWS, dtype=torch.bool), code[:, None], None, None, None)
        for name, code in table.items()
    }
    rng = Rng.for_rows(ROWS, "noise")
    corrupted = corrupt(joint, caches, torch.arange(ROWS), row_times, rng, device=torch.device("cpu"))
    predictions = joint(corrupted.states, corrupted.times, corrupted.observed)
    expected = sum(ratio(*sums) for sums in loss_sums(joint, predictions, corrupted).values())

    # the package draws from a stream of each variable, and so does this
    class Same(PackageNoise):
        def __init__(self):
            self._file = one_file
            self._streams = {name: Rng.for_rows(ROWS, "noise").fork(name) for name in one_file.NAMES}

    found = one_file.loss(network, table, times, observed, Same())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("given", [(), ("x",), ("x", "k")])
def test_posterior_means_are_the_packages(one_file, joint, network, table, given):
    rng = Rng.for_rows(ROWS, "posterior")
    expected = posterior_mean(joint, evidence(table, given), rng, evaluations=1)
    noise = PackageNoise(one_file, Rng.for_rows(ROWS, "posterior"))
    found = one_file.posterior_mean(network, {name: table[name] for name in given}, ROWS, noise)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("given", "marginal"), [((), ()), (("k",), ()), (("x",), ("y",))])
def test_samples_are_the_packages(one_file, joint, network, table, given, marginal):
    rng = Rng.for_rows(ROWS, "samples")
    sampling = Sampling(steps=12)
    expected = sample_codes(joint, evidence(table, given), rng, sampling, marginal=marginal)
    noise = PackageNoise(one_file, Rng.for_rows(ROWS, "samples"))
    known = {name: table[name] for name in given}
    found = one_file.sample(network, known, ROWS, noise, steps=12, marginal=marginal)
    for name in {*one_file.NAMES} - {*marginal}:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


def test_it_learns(one_file):
    """A short training already knows which class a number is of."""
    lines = []
    torch.set_num_threads(1)
    one_file.main(150, lines.append)
    assert float(lines[0].split()[-1]) < 0.15
