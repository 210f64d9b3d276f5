"""Soundness of the documentation, and tests of its checker."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECKER = ROOT / "tools" / "check_docs.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_docs", CHECKER)
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_docs"] = module
    spec.loader.exec_module(module)
    return module


check_docs = _load()
LONG = ("first-model", "few-subjects")
"""Documents whose blocks train for long."""


def _tested(path: Path) -> list:
    return [
        block
        for block in check_docs.split(path.read_text(encoding="utf-8"))[1]
        if block.tested and block.language == "python"
    ]


def test_documentation_is_sound():
    done = subprocess.run([sys.executable, str(CHECKER)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)), marks=[pytest.mark.slow] * (path.stem in LONG))
        for path in check_docs.documents(ROOT)
        if _tested(path)
    ],
)
def test_marked_blocks_run(path, tmp_path, monkeypatch):
    """Blocks of one document share a namespace, as if typed in order."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in _tested(path):
        # Leading newlines align the line numbers of tracebacks with the document.
        exec(compile("\n" * (block.line - 1) + block.code, str(path), "exec"), names)


def _problems(root: Path, text: str) -> list[str]:
    (root / "README.md").write_text(text, encoding="utf-8")
    return [f"{problem.line}: {problem.what}" for problem in check_docs.problems(root)]


def test_finds_broken_links(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "schema.md").write_text("# The `schema`\n\n## Two words\n\n## Two words\n", encoding="utf-8")
    assert _problems(
        tmp_path,
        '[good](docs/schema.md#the-schema), [too](docs/schema.md#two-words-1), [home](#top), <a id="top"></a>\n'
        "[missing](docs/absent.md) ![picture](docs/absent.png)\n"
        "[anchor](docs/schema.md#three-words)\n"
        '<img src="absent.png" width="10">\n'
        "[named][out]\n"
        "\n"
        "[out]: ../outside.md\n"
        "`[code](absent.md)` [web](https://example.org/absent.md)\n"
        "```\n[code](absent.md)\n```\n",
    ) == [
        "2: link 'docs/absent.md': no such file",
        "2: link 'docs/absent.png': no such file",
        "3: link 'docs/schema.md#three-words': no heading gives the anchor '#three-words'",
        "4: link 'absent.png': no such file",
        "7: link '../outside.md' leaves the repository",
    ]


def test_finds_python_that_does_not_compile(tmp_path):
    found = _problems(tmp_path, "text\n\n```python\nx = 1\nx = = 2\n```\n\n<!-- test -->\n```sh\nls\n```\n")
    assert len(found) == 2
    assert found[0].startswith("1: a <!-- test --> stands above something")
    assert found[1].startswith("5: python block: ")


def test_a_mark_applies_to_the_next_block_only(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("<!-- test -->\n\n```python\na = 1\n```\n```python\nb = 2\n```\n", encoding="utf-8")
    assert [block.code for block in _tested(path)] == ["a = 1\n"]
    assert not check_docs.problems(tmp_path)


def test_finds_commands_that_do_not_parse(tmp_path):
    found = _problems(
        tmp_path,
        "```sh\n"
        "metavoxel train schema.yaml --output runs/first && metavoxel plugins   # a comment\n"
        "metavoxel train schema.yaml \\\n"
        "    --no-such-option\n"
        "metavoxel schema > schema.json\n"
        "metavoxel no-such-command\n"
        "metavoxel train\n"
        "metavoxel plugins surplus\n"
        "ls --no-such-option\n"
        "```\n"
        "```\nmetavoxel train schema.yaml [--usage]\n```\n",
    )
    assert [problem.split(":")[0] for problem in found] == ["3", "6", "7", "8"], found
    assert "no-such-option" in found[0]
    assert "there are" in found[1]
    assert "schema" in found[2]
    assert "surplus" in found[3]
