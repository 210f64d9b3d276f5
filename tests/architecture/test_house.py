"""The house style that no linter knows."""

import ast
import re
from collections.abc import Iterator

import pytest

LARGEST_MODULE, LARGEST_SCRIPT = 300, 350
"""Lines of a module of the package, and of a test, benchmark or example."""
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Calls and the dotted names that they call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def _keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


def test_modules_are_small(package, files):
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files if path.suffix == ".py"}
    large = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > LARGEST_SCRIPT]
    large += [f"{module.path}: {module.lines} lines" for module in package.values() if module.lines > LARGEST_MODULE]
    assert not large, "\n".join(large)


def test_no_module_is_a_drawer(files):
    drawers = {"utils", "util", "helpers", "misc", "common"}
    wrong = [path for path in files if path.suffix == ".py" and drawers & {path.stem, *path.parent.parts[-1:]}]
    assert not wrong, wrong


def test_nothing_is_asked_whether_it_has_an_attribute(shipped):
    wrong = [module.at(call) for module in shipped for call, name in _calls(module.tree) if name == "hasattr"]
    assert not wrong, wrong


def test_no_module_keeps_state(shipped):
    """No ``global``, and no empty container at module level, which could only be there to be filled."""
    wrong = [module.at(node) for module in shipped for node in ast.walk(module.tree) if isinstance(node, ast.Global)]
    for module in shipped:
        for node in module.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                value = ast.unparse(node.value)
                if value in ("[]", "{}", "list()", "dict()", "set()") or value.startswith("defaultdict("):
                    wrong.append(module.at(node))
    assert not wrong, wrong


OWNERS = ("metavoxel.parts.codecs.base", "metavoxel.parts.kernels.base", "metavoxel.parts.conformance.")
"""Modules that may compare a part's support: those that define what follows from it, and checks by support."""


def _told_apart(module) -> Iterator[ast.AST]:
    """Comparisons of a support with a name, and tests of a part's settings for a class."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and not module.name.startswith(OWNERS):
            support = isinstance(node.left, ast.Attribute) and node.left.attr == "support"
            if support and isinstance(node.comparators[0], ast.Constant | ast.Tuple):
                yield node
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            yield from [node] if re.search(r"(Spec|Kernel)\b", ast.unparse(node.args[1])) else []


def test_parts_are_asked_and_not_told_apart(package):
    """A plugin's part answers as a built-in one does only where nothing asks which it is."""
    wrong = [module.at(node) for module in package.values() for node in _told_apart(module)]
    assert not wrong, wrong


def test_classes_are_abstract_or_final(package):
    """What is subclassed says so in its name. Errors are the exception: the catcher chooses how wide to catch."""
    defined = {
        node.name: module
        for module in package.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }
    wrong = []
    for module in package.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for base in node.bases:
                name = ast.unparse(base).split("[")[0].split(".")[-1]
                if (
                    name in defined
                    and not name.startswith(("Abstract", "_"))
                    and not name.endswith(("Error", "Protocol"))
                ):
                    wrong.append(f"{module.at(node)}: {node.name} subclasses {name}")
    assert not wrong, "\n".join(wrong)


def _safe_loaders(tree: ast.AST) -> set[str]:
    """Names of YAML loaders that make plain data only: the library's own, and what a module derives from them."""
    safe = {"SafeLoader", "CSafeLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return safe | {node.name for node in classes if node.bases and {ast.unparse(base) for base in node.bases} <= safe}


def _unsafe(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Places where a file that someone else wrote could run code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node, name) for name in names if name.split(".")[0] in UNPICKLERS)
    for call, name in _calls(tree):
        last = name.split(".")[-1]
        if name in ("eval", "exec") or last in ("read_pickle", "unsafe_load", "full_load", "unsafe_load_all"):
            yield call, name
        elif name in ("torch.load", "torch.hub.load", "torch.jit.load") and _keyword(call, "weights_only") != "True":
            yield call, f"{name} without weights_only=True"
        elif name in ("yaml.load", "yaml.load_all") and _keyword(call, "Loader") not in _safe_loaders(tree):
            yield call, f"{name} without a SafeLoader"
        elif _keyword(call, "allow_pickle") not in (None, "False"):
            yield call, f"{name} with allow_pickle"
        elif _keyword(call, "shell") not in (None, "False"):
            yield call, f"{name} with shell"


