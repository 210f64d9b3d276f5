"""Imports point one way: from the command line down to the shapes, and among the parts only at contracts."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

LAYERS = (
    {"typing", "errors", "rng"},
    {"images", "storage"},
    {"parts"},
    {"plugins", "sampling"},
    {"schema"},
    {"network", "cohort"},
    {"inference", "testing", "preparation"},
    {"runs"},
    {"learning"},
    {"evaluation"},
    {"api", "cli"},
)
"""Lowest first. A unit (a module or package right under metavoxel) imports from lower layers alone: nothing imports a unit of
its own layer, and there is no circle."""

MOST_UNITS, MOST_LAYERS = 19, 11

KINDS = {"kernels", "codecs", "features", "adapters", "backbones", "variables"}
"""What plugins may add to: one folder of ``parts`` each."""

PLUGIN_SURFACE = {"typing", "errors", "rng", "images", "parts"}
"""What a third party may build a part from, and so all that the built-in parts may."""

ROOTS = {"metavoxel", "metavoxel.__main__"}
"""The names of the package and ``python -m metavoxel`` stand above the layers."""


def _imports(package, module) -> Iterator[tuple[ast.AST, str, str | None]]:
    """(node, imported module, imported name) of every import from metavoxel, wherever in the file it stands."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name, None) for alias in node.names if alias.name.split(".")[0] == "metavoxel")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "metavoxel":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (node, inner, None) if inner in package else (node, node.module, alias.name)


def _unit(name: str) -> str:
    return name.split(".")[1]


def _edges(package) -> Iterator[tuple[object, ast.AST, str]]:
    """(module, node, imported module) between modules below the roots."""
    for module in package.values():
        if module.name not in ROOTS:
            for node, target, _ in _imports(package, module):
                if target not in ROOTS:
                    yield module, node, target


def test_every_module_has_a_layer(package):
    units = {_unit(name) for name in package if name not in ROOTS}
    assert not units - set().union(*LAYERS), "new units need a place in LAYERS"


def test_imports_point_down(package):
    rank = {unit: index for index, layer in enumerate(LAYERS) for unit in layer}
    wrong = [
        f"{module.at(node)}: {_unit(module.name)} imports {target}"
        for module, node, target in _edges(package)
        if _unit(target) != _unit(module.name) and rank[_unit(target)] >= rank[_unit(module.name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_house_is_small(package):
    assert len(set().union(*LAYERS)) <= MOST_UNITS and len(LAYERS) <= MOST_LAYERS


def test_training_needs_no_test_library(package):
    """Conformance checks that training runs are parts; ``metavoxel.testing`` adds what tests need."""
    wrong = [
        module.at(node)
        for module, node, target in _edges(package)
        if _unit(target) == "testing" and _unit(module.name) not in ("testing", "cli")
    ]
    assert not wrong, wrong


def test_every_import_names_a_module(package):
    wrong = [
        f"{module.at(node)}: {target}"
        for module in package.values()
        for node, target, _ in _imports(package, module)
        if target not in package
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_make_no_cycle(package):
    graph: dict[str, set[str]] = {}
    for module, _, target in _edges(package):
        graph.setdefault(module.name, set()).add(target)
    _assert_acyclic(graph)


def _assert_acyclic(graph: dict[str, set[str]]) -> None:
    cycle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1]
    assert not cycle, " <- ".join(cycle)


def test_nothing_imports_the_command_line(package):
    wrong = [
        module.at(node)
        for module in package.values()
        if module.name != "metavoxel.__main__" and not f"{module.name}.".startswith("metavoxel.cli.")
        for node, target, name in _imports(package, module)
        if f"{target}.".startswith("metavoxel.cli.") or (target, name) == ("metavoxel", "cli")
    ]
    assert not wrong, wrong


def test_nothing_below_the_command_line_imports_the_api(package):
    """The API gathers the layers, so a layer that imported it would import itself."""
    wrong = [
        module.at(node)
        for module in package.values()
        if module.name not in ROOTS and not f"{module.name}.".startswith("metavoxel.cli.")
        for node, target, _ in _imports(package, module)
        if target in ROOTS
    ]
    assert not wrong, wrong


def _kind(name: str) -> str | None:
    """The kind of a module of ``parts``; None of any other."""
    parts = name.split(".")
    return parts[2] if len(parts) > 2 and parts[1] == "parts" else None


def test_parts_import_what_a_plugin_may(package):
    """Only the plugin surface, only public names: nothing that a third party could not write the same way."""
    wrong = []
    for module in package.values():
        builtin = module.name == "metavoxel.plugins.builtin"
        if module.name in ROOTS or not (builtin or _unit(module.name) == "parts"):
            continue
        surface = PLUGIN_SURFACE | ({"plugins"} if builtin else set())
        for node, target, name in _imports(package, module):
            private = any(part.startswith("_") for part in [*target.split("."), name or ""])
            if target in ROOTS or _unit(target) not in surface or private:
                wrong.append(f"{module.at(node)}: {target} {name or ''}")
    assert not wrong, "\n".join(wrong)


def test_parts_meet_at_contracts(package):
    """A codec, kernel, adapter or backbone knows the other kinds by their ``base``; an adapter also the features that it is
    given."""
    kinds = KINDS - {"variables"}
    wrong = [
        f"{module.at(node)}: {target}"
        for module, node, target in _edges(package)
        if {_kind(module.name), _kind(target)} <= kinds
        and _kind(module.name) != _kind(target)
        and target.rsplit(".", 1)[1] != "base"
        and (_kind(module.name), _kind(target)) != ("adapters", "features")
    ]
    assert not wrong, "\n".join(wrong)
