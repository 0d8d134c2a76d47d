"""Commands that pages print: found in their `sh` blocks, and parsed as the command line does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import typer

from pcbench.cli.main import app


def commands(page: Path) -> list[str]:
    """The lines of a page's `sh` blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line.partition("  #")[0].partition(" # ")[0].strip() for line in lines]


def files(page: Path) -> dict[str, str]:
    """The files that a page prints whole, by the path that their first line names."""
    text = page.read_text(encoding="utf-8")
    python = re.findall(r'```python\n"""([\w/]+\.py)"""\n(.*?)```', text, re.DOTALL)
    toml = re.findall(r"```toml\n# ([\w/]+\.toml)\n(.*?)```", text, re.DOTALL)
    return dict([*python, *toml])


def parse(words: Sequence[str]) -> None:
    """Parse a command as the command line does, without doing it."""
    group, context = typer.main.get_command(app), None
    for word in words:
        if not hasattr(group, "commands"):
            break
        context = group.make_context("pcbench", [], parent=context, resilient_parsing=True)
        group, words = group.commands[word], words[1:]
    group.make_context("pcbench", list(words), parent=context)
