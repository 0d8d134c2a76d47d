"""What comes from elsewhere reaches no terminal as a command: names of files, suites, classes, plugins."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from pcbench.cli import output

EVIL = "a\x1b]0;title\x07\x1b[2Jb\u202e\x9b31m"
OBEYED = {"\x1b", "\x07", "\x9b", "\u202e"}
CLI = Path(output.__file__).parent


def test_lines_and_tables_hold_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(f"one {EVIL}\ntwo")
    output.say(EVIL, err=True)
    table = Table(title=None)
    table.add_column("name")
    table.add_row(Text(EVIL, style="bold"))
    table.add_row(EVIL)
    output.show(table)
    output.console().print(EVIL)
    written = capsys.readouterr()
    assert not OBEYED & set(written.out + written.err)
    assert written.out.startswith("one a\ufffd")
    assert "\ntwo\n" in written.out


def test_every_line_of_every_verb_goes_through_one_function() -> None:
    """Only JSON, which escapes, and that function itself are printed otherwise."""
    for path in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called != "print", path
            if called == "typer.echo" and path.name != "output.py":
                assert ast.unparse(node.args[0]).startswith(("json.dumps(", "_as_json(")), (
                    f"{path}:{node.lineno}"
                )


@pytest.mark.parametrize("verb", [("run", "--plugins"), ("list", "methods", "--plugins"), ("check",)])
def test_plugins_with_hostile_texts_are_told_in_plain_characters(
    pcbench, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    folder = tmp_path / "mine\x1b[31m"
    folder.mkdir()
    (folder / "evil.py").write_text(
        f'from pcbench.api import Method\n\nclass Evil(Method):\n    """{EVIL}"""\n    name = "evil"\n'
        f"    def distill(self, task):\n        raise ValueError({EVIL!r})\n"
    )
    where = folder / "evil.py" if verb == ("check",) else folder
    words = ("--method", "evil", "--set", "points=16") if verb[0] == "run" else ()
    done = pcbench(*verb, where, *words)
    assert done.code in (0, 1)
    assert not OBEYED & set(done.out + done.err)


def test_a_suite_with_hostile_keys_is_told_in_plain_characters(pcbench, tmp_path: Path) -> None:
    suite = tmp_path / "evil.toml"
    suite.write_text('name = "x"\n"a\\u001b[31mb" = 1\n')
    done = pcbench("run", "--suite", suite)
    assert done.code in (2, 3)
    assert not OBEYED & set(done.out + done.err)
