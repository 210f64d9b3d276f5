"""Plugins that fail: one message that names the plugin, and schemas without it still run."""

import sys

import pytest
from tiny_cohorts import TABLE, write_schema, write_table

PLUGIN = """
from typing import ClassVar, Literal

import torch

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Parts, read_number

metavoxel_api = 2


class OddCodec(AbstractCodec):
    support = "real"
    code_shape = (1,)
    tolerance = 1e-3

    def encode(self, x):
        return Encoded(((x - 40) / 20).float()[:, None])

    def decode(self, z):
        return z[:, 0] * 20 + 40


class OddCodecSpec(AbstractCodecSpec):
    support: ClassVar[str] = "real"
    type: Literal["odd"] = "odd"

    def build(self, data_shape):
        return OddCodec()


class OddKernel(GaussianKernel):
    type: Literal["odd"] = "odd"


class OddSpec(AbstractVariableSpec):
    type: Literal["odd"] = "odd"

    def parts(self):
        return Parts(OddCodecSpec(), OddKernel(), TokenAdapterSpec())

    def parse(self, cell):
        return torch.tensor(read_number(cell))


@hookimpl
def metavoxel_variables():
    return [OddSpec]


@hookimpl
def metavoxel_codecs():
    return [OddCodecSpec]


@hookimpl
def metavoxel_kernels():
    return [OddKernel]
"""
USES = {**TABLE, "variables": {**TABLE["variables"], "score": {"type": "odd"}}}
HERE = "variables.score"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution mv-odd 0.3 with one module of this text on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    write_table(tmp_path)

    def write(text, name="odd"):
        info = tmp_path / f"mv_{name}-0.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mv-{name}\nVersion: 0.3\n")
        (info / "entry_points.txt").write_text(f"[metavoxel]\n{name} = mv_{name}\n")
        (tmp_path / f"mv_{name}.py").write_text(text)

    yield write
    for name in ("mv_odd", "mv_rival"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("changed", "to", "where", "what"),
    [
        ("import torch", "import no_such_library", f"{HERE}.type", "importing it failed: ModuleNotFoundError"),
        ("metavoxel_api = 2", "metavoxel_api = 3", f"{HERE}.type", "this metavoxel has 2: upgrade metavoxel"),
        ("code_shape = (1,)", "code_shape = (2,)", f"{HERE}.codec", "shape (4, 1), expected (4, 2)"),
        ("(x - 40)", "torch.sqrt(x - 1e9)", f"{HERE}.codec", "4 of 4 numbers are not finite"),
        ("(x - 40)", "x.sub_(40)", f"{HERE}.codec", "the data after use: differs by up to 40"),
        ("(x - 40)", "(x - 40 / 0)", f"{HERE}.codec", "ZeroDivisionError: division by zero"),
        ("return OddCodec()", "return None + 1", f"{HERE}.codec", "TypeError: unsupported operand"),
        ("    type: Literal[\"odd\"] = \"odd\"\n\n\nclass OddSpec", "    type: Literal[\"odd\"] = \"odd\"\n\n"
         "    def loss(self, prediction, target, t):\n        return (prediction - target).square().mean()\n\n\nclass OddSpec",
         f"{HERE}.kernel", "loss (unreduced, averaged over channels): shape (), expected (3, 1)"),
        ("torch.tensor(read_number(cell))", "torch.tensor([read_number(cell)])", HERE, "has shape (1,), and data_shape is ()"),
        ("torch.tensor(read_number(cell))", "torch.tensor(float('nan'))", HERE, "is read as nan, which is not finite"),
        ("torch.tensor(read_number(cell))", "self.table[cell]", HERE, "AttributeError"),
        ("return Parts(OddCodecSpec()", "return Parts(OddCodecSpec(none=1)", HERE, "ValidationError"),
    ],
    ids=["import", "api", "shape", "nan", "mutates", "raises", "build", "loss", "value", "not finite", "parse", "parts"],
)  # fmt: skip
def test_a_failing_plugin_is_named_and_affects_only_schemas_that_use_it(
    metavoxel, install, tmp_path, changed, to, where, what
):
    assert changed in PLUGIN
    install(PLUGIN.replace(changed, to, 1))
    done = metavoxel("train", write_schema(tmp_path, USES), "--output", tmp_path / "run")
    assert done.code == 2
    messages = [line for line in done.lines if line.startswith(f"{where}: ")]
    assert len(messages) == 1 and "mv-odd 0.3" in messages[0] and what in messages[0], done.err
    assert metavoxel("validate", write_schema(tmp_path, TABLE)).code == 0


