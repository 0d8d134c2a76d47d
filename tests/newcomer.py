"""A newcomer by script: every command of docs/start.md as it stands there, in a shell, with its time.

    python tests/newcomer.py

Nothing is made small, unlike in tests/test_printed_commands.py. The scans of the page are drawn here.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from printed import commands

PAGE = Path(__file__).parents[1] / "docs" / "start.md"
ENDLESS = "leaderboard serve"
"""A command that ends by Ctrl-C."""


def scans(folder: Path) -> None:
    """Forty clouds of two classes with splits, as text."""
    draw = np.random.default_rng(0)
    for label, stretch in {"oak": (1, 1, 3), "bush": (2, 2, 1)}.items():
        for split, count in {"train": 15, "test": 5}.items():
            place = folder / label / split
            place.mkdir(parents=True)
            for number in range(count):
                np.savetxt(place / f"{number}.xyz", draw.normal(size=(1500, 3)) * stretch)


def main() -> int:
    """Work through the page; 1 if a command failed."""
    with tempfile.TemporaryDirectory() as home:
        scans(Path(home) / "scans")
        (Path(home) / "first").mkdir()
        (Path(home) / "pcbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pcbench "$@"\n')
        (Path(home) / "pcbench").chmod(0o755)
        environment = os.environ | {
            "HOME": home,
            "XDG_CACHE_HOME": f"{home}/cache",
            "PATH": f"{home}:{os.environ['PATH']}",
            "PYTHONPATH": str(PAGE.parents[1]),
        }
        began, failed = time.monotonic(), 0
        for command in commands(PAGE):
            if ENDLESS in command:
                continue
            start, used = time.monotonic(), _processor()
            done = subprocess.run(
                command, shell=True, cwd=f"{home}/first", env=environment, capture_output=True, text=True
            )
            failed += done.returncode != 0
            wall, processor = time.monotonic() - start, _processor() - used
            print(
                f"{wall:6.1f} s  {processor:6.1f} s of processor  exit {done.returncode}  {command}",
                flush=True,
            )
            if done.returncode:
                print(done.stdout[-2000:], done.stderr[-2000:], flush=True)
        print(f"{time.monotonic() - began:.0f} s in all, {_processor():.0f} s of processor, {failed} failed")
    return min(failed, 1)


def _processor() -> float:
    """Processor seconds of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
