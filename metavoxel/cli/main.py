"""Entry point: commands, and how errors reach the user."""

import os
import signal
import sys
from types import FrameType

import click
import typer
from rich.console import Console

from metavoxel.cli import ask, cohort, demo, train
from metavoxel.errors import MetavoxelError

app = typer.Typer(
    name="metavoxel",
    help="Joint diffusion over images and clinical metadata: one model, every question.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("train")(train.train)
app.command("sample")(ask.sample)
app.command("predict")(ask.predict)
app.command("validate")(cohort.validate)
app.command("plugins")(cohort.plugins)
app.command("schema")(cohort.schema)
app.command("demo")(demo.demo)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show a traceback for errors of the user's making too.")) -> None:
    """Options of every command."""
    if debug:
        os.environ["METAVOXEL_DEBUG"] = "1"


def main() -> None:
    """Run a command. A user's mistake prints its problems and exits with 2; an interrupt exits with 130."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        console.print("Stopped. What was finished is kept; 'metavoxel train ... --resume' continues a training.")
        sys.exit(130)
    except MetavoxelError as error:
        if os.environ.get("METAVOXEL_DEBUG"):
            raise
        for problem in error.problems:
            console.print(str(problem), style="red", markup=False)
        if len(error.problems) > 1:
            console.print(f"{len(error.problems)} problems.", style="bold")
        sys.exit(2)
    sys.exit(code or 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
