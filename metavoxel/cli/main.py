"""Entry point: commands and error reporting."""

import functools
import importlib
import os
import re
import signal
import warnings
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple, final

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from metavoxel.errors import BoundWarning, CohortWarning, MetavoxelError, RunWarning, SamplingWarning

_ARGUMENT = re.compile(r"`(?P<name>[a-z][a-z_0-9]*)(?:=(?P<value>[^`]*))?`")

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, as in a shell: 128 and the number of the signal."""

OPTIONS: Mapping[str, str] = MappingProxyType({"targets": "target", "flexible": "table2"})
"""Options whose names differ from the library's arguments."""


class Entry(NamedTuple):
    """Where a command is defined, and the first line of its help."""

    module: str
    help: str


COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "prepare": Entry(
            "prepare",
            "Extract brains, correct bias fields and register native heads to MNI space; write a BIDS derivative.",
        ),
        "qa": Entry(
            "qa", "Serve a local page to look at prepared scans, worst first; decisions are written to qa.tsv."
        ),
        "train": Entry("train", "Fit codecs, cache codes and train the joint model."),
        "sample": Entry(
            "ask", "Draw subjects from p(all variables | given values); write samples.tsv, and a file for every image."
        ),
        "predict": Entry(
            "ask", "Predict variables of every row of a table from the others; write one row each, in order."
        ),
        "compare": Entry(
            "compare",
            "Train other methods on a run's cohort and split, and write their predictions for its test subjects.",
        ),
        "evaluate": Entry(
            "evaluate", "Evaluate a run on its held-out test part: report.html, table1.csv, table2.csv and figures."
        ),
        "validate": Entry(
            "cohort",
            "Check a schema, its model and its cohort before training: counts, ranges, cells, image grids.",
        ),
        "plugins": Entry(
            "plugins", "List the installed types with their distribution and version; or check those of one plugin."
        ),
        "new-plugin": Entry("new_plugin", "Write a plugin template: pyproject.toml, module, tests, README."),
        "schema": Entry(
            "cohort", "Print the JSON Schema of the installed types, for completion of schema.yaml in editors."
        ),
        "phantom": Entry(
            "phantom",
            "Write phantom brains with a known joint distribution as a BIDS folder, with a schema to train on.",
        ),
        "demo": Entry("demo", "Write a phantom cohort, train on it, and compare predictions with the ground truth."),
    }
)


@final
class Commands(TyperGroup):
    """The commands, each imported when it is run.

    A command's module imports what needs PyTorch inside of its functions, so that a help page takes no seconds.

    Contexts and commands are Any: some versions of typer have click's, others a copy of their own.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command's name and help, without its options."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].help) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None or command is None else _imported(name), rest


def _imported(name: str) -> Any:
    module = importlib.import_module(f"metavoxel.cli.{COMMANDS[name].module}")
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    alone.command(name)(_reporting(getattr(module, name.replace("-", "_"))))
    return typer.main.get_command(alone)


app = typer.Typer(
    name="metavoxel",
    cls=Commands,
    help="Joint diffusion over images and clinical metadata: one model for every conditional distribution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command to print errors as messages: a user error exits with 2, Ctrl-C with 130, SIGTERM with 143."""

    @functools.wraps(command)
    def run(*args: object, **options: object) -> None:
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        debug = "METAVOXEL_DEBUG" in os.environ
        try:
            with warnings.catch_warnings():
                warnings.showwarning = functools.partial(_show_warning, console, warnings.showwarning)
                command(*args, **options)
        except KeyboardInterrupt as interrupt:
            console.print(
                "Stopped. Finished work is kept; 'metavoxel train ... --resume' continues a training, and "
                "'metavoxel evaluate' an evaluation."
            )
            raise typer.Exit(TERMINATED if isinstance(interrupt, _Terminated) else INTERRUPTED) from None
        except MetavoxelError as error:
            if debug:
                raise
            for problem in error.problems:
                console.print(in_options(str(problem)), style="red", markup=False)
            if len(error.problems) > 1:
                console.print(f"{len(error.problems)} problems.", style="bold")
            raise typer.Exit(2) from None
        except OSError as error:
            if debug or error.strerror is None:
                raise
            where = "" if error.filename is None else f"{error.filename}: "
            console.print(f"{where}{error.strerror}", style="red", markup=False)
            raise typer.Exit(2) from None

    return run


def in_options(text: str) -> str:
    """Convert a library message to the command line: an argument in backquotes becomes its option.

    >>> in_options("use `draws=1` or more, or another `output`")
    'use --draws 1 or more, or another --output'
    """
    return _ARGUMENT.sub(lambda found: _option(found["name"], found["value"]), text)


def _option(name: str, value: str | None) -> str:
    option = "--" + OPTIONS.get(name, name).replace("_", "-")
    return option if value in (None, "True") else f"{option} {value}"


def _show_warning(
    console: Console,
    usual: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *where: object,
    **more: object,
) -> None:
    """Print warnings of metavoxel as plain messages, others in Python's format."""
    if issubclass(category, CohortWarning | BoundWarning | RunWarning | SamplingWarning):
        console.print(in_options(str(message)), markup=False)
    else:
        usual(message, category, *where, **more)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show a traceback also for user errors."),
) -> None:
    """Options of every command."""
    if debug:
        os.environ["METAVOXEL_DEBUG"] = "1"


def main() -> None:
    """Run a command. A user error prints its problems and exits with 2, Ctrl-C with 130, SIGTERM with 143."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    app(prog_name="metavoxel")


@final
class _Terminated(KeyboardInterrupt):
    """SIGTERM, by which schedulers announce that a job ends."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Work is saved while the stack unwinds. A second signal would stop that.
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt
