"""Times against each other, and where, when and with what records say that they were made."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from packaging.version import InvalidVersion, Version

import pcbench
from pcbench.records import layout
from pcbench.records.circumstances import Clock, Hardware, Memory, Provenance
from pcbench.records.models import DistillationRecord, Run
from pcbench.submission.rules import Finding, scored_files

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
"""Before this there was no pcbench."""
AHEAD = timedelta(days=1)
"""A clock that goes before ours by more than this is wrong."""
SLACK = 0.001
"""Seconds by which two clocks of one distillation may differ."""
PROCESSOR_SLACK = 1.1, 1.0
"""Processor time may be this often, and by so many seconds more than, wall time on all cores."""
NEEDED = ("pcbench", "torch")
"""Packages whose versions every record has."""
SMALLEST_PROCESS = 16 << 20
"""Bytes; Python with torch is never smaller."""


def findings(run: Run) -> Iterator[Finding]:
    """What cannot be true of the times, memories and provenances of a run's records."""
    distillation = run.distillation
    file = layout.distillation(run.folder)
    for told in _distillation_times(distillation):
        yield Finding("impossible-times", file, told)
    yield from _provenance(file, distillation.provenance, distillation.memory)
    if distillation.isolation in ("process", "walled") and distillation.memory.host_bytes < SMALLEST_PROCESS:
        told = f"a process of {distillation.memory.host_bytes} bytes cannot hold Python with torch"
        yield Finding("odd-provenance", file, told)
    for file, record in scored_files(run):
        for share in record.work:
            hardware = share.provenance.hardware
            yield from _provenance(file, share.provenance, share.memory)
            for name, clock in (("train", share.train), ("test", share.test)):
                for told in _clock(clock, hardware):
                    yield Finding("impossible-times", file, f"{name}: {told}")
                if bool(share.iterations) != (clock.seconds > 0):
                    told = "no time" if share.iterations else f"{clock.seconds} s for no snapshot"
                    yield Finding("impossible-times", file, f"work: {name}: {told}")


def _distillation_times(record: DistillationRecord) -> Iterator[str]:
    seconds = [entry.seconds for entry in record.snapshots]
    if any(one > other for one, other in itertools.pairwise(seconds)):
        yield "a later snapshot has an earlier time"
    if seconds and record.clock.seconds + SLACK < seconds[-1]:
        yield f"{record.clock.seconds} s in all, and the last snapshot after {seconds[-1]} s"
    if record.clock.seconds <= 0:
        yield "it took no time"
    if len(seconds) > 1 and seconds[-1] <= seconds[0]:
        yield f"{record.snapshots[-1].iteration} iterations took no time"
    yield from _clock(record.clock, record.provenance.hardware)


def _clock(clock: Clock, hardware: Hardware) -> Iterator[str]:
    times, more = PROCESSOR_SLACK
    processor = clock.processor_seconds
    if processor is not None and processor > times * clock.seconds * hardware.cpu_cores + more:
        yield f"{processor} processor seconds in {clock.seconds} s on {hardware.cpu_cores} cores"


def _provenance(file: Path, provenance: Provenance, memory: Memory) -> Iterator[Finding]:
    told = [
        *_date(provenance.created),
        *_versions(provenance),
        *_commit(provenance),
        *_memory(memory, provenance.hardware),
    ]
    for each in told:
        yield Finding("odd-provenance", file, each)


def _date(created: str) -> Iterator[str]:
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        yield f"created: {created!r} is no date"
        return
    if when.tzinfo is None:
        yield f"created: {created} has no time zone"
    elif when < FIRST_DAY:
        yield f"created: {created} was before there was a pcbench"
    elif when > datetime.now(UTC) + AHEAD:
        yield f"created: {created} is in the future"


def _versions(provenance: Provenance) -> Iterator[str]:
    for name, text in {"python": provenance.python, **provenance.packages}.items():
        if parsed(text) is None:
            yield f"{name}: {text!r} is no version"
    for name in NEEDED:
        if name not in provenance.packages:
            yield f"packages: the version of {name} is not there"
    yield from newer(provenance.packages.get("pcbench", ""))


def newer(version: str) -> Iterator[str]:
    """That a version of pcbench is newer than this one, which could then not judge its records."""
    theirs, ours = parsed(version), parsed(pcbench.__version__)
    if theirs is not None and ours is not None and theirs > ours:
        yield f"pcbench {version} is newer than {pcbench.__version__}, which is this one"


def parsed(text: str) -> Version | None:
    """A version; None where the text is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _commit(provenance: Provenance) -> Iterator[str]:
    commit = provenance.git_commit
    if commit is not None and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        yield f"git_commit: {commit!r} is no commit"
    if (commit is None) != (provenance.git_dirty is None):
        yield "git_dirty: stands beside git_commit, or both are unknown"


def _memory(memory: Memory, hardware: Hardware) -> Iterator[str]:
    on_gpu = hardware.device == "cuda"
    if on_gpu != (memory.device_bytes is not None):
        yield f"memory: on {hardware.device}, device_bytes {memory.device_bytes}"
    used = memory.device_bytes if on_gpu else memory.host_bytes
    if used is not None and used > hardware.memory_bytes:
        yield f"memory: {used} bytes of {hardware.memory_bytes} that there are"
