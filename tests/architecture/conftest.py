"""The source as the architecture tests see it: parsed, never imported."""

import ast
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Module(NamedTuple):
    """One file of Python. ``name`` is dotted; a package is named after its folder."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    def at(self, node: ast.AST) -> str:
        """Where a node stands, for a message."""
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


def parse(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(text, str(path)), len(text.splitlines()))


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Every file of the repository that git knows or would add."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return sorted(path for name in set(listed.stdout.split("\0")) - {""} if (path := ROOT / name).is_file())


@pytest.fixture(scope="session")
def package() -> dict[str, Module]:
    """The modules of metavoxel by name."""
    modules = {module.name: module for module in map(parse, sorted((ROOT / "metavoxel").rglob("*.py")))}
    assert len(modules) > 20, "the package was not found"
    return modules


@pytest.fixture(scope="session")
def shipped(package) -> list[Module]:
    """All code that users run: the package, the plugins and the tools, without their tests."""
    others = [
        path
        for folder in ("plugins", "examples", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "tests" not in path.parts and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    return [*package.values(), *map(parse, others)]