def test_two_plugins_of_one_name_are_both_named(metavoxel, install, tmp_path):
    install(PLUGIN)
    install(PLUGIN, "rival")
    done = metavoxel("validate", write_schema(tmp_path, USES))
    assert done.code == 2
    assert (
        f"{HERE}.type: two plugins give the type 'odd': mv-odd 0.3 and mv-rival 0.3. Uninstall one of them" in done.err
    )
    assert metavoxel("validate", write_schema(tmp_path, TABLE)).code == 0


def test_a_working_plugin_trains_and_is_required_afterwards(metavoxel, install, tmp_path):
    install(PLUGIN)
    run = tmp_path / "run"
    schema = write_schema(tmp_path, USES, training={"steps": 2})
    assert metavoxel("train", schema, "--output", run).code == 0
    table = tmp_path / "people.csv"
    (tmp_path / "mv_odd-0.3.dist-info").rename(tmp_path / "mv_odd-1.0.dist-info")
    metadata = tmp_path / "mv_odd-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("0.3", "1.0"))
    done = metavoxel("predict", run, table, "--target", "score", "--output", tmp_path / "a.tsv")
    assert done.code == 2
    assert "was made with mv-odd 0.3, and 1.0 is installed; install the version that made it" in done.err
    (tmp_path / "mv_odd-1.0.dist-info" / "entry_points.txt").unlink()
    done = metavoxel("predict", run, table, "--target", "score", "--output", tmp_path / "a.tsv")
    assert done.code == 2
    assert "needs the plugin mv-odd 0.3, which is not installed; install it if you trust its authors" in done.err


def test_wrong_settings_are_reported_as_for_built_in_types(metavoxel, install, tmp_path):
    install(PLUGIN)
    raw = {**USES, "variables": {**USES["variables"], "score": {"type": "odd", "wieght": 2}}}
    done = metavoxel("validate", write_schema(tmp_path, raw))
    assert done.code == 2
    assert f"{HERE}.wieght: not a setting of type 'odd'. Did you mean 'weight'?" in done.err


def test_the_check_of_an_installed_plugin(metavoxel, install, tmp_path):
    gives = '\n    @classmethod\n    def examples(cls):\n        return [Example(cls(), ["1", "2", "30"])]\n'
    good = PLUGIN.replace("import AbstractVariableSpec, Parts", "import AbstractVariableSpec, Example, Parts")
    good = good.replace("    def parts(self)", gives + "\n    def parts(self)")
    good = good.replace("torch.tensor(read_number(cell))", "ContinuousSpec().parse(cell)")
    good = good.replace(
        "import torch\n", "import torch\nfrom metavoxel.parts.variables.continuous import ContinuousSpec\n"
    )
    # The checks of a kernel are tested elsewhere.
    good = good.replace("    return [OddKernel]", "    return []")
    install(good.replace("OddKernel()", "GaussianKernel()"))
    done = metavoxel("plugins", "--check", "mv-odd")
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[-1].startswith("mv-odd: ") and done.out.splitlines()[-1].endswith(" 0 failed")
    done = metavoxel("plugins", "--check", "mv-od")
    assert done.code == 2 and "no plugin 'mv-od' is installed. Did you mean 'mv-odd'?" in done.err


def test_a_failed_check_is_reported_and_exits_with_1(metavoxel, install):
    install(PLUGIN.replace("    return [OddKernel]", "    return []").replace("OddKernel()", "GaussianKernel()"))
    done = metavoxel("plugins", "--check", "mv-odd")
    assert done.code == 1
    assert "FAILED odd, check_examples: OddSpec gives nothing to check it with" in done.out
