"""The hash of a source moves with what it computes, and with nothing else."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from plugin_files import method, write

from pcbench.catalogue import open_catalogue
from pcbench.catalogue.tree_hash import MAX_BYTES, UnreadableSource, source_digest, tree_digest
from pcbench.common.files import file_digest

SOURCE = '''
"""Words about the module."""

from __future__ import annotations

import math
from . import _attention

RATE = 0.1  # the step


class Mine:
    """Words about the class."""

    size: int = 3
    """Words about the attribute."""

    @property
    def twice(self):
        """Words about the function."""
        return 2 * self.size

    async def later(self, x, y=1, *, z="a"):
        """Words about a coroutine."""
        return [f"{x!r:>{y}} and {z=}", b"bytes", 1j, ..., not x, 1_000, None, True]

    def generic(self, *rest, **named):
        with open("file") as stream, self.lock:
            for line in stream:
                yield line
        match rest:
            case [1, *others] if others:
                lambda a, /, b=2: a if b else others
'''


def of(text: str) -> str:
    return source_digest(dedent(text).encode())


def test_the_hash_of_a_source_is_the_same_in_every_version_of_python() -> None:
    """A change here makes every result of a user's plugin stale: do it only with a reason worth that."""
    assert of(SOURCE) == "918964b99e9ea369427e062abf8faca93ae5a2928ff13770e4793372399af34a"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# the step", "# another word"),
        ("  # the step", ""),
        ("Words about the module.", "Other words."),
        ('"""Words about the module."""\n', ""),
        ("Words about the class.", "Other words."),
        ('    """Words about the attribute."""\n', ""),
        ("Words about the function.", "Other words."),
        ('        """Words about a coroutine."""\n', ""),
        ("2 * self.size", "(2 * self.size)"),
        ('z="a"', "z='a'"),
        ("\n\n\nclass", "\nclass"),
        ("1_000", "1000"),
        ("import math\n", "import math\npass\n"),
        ('b"bytes"', 'b"by" b"tes"'),
        ('f"{x!r:>{y}} and {z=}"', 'f"{x!r:>{y}}" " and " f"{z=}"'),
        ("0.1", "0.10"),
    ],
)
def test_words_and_layout_are_no_part_of_it(before: str, after: str) -> None:
    assert before in SOURCE
    assert of(SOURCE.replace(before, after)) == of(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.1", "0.2"),
        ("0.1", "1"),
        ("size: int = 3", "size: int = 3.0"),
        ("size: int = 3", "size: float = 3"),
        ("2 * self.size", "2 + self.size"),
        ("@property\n    ", ""),
        ("@property", "@staticmethod"),
        ("y=1", "y=2"),
        ("y=1, *, z", "y=1, z"),
        ("async def", "def"),
        ("not x", "x"),
        ('"a"', '"b"'),
        ('b"bytes"', '"bytes"'),
        ("True", "1"),
        ("None", "0"),
        ("!r", "!s"),
        (":>{y}", ":<{y}"),
        ("from . import _attention", "from . import _attentions"),
        ("from . import _attention", "from .. import _attention"),
        ("import math", "import math as m"),
        ("case [1, *others]", "case [1, *rest]"),
        ("a, /, b=2", "a, b=2"),
        ("a if b else others", "others if b else a"),
        ("yield line", "yield"),
        ("*rest, **named", "*rest"),
        ("class Mine:", "class Mine(object):"),
    ],
)
def test_what_computes_otherwise_has_another_hash(before: str, after: str) -> None:
    assert before in SOURCE
    assert of(SOURCE.replace(before, after)) != of(SOURCE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 'None'", "x = None"),
        ("x = 1", "x = True"),
        ("x = 0.0", "x = -0.0"),
        ("x = 1e999", "x = 1e308"),
        ("x = '(Name'", "x = '(Name)'"),
        ("x = ['a', 'b']", "x = ['a b']"),
        ("x = {**a}", "x = {None: a}"),
        ("f(*a)", "f(**a)"),
        ("x = y = 1", "x = (y, 1)"),
        ("a < b < c", "(a < b) < c"),
        ("if a: b\nelif c: d", "if a: b\nif c: d"),
        ("x: int", "x: int = None"),
        ("del a", "a"),
        ("x = f'{a}{b}'", "x = f'{a} {b}'"),
        ("def f(*, a, b=1): g", "def f(*, a=1, b): g"),
    ],
)
def test_sources_that_look_alike_are_told_apart(one: str, other: str) -> None:
    assert of(one) != of(other)


