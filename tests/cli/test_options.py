"""Errors name the thing; the command line alone knows which option sets it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import pcbench as package
from pcbench.cli.options import OPTIONS, with_options
from pcbench.errors import Thing

ROOT = Path(package.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
WHOLE_COMMAND = re.compile(r"pcbench [a-z]+ ")
OTHER_PROGRAMS = ("engine/machine.py", "submission/commits.py", "executors/slurm.py")
"""Where git and Slurm are called."""
TO_COPY = ("report/commands.py",)
"""Where commands are put together, word by word, that a reader copies from a page."""


def texts(path: Path) -> Iterator[str]:
    """The literals of a module, its docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(ROOT.rglob("*.py")) if "cli" not in p.relative_to(ROOT).parts],
    ids=lambda p: p.name,
)
def test_no_module_below_the_command_line_names_an_option(path):
    if str(path.relative_to(ROOT)) in (*OTHER_PROGRAMS, *TO_COPY):
        return
    named = [text for text in texts(path) if OPTION.search(text) and not WHOLE_COMMAND.search(text)]
    assert named == []


def test_every_thing_has_its_option():
    assert set(OPTIONS) == set(get_args(Thing))
    assert len(set(OPTIONS.values())) == len(OPTIONS)
    assert all(re.fullmatch(r"--[a-z-]+", option) for option in OPTIONS.values())


def test_the_command_line_adds_the_option():
    assert with_options("PPC 0: too few", ("ppc",)) == "PPC 0: too few (--ppc)"
    assert with_options("choose another", ("output", "replace")) == "choose another (--out, --force)"
    assert with_options("as it is", ()) == "as it is"


def test_an_error_of_a_command_says_what_and_which_option(pcbench):
    done = pcbench("run", "--ppc", "0", "--method", "random")
    assert (done.code, done.err) == (2, "error: PPC 0: at least one cloud per class is needed (--ppc)\n")
