"""A newcomer by script: every command of docs/start.md as it stands there, in a shell, with its time.

    python tests/newcomer.py

Nothing is made small, unlike in tests/test_printed_commands.py. The scans are drawn here. At the end
the board must have the newcomer's method, its network and its clouds.
"""

from __future__ import annotations

import json
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


def lacking(board: Path) -> list[str]:
    """What the page promises and a built board does not have."""
    sections = json.loads((board / "data" / "leaderboard.json").read_text(encoding="utf-8"))["sections"]
    cells = [(section["student"].split(":")[0], each) for section in sections for each in section["cells"]]
    of_method = {cell["data"] for _, cell in cells if cell["method"] == "my_method"}
    promised = {
        "the method on shapes10": "shapes10" in of_method,
        "the method on own clouds": "scans" in of_method,
        "the network": "my_net" in {student for student, _ in cells},
        "the method's page": (board / "methods" / "my_method.html").is_file(),
    }
    return [words for words, there in promised.items() if not there]


def main() -> int:
    """Work through the page; 1 if a command failed, or the board lacks something."""
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
        absent = lacking(Path(home) / "first" / "site")
        print(f"on the board: {'all that is promised' if not absent else f'no {absent}'}")
    return min(failed + len(absent), 1)


def _processor() -> float:
    """Processor seconds of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
