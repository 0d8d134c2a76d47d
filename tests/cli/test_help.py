"""What --help says can be read by people: whole summaries, types in words, an example that works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from report_records import a_run

from pcbench.cli import complete
from pcbench.cli.commands import EXAMPLES
from pcbench.cli.main import app

GROUP = typer.main.get_command(app)


def verbs() -> Iterator[tuple[str, ...]]:
    """Every command by its words."""
    for name, part in GROUP.commands.items():
        inner = getattr(part, "commands", None)
        yield from [(name, each) for each in inner] if inner else [(name,)]


@pytest.mark.parametrize("verb", sorted(verbs()), ids=" ".join)
def test_types_are_words_and_the_example_is_a_command(pcbench, verb: tuple[str, ...]) -> None:
    done = pcbench(*verb, "--help")
    assert done.code == 0
    assert not re.search(r"<(str|int|float|path|list)\b", done.out.replace("<list[sadm|", ""))
    assert f"Example: pcbench {' '.join(verb)}" in done.out
    *_, command = (part for part in _parts(verb))
    words = shlex.split(EXAMPLES[" ".join(verb)].partition(" > ")[0])[len(verb) :]
    command.make_context("pcbench", words)


def _parts(verb: tuple[str, ...]) -> Iterator[typer.core.TyperCommand]:
    part = GROUP
    for word in verb:
        part = part.commands[word]
        yield part


def test_every_example_is_of_a_command() -> None:
    assert set(EXAMPLES) == {" ".join(verb) for verb in verbs()}


@pytest.mark.parametrize("group", [(), ("data",), ("leaderboard",), ("results",)])
def test_summaries_are_whole_in_a_narrow_terminal(
    pcbench, monkeypatch: pytest.MonkeyPatch, group: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERMINAL_WIDTH", "60")
    text = pcbench(*group, "--help").out.partition("Commands:")[2]
    assert "..." not in text
    listed = re.findall(r"^  ([a-z-]+)  ", text, re.MULTILINE)
    assert len(listed) == sum(verb[:-1] == group for verb in verbs()) + (0 if group else 3)


def test_a_shell_completes_names_of_plugins_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = a_run(tmp_path / "results", method="dm").name
    assert complete.RUNS("d") == [run]
    assert complete.RUNS("la") == ["latest"]
    assert complete.METHODS("random,sa") == ["random,sadm"]
    assert "modelnet40" in complete.DATASETS("model")
    assert complete.SUITES("table") == [f"table{number}" for number in range(1, 7)]
    line = "pcbench run --protocol qu"
    asked = {"_PCBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "3"}
    code = "import sys; sys.argv = ['pcbench']; from pcbench.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["quick"]
