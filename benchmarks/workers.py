"""Cells at once against one after another, and threads of a cell against cells.

    python -m benchmarks.workers

The same cells under `pcbench run` with one process of one thread, with one process of all cores, and with a
process a core. Seconds are those of the cells alone, from the first that begins to the last that ends; the
machine's load before says whether they mean anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pcbench.engine import machine

WORDS = (
    *("run", "--method", "sadm,dm", "--ppc", "1", "--seeds", "4", "--snapshots", "last"),
    *(
        "--set",
        "points=256",
        "--set",
        "iterations=40",
        "--set",
        "recipe.epochs=40",
        "--set",
        "whole.epochs=2",
    ),
)
"""Cells on the embedded data set, single-threaded where there is one thread: two methods, repeated."""


def seconds(jobs: int, threads: int, cells: int, scratch: Path, name: str) -> float:
    """How long the cells take, with so many processes of so many threads."""
    out = scratch / name
    words = [*WORDS, "--repetition", f"0-{cells // 2 - 1}", "--jobs", str(jobs), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "XDG_CACHE_HOME": str(scratch / "cache")}
    with subprocess.Popen(
        [sys.executable, "-m", "pcbench", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        begun = None
        assert command.stderr is not None
        for line in command.stderr:
            if begun is None and ": begins" in line:
                begun = time.monotonic()
    if command.returncode or begun is None:
        sys.exit(f"pcbench ended with {command.returncode}")
    return time.monotonic() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=8, help="how many cells, an even number")
    chosen = parser.parse_args()
    cores = machine.cores()
    with tempfile.TemporaryDirectory(prefix="pcbench-workers-") as folder:
        seconds(1, 1, 2, Path(folder), "first")  # fills the cache
        for jobs, threads in ((1, 1), (1, cores), (cores, 1)):
            load = os.getloadavg()[0]
            took = seconds(jobs, threads, chosen.cells, Path(folder), f"{jobs}-{threads}")
            print(f"{jobs} processes of {threads} threads: {took:.1f} s; load before {load:.1f}", flush=True)


if __name__ == "__main__":
    main()
