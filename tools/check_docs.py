"""Check the documentation: links resolve, commands parse, and Python blocks compile.

``python tools/check_docs.py [ROOT]`` prints every problem as ``file:line: what``, and exits with 1 if there is one. The
working directory does not matter.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

DOCUMENTS = ("README.md", "CHANGELOG.md", "docs/**/*.md", "examples/**/*.md", "plugins/**/*.md")
SHELLS = frozenset({"sh", "bash", "shell", "console"})
TEST_MARK = "<!-- test -->"
"""Mark on the line above a Python block that the tests run."""

_FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})\s*(?P<language>[\w+-]*)")
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*\s*$")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?(?P<target>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(?P<target>[^\s>]+)>?")
_HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=\"(?P<target>[^\"]+)\"")
_ANCHOR = re.compile(r"<a\b[^>]*?\b(?:id|name)=\"(?P<name>[^\"]+)\"")
_ELSEWHERE = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:|^//")
_SEPARATORS = frozenset({"&&", "||", ";", "|", "&", ">", ">>", "2>", "<"})


class Problem(NamedTuple):
    """One problem of a document."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Block(NamedTuple):
    """A fenced block of code; ``line`` is the number of its first line in the document."""

    language: str
    line: int
    code: str
    tested: bool


def documents(root: Path) -> list[Path]:
    """List the Markdown files to check."""
    return sorted({path for pattern in DOCUMENTS for path in root.glob(pattern) if "runs" not in path.parts})


def split(text: str) -> tuple[list[tuple[int, str]], list[Block]]:
    """Split a document into prose, as numbered lines, and fenced blocks. An unclosed fence extends to the end."""
    prose: list[tuple[int, str]] = []
    blocks: list[Block] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            prose.append((number + 1, lines[number]))
            number += 1
            continue
        before = next((line.strip() for _, line in reversed(prose) if line.strip()), "")
        first = number = number + 1
        closing = re.compile(rf"^\s*{re.escape(fence['ticks'][0])}{{{len(fence['ticks'])},}}\s*$")
        while number < len(lines) and not closing.match(lines[number]):
            number += 1
        indent = len(fence["indent"])
        code = "\n".join(line[indent:] if line[:indent].isspace() else line for line in lines[first:number])
        blocks.append(Block(fence["language"].lower(), first + 1, code + "\n", before == TEST_MARK))
        # Stands for the block, so that a mark above it is not taken for the next block's too.
        prose.append((first, "---"))
        number += 1
    return prose, blocks


def anchors(text: str) -> set[str]:
    """Return the anchors of a document: those of headings, as on GitHub, and explicit ones."""
    found: set[str] = set()
    for _, line in split(text)[0]:
        found.update(match["name"] for match in _ANCHOR.finditer(line))
        heading = _HEADING.match(line)
        if heading is None:
            continue
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        unique, copies = slug, 0
        while unique in found:
            copies += 1
            unique = f"{slug}-{copies}"
        found.add(unique)
    return found


def link_problems(path: Path, root: Path) -> Iterator[Problem]:
    """Yield relative links of one document that do not resolve, or lead out of the repository."""
    for number, line in split(path.read_text(encoding="utf-8"))[0]:
        visible = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
        for target in (match["target"] for form in (_LINK, _REFERENCE, _HTML) for match in form.finditer(visible)):
            if _ELSEWHERE.match(target):
                continue
            name, _, anchor = unquote(target).partition("#")
            file = (path.parent / name).resolve() if name else path.resolve()
            if not file.is_relative_to(root.resolve()):
                yield Problem(path, number, f"link {target!r} leaves the repository")
            elif not file.exists():
                yield Problem(path, number, f"link {target!r}: no such file")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
                yield Problem(path, number, f"link {target!r}: no heading gives the anchor '#{anchor}'")


def python_problems(path: Path) -> Iterator[Problem]:
    """Yield Python blocks of one document that do not compile, and test marks without a Python block."""
    prose, blocks = split(path.read_text(encoding="utf-8"))
    marks = sum(line.strip() == TEST_MARK for _, line in prose)
    if marks != sum(block.tested and block.language == "python" for block in blocks):
        yield Problem(path, 1, f"a {TEST_MARK} stands above something that is no ```python block")
    for block in blocks:
        if block.language == "python":
            try:
                compile(block.code, str(path), "exec")
            except SyntaxError as error:
                yield Problem(path, block.line + (error.lineno or 1) - 1, f"python block: {error.msg}")


def commands(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield calls of ``metavoxel`` in a shell block, as (line of the document, arguments)."""
    lines = block.code.splitlines()
    number = 0
    while number < len(lines):
        first = number
        line = lines[number].strip().removeprefix("$ ")
        while line.endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line[:-1] + " " + lines[number].strip()
        number += 1
        if not line.removeprefix(".venv/bin/").startswith("metavoxel "):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        arguments: list[str] = []
        for token in lexer:
            if token in _SEPARATORS:
                break
            arguments.append(token)
        yield block.line + first, arguments[1:]


def command_problem(arguments: list[str]) -> str | None:
    """Return why the command line refuses these arguments, or None. Files need not exist: only the form is checked."""
    from typer.core import TyperGroup
    from typer.main import get_command

    from metavoxel.cli import app

    command = get_command(app)
    context = command.context_class(command, info_name="metavoxel")
    rest = list(arguments)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        name = rest[0]
        if name not in command.list_commands(context):
            return f"no command {name!r}; there are {', '.join(sorted(command.list_commands(context)))}"
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        context = command.context_class(command, info_name=name, parent=context)
    try:
        values, extra, _ = command.make_parser(context).parse_args(list(rest))
        if extra:
            return f"unexpected argument {extra[0]!r}"
        if not values.get("help") and not isinstance(command, TyperGroup):
            command.make_context(context.info_name, rest, parent=context.parent)
    except Exception as error:  # typer's copy of click's classes, or click's own: that depends on typer's version
        refusal = str(error)
        return None if refusal.endswith("does not exist.") else refusal
    return None


def command_problems(path: Path) -> Iterator[Problem]:
    """Yield commands in one document's shell blocks that the command line refuses."""
    for block in split(path.read_text(encoding="utf-8"))[1]:
        if block.language in SHELLS:
            for line, arguments in commands(block):
                refusal = command_problem(arguments)
                if refusal is not None:
                    yield Problem(path, line, f"`metavoxel {shlex.join(arguments)}`: {refusal}")


def problems(root: Path) -> list[Problem]:
    """Return all problems of the documents of a repository."""
    found: list[Problem] = []
    for path in documents(root):
        found += [*link_problems(path, root), *python_problems(path), *command_problems(path)]
    return found


def main() -> int:
    """Print the problems of the repository; return 1 if there are any."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    checked, found = documents(root), problems(root)
    for problem in found:
        print(problem._replace(path=problem.path.relative_to(root)))
    print(f"{len(checked)} documents, {len(found)} problems")
    return 1 if found or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
