"""The first hour of a user at a terminal of 80 columns: an own method, typos, a crash, Ctrl-C, a board."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from terminals import in_terminal

AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'pcbench', *sys.argv[1:]])"
)
"""Makes the pseudo-terminal that of the command, so that Ctrl-C reaches it as it does a user's."""
TINY = "--ppc 1 --set points=16 --set recipe.epochs=1 --seeds 2"


@dataclass
class Terminal:
    """A terminal in which commands are typed one after another."""

    folder: Path
    """Where the user stands."""
    columns: int = 80
    """How wide it is."""
    code: int = 0
    """The exit code of the last command."""

    def type(self, line: str, interrupt_at: str = "") -> str:
        """What a command prints, without colours; interrupt_at: Ctrl-C is pressed where this appears."""
        command = [sys.executable, "-c", AT_TERMINAL, *line.split()]
        self.code, text = in_terminal(command, self.folder, self.columns, interrupt_at=interrupt_at)
        return text


TYPOS = (
    ("rnu", "No such command 'rnu'. Did you mean"),
    ("run --metod sadm", "No such option: --metod (Possible options: --memory, --method"),
    ("run --method", "Option '--method' requires an argument"),
    ("run --ppc three", "--ppc three: whole numbers are needed, as in --ppc 1,3,10"),
    ("run --method my_methud --plugins mine", "unknown method 'my_methud'. Did you mean my_method?"),
    ("run --dataset shapes1", "unknown data set 'shapes1'. Did you mean shapes10"),
    ("run --backbone pointnett", "unknown backbone 'pointnett'. Did you mean pointnet"),
    ("run --protocol quik", "unknown protocol 'quik'. Did you mean quick?"),
    ("run --suite tabel1", "Did you mean table"),
    ("run --method my_method --plugins mine --set lr=fast", "lr='fast'"),
    ("run --method my_method --plugins mine --set rl=1", "rl"),
    ("run --set lr", "--set lr: KEY=VALUE is needed"),
    ("run --plugins mien", "--plugins names mien, which is no folder"),
    ("info my_methud", "nothing is called 'my_methud'"),
    ("check mine/my_methud.py", "mine/my_methud.py is not there"),
    ("compare random", "two methods or runs are needed"),
)
"""A typo of each kind, and the words that lead on."""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.mark.slow
def test_from_an_own_method_to_the_board(terminal: Terminal) -> None:
    method = terminal.folder / "mine" / "my_method.py"

    # A typo, and a method that works
    assert "Did you mean" in terminal.type("rnu")
    assert terminal.code == 2
    assert "pcbench check mine/my_method.py" in terminal.type("new method my_method --folder mine")
    assert "keeps its contract" in terminal.type("check mine/my_method.py")
    run = f"run --plugins mine --method my_method,random {TINY} --set iterations=2"
    text = terminal.type(run)
    assert terminal.code == 0, text
    assert len(re.findall(r"^my_method .*\d+\.\d ± \d+\.\d", text, re.MULTILINE)) == 2
    assert "pcbench leaderboard build --results results --plugins mine" in " ".join(text.split())

    # A crash in it
    sound = method.read_text()
    method.write_text(sound.replace("optimiser.zero_grad()", "optimiser.zero_gard()"))
    text = " ".join(terminal.type(run).split())
    assert "Stale, 1 cell: '--again stale' computes anew" in text
    text = " ".join(terminal.type(f"{run} --again stale").split())
    assert terminal.code == 1
    line = next(n for n, each in enumerate(method.read_text().splitlines(), 1) if "zero_gard" in each)
    assert "failed: AttributeError: 'SGD' object has no attribute 'zero_gard'" in text
    assert f"my_method.py:{line})" in text
    text = terminal.type("results list --plugins mine")
    assert "failed, 1 of 3: AttributeError" in text
    assert all(len(row) <= 80 for row in text.splitlines() if row.startswith(("my_method", "random")))

    # Ctrl-C, and going on
    method.write_text(sound)
    long = f"run --plugins mine --method my_method {TINY} --set iterations=300 --snapshots last"
    text = terminal.type(long, interrupt_at="distil")
    assert terminal.code == 130, text
    assert "run the same command to go on" in " ".join(text.split())
    assert "interrupted" in terminal.type("results list --plugins mine")
    assert re.search(r"^my_method .* 300 ", terminal.type(long), re.MULTILINE)
    assert terminal.code == 0

    # The board
    assert "site/index.html" in terminal.type("leaderboard build --plugins mine")
    site = terminal.folder / "site"
    assert "my_method" in (site / "index.html").read_text()
    assert any("Log of the method" in page.read_text() for page in (site / "runs").glob("*.html"))
    text = terminal.type("compare random my_method")
    assert re.search(r"^my_method .*[+−]?\d+\.\d", text, re.MULTILINE), text
    assert terminal.code == 0


@pytest.mark.parametrize(("line", "words"), TYPOS, ids=[line for line, _ in TYPOS])
def test_a_typo_of_each_kind_is_an_error_that_leads_on(
    pcbench, tmp_path: Path, line: str, words: str
) -> None:
    pcbench("new", "method", "my_method", "--folder", "mine")
    done = pcbench(*line.split())
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert len([each for each in done.err.splitlines() if "rror: " in each]) == 1
    assert not (tmp_path / "results").exists()
