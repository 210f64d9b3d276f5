"""``metavoxel new-plugin``: write a plugin that installs and passes its tests without changes."""

import re
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Annotated

import typer
from rich.console import Console

from metavoxel.errors import PluginError, Problem

TEMPLATE = Path(__file__).parent / "template"
USAGE = MappingProxyType(
    {
        "variable": "variables:\n  mmse: {type: $type, low: 0, high: 30}",
        "codec": "variables:\n  change: {type: continuous, codec: $type}",
        "kernel": "variables:\n  age: {type: continuous, kernel: $type}",
        "backbone": "backbone: {type: $type, width: 64}",
    }
)
"""Kinds of plugins with a template, and how a schema uses each."""


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the type, in lower case: blood-count.")],
    kind: Annotated[str, typer.Option(help=f"Kind of plugin: {', '.join(USAGE)}.")] = "variable",
    output: Annotated[Path | None, typer.Option(help="Folder to create; by default metavoxel-NAME.")] = None,
) -> None:
    """Write a plugin template: pyproject.toml, module, tests, README."""
    folder = output or Path(f"metavoxel-{name}")
    problems = list(_problems(name, kind, folder))
    if problems:
        raise PluginError(problems)
    type_name = name.replace("-", "_")
    fields = {
        "distribution": f"metavoxel-{name}",
        "module": f"metavoxel_{type_name}",
        "type": type_name,
        "kind": {"variable": "variable type"}.get(kind, kind),
        "name": "".join(word.capitalize() for word in name.split("-")),
    }
    fields["usage"] = Template(USAGE[kind]).substitute(fields)
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{fields['module']}.py": f"{kind}.py",
        f"tests/test_{fields['module']}.py": "test.py",
    }
    for file, source in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (TEMPLATE / f"{source}.txt").read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(fields), encoding="utf-8")
    Console().print(
        f"Wrote {folder}. Next: pip install -e '{folder}[testing]' && pytest {folder} && "
        f"metavoxel plugins --check {fields['distribution']}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _problems(name: str, kind: str, folder: Path) -> list[Problem]:
    from metavoxel.plugins.registry import load_registry

    problems = []
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        problems.append(Problem("NAME", f"{name!r} must be words of a-z and 0-9 with hyphens between: blood-count"))
    if kind not in USAGE:
        problems.append(Problem("--kind", f"{kind!r} is not one of {', '.join(USAGE)}"))
    elif name.replace("-", "_") in load_registry().names(f"{kind}s"):
        problems.append(Problem("NAME", f"a {kind} {name.replace('-', '_')!r} is installed; choose another name"))
    if folder.exists():
        problems.append(Problem(str(folder), "exists already; choose another --output"))
    return problems
