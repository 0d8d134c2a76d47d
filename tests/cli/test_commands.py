"""An option that takes one value and is given twice is an error that names it, in every command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer.main
from typer.core import TyperOption

from pcbench.cli.main import app


def single_options() -> Iterator[tuple[str, ...]]:
    """Every command with every option that takes one value, by its longest name."""
    waiting = [((), typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        for name, part in getattr(command, "commands", {}).items():
            waiting.append(((*words, name), part))
        if getattr(command, "commands", None):
            continue
        for option in command.params:
            if isinstance(option, TyperOption) and not (option.multiple or option.is_flag or option.count):
                yield (*words, max(option.opts, key=len))


@pytest.mark.parametrize("words", sorted(single_options()), ids=" ".join)
def test_a_single_option_that_is_given_twice_is_refused(pcbench, words: tuple[str, ...]) -> None:
    *verb, option = words
    done = pcbench(*verb, option, "1", option, "2")
    assert done.code == 2
    assert done.err == f"error: {option} is given 2 times and takes one value\n"


def test_short_and_long_names_are_one_option(pcbench) -> None:
    done = pcbench("run", "-b", "pointnet", "--backbone", "dgcnn")
    assert done.err == "error: --backbone is given 2 times and takes one value\n"


@pytest.mark.parametrize("verb", ["run", "evaluate"])
def test_a_setting_that_is_given_twice_is_refused(pcbench, verb: str, tmp_path) -> None:
    words = ("--set", "recipe.epochs=1", "--set", "recipe.epochs=5")
    done = pcbench(verb, *([tmp_path] if verb == "evaluate" else []), *words)
    assert done.code == 2
    assert "--set recipe.epochs is given twice, 1 and 5" in done.err
