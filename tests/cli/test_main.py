"""The command as a process: how fast it starts, and what it does not import."""

from __future__ import annotations

import os
import subprocess
import sys

START = "import sys; sys.argv = ['pcbench', *sys.argv[1:]]; from pcbench.cli.main import main\n"


def start(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a new interpreter; it reports the modules of interest that it imported."""
    code = START + (
        "try:\n    main()\nfinally:\n"
        "    print('imported', *sorted({'torch', 'pandas', 'scipy', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)


def test_help_imports_nothing_heavy():
    done = start("--help")
    assert done.returncode == 0
    assert "leaderboard" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["imported"]


def test_help_takes_less_than_a_third_of_a_second_of_processor_time():
    """The best of five: processor time, so that a busy machine does not fail it."""
    times = []
    for _ in range(5):
        before = os.times()
        assert start("--help").returncode == 0
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        times.append(spent)
    assert min(times) < 0.3


def test_listing_methods_imports_no_torch():
    done = start("list", "methods")
    assert done.returncode == 0
    assert "sadm" in done.stdout
    assert "torch" not in done.stdout.splitlines()[-1]


def test_version_is_printed():
    import pcbench

    assert start("--version").stdout.splitlines()[0] == pcbench.__version__
