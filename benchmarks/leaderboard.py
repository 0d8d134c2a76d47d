"""Builds a leaderboard of many made-up records: seconds, peak memory and page weight, one JSON object.

    python -m benchmarks.leaderboard --records 10000 --folder /tmp/many

With --folder the records stay, and a second call measures a build in which nothing has changed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from pcbench.catalogue import open_catalogue
from pcbench.protocols.protocol import LITE, PAPER, QUICK
from pcbench.report.site import build
from pcbench.report.viewer import Clouds

TESTS = Path(__file__).resolve().parent.parent / "tests"

METHODS = (
    "random",
    "herding",
    "kcenter",
    "dm",
    "dc",
    "pcc",
    "sadm",
    "m3d",
    "datadam",
    "mtt",
    "mine",
    "yours",
)


def make(out: Path, count: int) -> None:
    """`count` distillations with one evaluation each: protocols, data sets, PPCs, variations, repetitions."""
    sys.path.extend([str(TESTS), str(TESTS / "records"), str(TESTS / "report")])
    from report_records import a_run

    rng = random.Random(0)
    axes = itertools.product(
        range(-(-count // (3 * 4 * 3 * len(METHODS) * 4))),
        (PAPER, LITE, QUICK),
        ("modelnet10", "modelnet40", "shapenet", "scanobjectnn"),
        (1, 3, 10),
        METHODS,
        ({}, {"init": "herding"}, {"init": "noise"}, {"lr": 1.0}),
    )
    for repetition, protocol, data, ppc, method, variation in itertools.islice(axes, count):
        middle = rng.uniform(0.2, 0.9)
        right = [
            (
                round(10 * min(1, middle + rng.uniform(0, 0.1))),
                round(20 * min(1, middle + rng.uniform(0, 0.1))),
            )
            for _ in range(protocol.students)
        ]
        a_run(
            out, method=method, variation=variation, data={"name": data}, ppc=ppc, repetition=repetition,
            protocol=protocol, right=right, seconds=rng.uniform(1, 1000),
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "results").is_dir():
            make(folder / "results", options.records)
        start, used = time.perf_counter(), _processor()
        catalogue = open_catalogue()
        made = build(folder / "results", folder / "site", catalogue, Clouds(catalogue.datasets, False))
        seconds = time.perf_counter() - start
        pages = {path: path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file()}
        html = [size for path, size in pages.items() if path.suffix == ".html"]
        found = {
            "records": options.records,
            "seconds": round(seconds, 1),
            "processor_seconds": round(_processor() - used, 1),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "peak_mib_of_a_helper": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
            "files": made.files,
            "site_mib": round(sum(pages.values()) / 2**20, 1),
            "first_page_kb": round((folder / "site" / "index.html").stat().st_size / 1000),
            "largest_page_kb": round(max(html) / 1000),
        }
        print(json.dumps(found))


def _processor() -> float:
    """Processor seconds of this process and of those that helped it and have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
