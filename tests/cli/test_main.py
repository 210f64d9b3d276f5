"""The commands as a whole: names, help, and messages of the library in the command line's words."""

import ast
import importlib.util
import inspect
import json
import subprocess
import sys
from typing import get_args

import pytest

from metavoxel.cli.main import COMMANDS, in_options
from metavoxel.cli.train import train
from metavoxel.evaluation.choices import MethodName
from metavoxel.evaluation.comparisons import METHODS
from metavoxel.runs.checkpoints import MINUTES


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_page_has_each_commands_own_first_line(name):
    """Without importing it."""
    source = importlib.util.find_spec(f"metavoxel.cli.{COMMANDS[name].module}").loader.get_data
    path = importlib.util.find_spec(f"metavoxel.cli.{COMMANDS[name].module}").origin
    functions = [node for node in ast.parse(source(path)).body if isinstance(node, ast.FunctionDef)]
    (command,) = [node for node in functions if node.name == name.replace("-", "_")]
    assert ast.get_docstring(command).splitlines()[0] == COMMANDS[name].help


def test_help_lists_all_commands(metavoxel):
    found = metavoxel("--help")
    assert found.code == 0 and all(name in found.out for name in COMMANDS)


def test_no_command_needs_pytorch_for_its_help():
    heavy = ["torch", "numpy", "pandas", "monai", "nibabel", "nilearn", "pydantic"]
    script = (
        "import importlib, json, sys\n"
        "from metavoxel.cli.main import COMMANDS\n"
        "for entry in COMMANDS.values():\n"
        "    importlib.import_module(f'metavoxel.cli.{entry.module}')\n"
        f"print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_choices_in_help_are_those_of_the_library():
    assert get_args(MethodName) == tuple(METHODS)
    assert inspect.signature(train).parameters["checkpoint_minutes"].default == MINUTES


@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("steps: describe draws; use `draws=1` or more", "steps: describe draws; use --draws 1 or more"),
        (
            "run: holds a run. Use `resume=True` or another `output`",
            "run: holds a run. Use --resume or another --output",
        ),
        ("`targets`: no variable 'a'", "--target: no variable 'a'"),
        ("`features=a/b.pt`: no such file", "--features a/b.pt: no such file"),
        ("`sample_steps` is 0", "--sample-steps is 0"),
        ("no argument here", "no argument here"),
    ],
)
def test_arguments_become_options(library, options):
    assert in_options(library) == options


def test_an_unknown_command_is_refused(metavoxel):
    found = metavoxel("validat")
    assert found.code == 2 and "No such command 'validat'" in found.err
