"""A stranger's JSON cannot ask for more memory than a record needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from submissions import a_run

from pcbench.records.store import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_VALUES,
    RecordError,
    bounded_json,
    read_distillation,
    read_evaluation,
)

MOST = 100 << 20
"""Bytes that a hostile record may cost beside what the command costs anyway."""

PEAK = """
import resource, sys
from pcbench.cli.main import main
sys.argv = ["pcbench", *sys.argv[1:]]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
"""


def many(text: str, count: int) -> str:
    return "[" + ",".join([text] * count) + "]"


HOSTILE: dict[str, tuple[str, str]] = {
    "two megabytes of {}": ("snapshots", many("{}", 700_000)),
    "as many {} as are let in": ("snapshots", many("{}", MAX_CONTAINERS - 50)),
    "texts for entries": ("snapshots", many('"x"', MAX_VALUES - 1000)),
    "numbers for entries": ("snapshots", many("1", MAX_VALUES - 1000)),
    "unknown names": (
        "provenance",
        "{"
        + ",".join(
            f'"k{k}":{{' + ",".join(f'"a{a}":1' for a in range(390)) + "}" for k in range(MAX_FIELDS - 10)
        )
        + "}",
    ),
    "names without end": ("provenance", "{" + ",".join(f'"k{k}":1' for k in range(300_000)) + "}"),
    "deep": ("provenance", "[" * 15_000),
    "one long text": ("reason", '"' + "x" * 7_000_000 + '"'),
}


def with_value(path: Path, field: str, raw: str) -> None:
    """Put raw JSON at a field of a record."""
    data = json.loads(path.read_text()) | {field: "@@"}
    path.write_text(json.dumps(data).replace('"@@"', raw))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The distillation of a run below tmp_path / "results"."""
    return a_run(tmp_path / "results").folder / "distillation.json"


def peak(*words: object) -> int:
    """The largest size, in bytes, of a process that runs a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    return int(done.stderr.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "build"])
def test_a_hostile_record_costs_no_more_than_a_record(tmp_path: Path, record: Path, command: str) -> None:
    results = tmp_path / "results"
    words = {
        "validate": ("results", "validate", results),
        "build": (
            "leaderboard",
            "build",
            "--results",
            results,
            "--out",
            tmp_path / "site",
            "--clouds",
            "none",
        ),
    }[command]
    a_run(results, ppc=2)
    usual = peak(*words)
    for field, raw in (HOSTILE["two megabytes of {}"], HOSTILE["as many {} as are let in"]):
        with_value(record, field, raw)
        assert peak(*words) < usual + MOST


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_kind_is_refused_in_little_memory(record: Path, kind: str) -> None:
    with_value(record, *HOSTILE[kind])
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from pcbench.records.store import RecordError, read_distillation\n"
        "size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = size()\n"
        "try:\n    read_distillation(Path(sys.argv[1]))\nexcept RecordError as error:\n"
        "    print(error.code, size() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(record)], capture_output=True, text=True, timeout=100, check=True
    )
    told, cost = done.stdout.split()
    assert told == "invalid-record"
    assert int(cost) < MOST


def test_wrong_entries_of_nested_lists_are_told_once(tmp_path: Path) -> None:
    run = a_run(tmp_path / "results")
    path = next(run.folder.glob("evaluation-*.json"))
    with_value(path, "confusion", many(many('"x"', 500), 700))
    with pytest.raises(RecordError, match=r"confusion\.0\.0"):
        read_evaluation(path)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


LIMITS: dict[str, tuple[Callable[[int], bytes], int, str]] = {
    "containers": (lambda n: many("{}", n - 1).encode(), MAX_CONTAINERS, "lists and objects"),
    "values": (lambda n: many("1", n + 1).encode(), MAX_VALUES, "values"),
    "names": (lambda n: json.dumps(dict.fromkeys(map(str, range(n)))).encode(), MAX_FIELDS, "names in one"),
    "depth": (nested, MAX_DEPTH - 1, "nested more than"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_lets_in_what_it_says_and_no_more(limit: str) -> None:
    made, most, told = LIMITS[limit]
    assert bounded_json(made(most)) is not None
    with pytest.raises(ValueError, match=told):
        bounded_json(made(most + 1))


def test_a_name_twice_in_one_object_is_refused(record: Path) -> None:
    text = record.read_text()
    record.write_text(text.replace("{", '{"status": "failed",', 1))
    with pytest.raises(RecordError, match="a name stands twice"):
        read_distillation(record)


def test_the_largest_honest_records_are_let_in() -> None:
    """A thousand students on fifty-five classes, and ten on a hundred and fifty snapshots."""
    for students, snapshots in ((1000, 7), (10, 151)):
        correct = [[[50] * 55] * students] * snapshots
        assert len(bounded_json(json.dumps({"correct": correct}).encode())["correct"]) == snapshots