def test_nothing_is_unpickled_or_executed(shipped):
    wrong = [f"{module.at(node)}: {what}" for module in shipped for node, what in _unsafe(module.tree)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class MySafeLoader(yaml.Loader): ...\nyaml.load(text, Loader=MySafeLoader)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "eval(text)",
    ],
)
def test_unsafe_code_would_be_found(code):
    assert list(_unsafe(ast.parse(code)))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("machine-path", "data: /" + "home/someone/scans"),
        ("registry", "https://pypi" + ".org/simple"),
        ("registry", "pip install --index" + "-url"),
        ("unfinished", "# TO" + "DO"),
        ("outside", "../" + "shared/notes"),
    ],
)
def test_unwelcome_text_would_be_found(pattern, text):
    assert PATTERNS[pattern].search(text)


def test_safe_code_is_let_through():
    code = "torch.load(p, weights_only=True)\nyaml.safe_load(t)\nyaml.load(t, Loader=yaml.SafeLoader)\nmodel.eval()\n"
    code += "class Strict(yaml.SafeLoader): ...\nyaml.load(t, Loader=Strict)"
    assert not list(_unsafe(ast.parse(code)))


def _undocumented(module, ancestry) -> Iterator[str]:
    """Public functions, classes and methods of one module that say nothing. An override inherits what its base says."""
    if ast.get_docstring(module.tree) is None:
        yield f"{module.path}:1: module"
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None:
                yield f"{module.at(node)}: {node.name}"
            if isinstance(node, ast.ClassDef):
                for method in _methods(node):
                    if not method.name.startswith("_") and not _inherits_docstring(node.name, method.name, ancestry):
                        yield f"{module.at(method)}: {node.name}.{method.name}"


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef)]


def _inherits_docstring(name: str, method: str, ancestry) -> bool:
    for node in ancestry.get(name, ()):
        if any(item.name == method and ast.get_docstring(item) is not None for item in _methods(node)):
            return True
        bases = [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
        # A module's forward is described by its class, as torch has it.
        if method == "forward" and "Module" in bases:
            return True
        if any(_inherits_docstring(base, method, ancestry) for base in bases if base != name):
            return True
    return False


def test_everything_public_is_documented(shipped):
    ancestry: dict[str, list[ast.ClassDef]] = {}
    for module in shipped:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                ancestry.setdefault(node.name, []).append(node)
    wrong = [place for module in shipped for place in _undocumented(module, ancestry)]
    assert not wrong, "\n".join(wrong)


# Written so that no pattern matches its own text.
PATTERNS = {
    "machine-path": re.compile(r"(?<![\w.-])/(?:work|farm|root|home|Users)/"),
    "registry": re.compile(r"\bpypi\.org|python[h]osted|download\.pytorch\.|--(?:extra-)?index-[u]rl|--find-[l]inks"),
    "unfinished": re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X)\b|\bissue \d"),
    "outside": re.compile(r"\.\./shared(?!/(?:data|contracts)\b)"),
}
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cff", ".json", ".tsv", ".csv", ".cfg", ".html", ".svg", ""}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_text_speaks_of_the_project_alone(files, pattern):
    """No path of one machine, no package host (an installer's own settings choose it), nothing left for later."""
    wrong = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PATTERNS[pattern].search(line)
    ]
    assert not wrong, "\n".join(wrong)


PRIVATE_WORDS = re.compile(
    r"\b(?:laws?|walk(?:s|ed|ing)?|beliefs?|believe[sd]?|told|tells?|says?|said|saying|hear[sd]?|speak(?:s|ing)?|people"
    r"|persons?|everyone|likeness)\b",
    re.IGNORECASE,
)
"""Words for which the literature has terms of its own: distribution, trajectory, estimate, subjects, similarity ..."""

ALLOWED = re.compile(r'fork\([^)]*"walk"\)|\.tell\(\)|people\.(?:csv|tsv)|[Rr]andom walks?')
"""Keys of random streams, which results depend on, a method of files, names of tables, and a term of the literature."""


def test_words_are_the_fields(shipped, files):
    """In names, docstrings, comments, messages and documents; history has its own words."""
    documents = [
        path for path in files if path.suffix == ".md" and path.name != "CHANGELOG.md" and "findings" not in path.parts
    ]
    wrong = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in [*(module.path for module in shipped), *documents]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PRIVATE_WORDS.search(ALLOWED.sub("", line))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_package_knows_no_data_outside_it(package):
    outside = re.compile(r"\.\./shared")
    wrong = [name for name, module in package.items() if outside.search(module.path.read_text(encoding="utf-8"))]
    assert not wrong, wrong


def test_data_and_weights_stay_outside(files):
    """Pictures are welcome; volumes and weights are not, nor is anything heavy."""
    wrong = [path for path in files if path.stat().st_size > 600_000 or path.suffix in (".gz", ".nii", ".safetensors")]
    assert not wrong, wrong
