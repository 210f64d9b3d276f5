"""Compare the tables of ``docs/reference/cli.md`` with the commands, or write them, from the signatures typer reads.

``python tools/cli_tables.py`` exits with 1 if the document is out of date; with ``--write`` it rewrites the tables. A
table is between ``<!-- command: NAME -->`` and ``<!-- end -->``.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo

from metavoxel.cli.main import COMMANDS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"

_TABLE = re.compile(r"(?P<head><!-- command: (?P<name>[\w-]+) -->\n).*?(?P<tail><!-- end -->)", re.DOTALL)
_WORDS = {str: "text", Path: "path", int: "whole number", float: "number", bool: ""}


def tables() -> dict[str, str]:
    """Return the table of every command."""
    modules = {name: importlib.import_module(f"metavoxel.cli.{entry.module}") for name, entry in COMMANDS.items()}
    return {name: _table(vars(module)[name.replace("-", "_")]) for name, module in modules.items()}


def updated(text: str) -> str:
    """Return a document with its tables updated; KeyError if it has a table without a command."""
    current = tables()
    return _TABLE.sub(lambda match: f"{match['head']}{current[match['name']]}{match['tail']}", text)


def names(text: str) -> list[str]:
    """Return the commands that have a table in a document."""
    return [match["name"] for match in _TABLE.finditer(text)]


def _table(command: Callable[..., None]) -> str:
    hints = get_type_hints(command, include_extras=True)
    rows = [
        _row(parameter, *get_args(hints[name])) for name, parameter in inspect.signature(command).parameters.items()
    ]
    head = ["", "| argument or option | value | default | meaning |", "|---|---|---|---|"] if rows else []
    return "\n".join([inspect.getdoc(command) or "", *head, *rows]) + "\n"


def _row(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    name, default = parameter.name.replace("_", "-"), parameter.default
    declared = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    both = [f"--{name}", f"--no-{name}"] if kind is bool else [f"--{name}"]
    options = [name.upper()] if isinstance(info, ArgumentInfo) else declared or both
    (one,) = [part for part in get_args(kind) or (kind,) if part is not type(None)]
    limits = [f"{sign} {bound:g}" for sign, bound in (("≥", info.min), ("≤", info.max)) if bound is not None]
    several = ["repeatable"] if get_origin(kind) is list else []
    value = ", ".join([f"{_WORDS[one]} {', '.join(limits)}".strip(), *several])
    shown = "required" if default is parameter.empty else f"`{both[0] if default is True else default}`"
    shown = "" if default is None or default is False or default in ("", []) else shown
    cells = [", ".join(f"`{option}`" for option in options), value, shown, info.help.replace("|", "\\|")]
    return "| " + " | ".join(cells).replace("  ", " ") + " |"


def main() -> int:
    """Compare the tables, or with ``--write`` write them; return 1 if they differ."""
    before = DOCUMENT.read_text(encoding="utf-8")
    after = updated(before)
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(after, encoding="utf-8")
    elif before != after:
        print(f"{DOCUMENT.name} is out of date: run python tools/cli_tables.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
