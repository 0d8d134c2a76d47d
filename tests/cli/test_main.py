"""The command as a process: how fast it starts, and what it does not import."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pcbench.records.store import read_runs

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


@pytest.mark.parametrize(
    ("own", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")]
)
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch, own, spins):
    """As GNU's OpenMP says that it read it, when torch was imported."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"OMP_DISPLAY_ENV": "verbose", **own}.items():
        monkeypatch.setenv(name, value)
    assert f"GOMP_SPINCOUNT = '{spins}'" in start("doctor").stderr


def test_version_is_printed():
    import pcbench

    assert start("--version").stdout.splitlines()[0] == pcbench.__version__


SLEEPER = '''
import time
from collections.abc import Iterator

import torch

from pcbench.api import Method, Snapshot, Task


class Sleeper(Method):
    """Gives its first snapshot, says so, and sleeps."""

    name = "sleeper"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        first = [int((task.train.labels == label).nonzero()[0]) for label in range(task.train.classes)]
        yield Snapshot(0, task.train.select(torch.tensor(first)))
        print("asleep")
        time.sleep(60)
'''


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM, signal.SIGINT] * 4])
def test_a_terminated_run_leaves_its_record_and_130(tmp_path, signals):
    """Of several signals, some milliseconds apart, the first one counts."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "sleeper.py").write_text(SLEEPER)
    words = ("run", "--method", "sleeper", "--plugins", "plugins", "--ppc", "1", "--set", "points=16")
    with subprocess.Popen(
        [sys.executable, "-c", f"{START}main()", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any("asleep" in line for line in process.stderr)
        for each in signals:
            process.send_signal(each)
            time.sleep(0.003)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    (run,), problems = read_runs(tmp_path / "results")
    assert problems == []
    assert run.distillation.status == "interrupted"
    assert [entry.iteration for entry in run.distillation.snapshots] == [0]


def test_a_full_disk_is_told_in_one_line(pcbench, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    done = pcbench("run", "--method", "random", "--ppc", "1", "--set", "points=16", "--seeds", "2")
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("error: results/random-shapes10-ppc1-")
    assert "clouds.h5: No space left on device: free some space" in done.err
    assert not list(Path("results").rglob("*.h5*"))


def test_an_error_of_the_system_without_a_file_keeps_its_words(pcbench, monkeypatch):
    """As of Python's tempfile where no folder for temporary files can be written, and of HDF5."""

    def nowhere(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("pcbench.cli.run.execute", nowhere)
    done = pcbench("run", "--method", "random", "--ppc", "1", "--set", "points=16", "--seeds", "2")
    assert done.code == 3
    assert "No usable temporary directory found in ['/tmp']" in done.err.splitlines()[-1]
