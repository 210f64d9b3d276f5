"""Entry point: commands and error reporting."""

import functools
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType

import typer
from rich.console import Console

from metavoxel.cli import ask, cohort, compare, demo, evaluate, new_plugin, phantom, plugins, train
from metavoxel.errors import CohortWarning, LimitWarning, MetavoxelError

app = typer.Typer(
    name="metavoxel",
    help="Joint diffusion over images and clinical metadata: one model for every conditional distribution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command to print errors as messages: a user error exits with 2, an interrupt with 130."""

    @functools.wraps(command)
    def run(*args: object, **options: object) -> None:
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        debug = "METAVOXEL_DEBUG" in os.environ
        try:
            with warnings.catch_warnings():
                warnings.showwarning = functools.partial(_show_warning, console, warnings.showwarning)
                command(*args, **options)
        except KeyboardInterrupt:
            console.print(
                "Stopped. Finished work is kept; 'metavoxel train ... --resume' continues a training, and "
                "'metavoxel evaluate' an evaluation."
            )
            raise typer.Exit(130) from None
        except MetavoxelError as error:
            if debug:
                raise
            for problem in error.problems:
                console.print(str(problem), style="red", markup=False)
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


def _show_warning(
    console: Console,
    usual: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *where: object,
    **more: object,
) -> None:
    """Print warnings of metavoxel as plain messages, others in Python's format."""
    if issubclass(category, CohortWarning | LimitWarning):
        console.print(str(message), markup=False)
    else:
        usual(message, category, *where, **more)


COMMANDS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "train": train.train,
        "sample": ask.sample,
        "predict": ask.predict,
        "compare": compare.compare,
        "evaluate": evaluate.evaluate,
        "validate": cohort.validate,
        "plugins": plugins.plugins,
        "new-plugin": new_plugin.new_plugin,
        "schema": cohort.schema,
        "phantom": phantom.phantom,
        "demo": demo.demo,
    }
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_reporting(_command))


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show a traceback also for user errors."),
) -> None:
    """Options of every command."""
    if debug:
        os.environ["METAVOXEL_DEBUG"] = "1"


def main() -> None:
    """Run a command. A user error prints its problems and exits with 2; an interrupt exits with 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    app(prog_name="metavoxel")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