def test_every_number_and_text_has_a_hash() -> None:
    of(f"x = 0x{'f' * 20_000}")
    of("x = '\\ud800'")
    assert of("x = 1e999") == of("x = 2e999")


def test_the_hash_does_not_depend_on_the_interpreter_s_limit_of_recursion() -> None:
    deep: ast.expr = ast.Constant(1)
    for _ in range(100_000):
        deep = ast.UnaryOp(ast.USub(), deep)
    assert len(tree_digest(deep)) == 64
    while isinstance(deep, ast.UnaryOp):
        deep = deep.operand  # from the outside in, so that nothing is freed recursively


HOSTILE = {
    "nested parentheses": b"(" * 50_000,
    "nested operators": b"-" * 200_000 + b"1",
    "a chain of attributes": b"a" + b".b" * 100_000,
    "a chain of calls": b"f" + b"()" * 100_000,
    "a long sum": b"1" + b"+1" * 100_000,
    "elif after elif": b"if a: b\n" + b"elif c: d\n" * 20_000,
    "lambdas": b"lambda: " * 30_000 + b"1",
    "deep blocks": b"".join(b" " * depth + b"if 1:\n" for depth in range(300)),
    "nul": b"x = 1\0",
    "other bytes": bytes(range(256)),
    "unknown coding": b"# coding: nonsense\nx",
    "a number of many digits": b"x = " + b"9" * 10_000,
    "no Python": b"class (",
    "huge": b"#" * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_source_is_unreadable_and_no_crash(name: str) -> None:
    """In a process of its own, which would tell a crash of the interpreter from an error."""
    code = """
        import sys
        from pcbench.catalogue.tree_hash import UnreadableSource, source_digest
        try:
            source_digest(sys.stdin.buffer.read())
        except UnreadableSource as error:
            print(error)
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", dedent(code)]
    done = subprocess.run(words, input=HOSTILE[name], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert b"\n" not in done.stdout.strip()
    with pytest.raises(UnreadableSource):
        source_digest(HOSTILE[name])


# Plugins


def hash_of(folder: Path, name: str = "mine") -> str:
    return open_catalogue([folder]).methods.get(name).source_hash()


def test_a_plugin_s_hash_covers_it_and_the_modules_that_it_imports(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "from .package.inner import x\n")
    write(tmp_path / "package" / "__init__.py", "")
    inner = write(tmp_path / "package" / "inner.py", "x = 1\n")
    lazy = write(tmp_path / "lazy.py", "y = 1\n")
    private = write(tmp_path / "_attention.py", "def attend(x):\n    return 2 * x\n")
    unrelated = write(tmp_path / "unrelated.py", "z = 1\n")
    path = method(tmp_path / "mine.py", "mine")
    start = "import torch\nfrom . import helper\nfrom ._attention import attend\n"
    path.write_text(start + path.read_text() + "        from . import lazy\n")
    seen = {hash_of(tmp_path)}
    unrelated.write_text("z = 2\n")
    assert hash_of(tmp_path) in seen
    files = (path, tmp_path / "helper.py", inner, tmp_path / "package" / "__init__.py", lazy, private)
    for changed in files:
        text = changed.read_text()
        changed.write_text(f"# a comment\n{text}")
        assert hash_of(tmp_path) in seen, changed
        changed.write_text(f"{text}CHANGED = 1\n")
        assert hash_of(tmp_path) not in seen, changed
        seen.add(hash_of(tmp_path))


def test_a_moved_or_renamed_plugin_keeps_its_hash(tmp_path: Path) -> None:
    hashes = set()
    for place, name in (("here", "mine.py"), ("there/deeper", "mine.py"), ("elsewhere", "renamed.py")):
        write(tmp_path / place / "helper.py", "x = 1\n")
        path = method(tmp_path / place / name, "mine")
        path.write_text("from . import helper\n" + path.read_text())
        hashes.add(hash_of(tmp_path / place))
    assert len(hashes) == 1


def test_a_neighbour_that_cannot_be_parsed_counts_by_its_bytes(tmp_path: Path) -> None:
    broken = write(tmp_path / "helper.py", "class (\n")
    path = method(tmp_path / "mine.py", "mine")
    path.write_text(path.read_text() + "        from . import helper\n")
    before = hash_of(tmp_path)
    assert open_catalogue([tmp_path]).methods.sources.digest(broken) == file_digest(broken)
    broken.write_text("class ((\n")
    assert hash_of(tmp_path) != before
