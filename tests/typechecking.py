"""Run-time checks of the types and shapes of the package's functions, for the tests.

jaxtyping's own import hook checks every call, which doubles the time of the tests, and prepares every function when
its module is imported, which takes half a minute a process. This hook prepares a function at its first call, and checks
its first calls in each test. ``CHECKED_CALLS=1000000 pytest`` checks all of them.
"""

import ast
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, Self

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

CHECKED_CALLS = int(os.environ.get("CHECKED_CALLS", "10"))

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int serves as a float, as for static checkers


@dataclass
class Tests:
    """Count of the tests so far, at which the counts of calls begin anew."""

    count: int = 0


TESTS = Tests()


def checked(function: Any) -> Any:
    """Check the first calls of a function in each test, or of the initialiser of a data class."""
    if isinstance(function, type):
        if is_dataclass(function) and "__init__" in vars(function):
            function.__init__ = checked(function.__init__)  # type: ignore[misc]
        return function
    test, calls = -1, 0
    check: Callable[..., Any] | None = None

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal test, calls, check
        if test != TESTS.count:
            test, calls = TESTS.count, 0
        calls += 1
        if calls > CHECKED_CALLS:
            return function(*args, **kwargs)
        if check is None:
            check = jaxtyped(function, typechecker=_checkable)
        return check(*args, **kwargs)

    return limited


def _checkable(function: Any) -> Any:
    """Check a function, except for hints that cannot be checked for a single method at run time."""
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if not _uncheckable(hint)}
    try:
        return _check(function)
    finally:
        function.__annotations__ = hints


def _uncheckable(hint: object) -> bool:
    """Detect ``Self``, which requires a class decorator, and protocols for static checkers only."""
    protocol = isinstance(hint, type) and getattr(hint, "_is_protocol", False)
    return hint is Self or (protocol and not getattr(hint, "_is_runtime_protocol", False))


class Decorator(ast.NodeTransformer):
    """Decorate all functions, innermost, and all classes, outermost."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list.append(_name(node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list.insert(0, _name(node))
        return node


def _name(node: ast.AST) -> ast.Name:
    return ast.copy_location(ast.Name("__checked__", ast.Load()), node)


class Loader(SourceFileLoader):
    """Load a module whose functions are checked; its bytecode is not stored."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Decorator().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__checked__"] = checked
        super().exec_module(module)


class Finder(MetaPathFinder):
    """Find the modules of a package, to be checked."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self._package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install(package: str) -> None:
    """Check a package that is yet to be imported."""
    assert package not in sys.modules, f"{package} was imported before its checks were installed"
    sys.meta_path.insert(0, Finder(package))
