"""Claims: one process at a time works at a distillation, and the dead hold nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcbench.records import claims, layout
from pcbench.records.claims import Claims

KEY = "a" * 64

HOLDS = """
import sys, time
from pathlib import Path
from filelock import _identity, _marker, _soft
if sys.argv[2]:
    for module in (_identity, _marker, _soft):
        if hasattr(module, "host_name"):
            module.host_name = lambda: sys.argv[2]
from pcbench.records import claims
claims.LOST, claims.HEARTBEAT = 0.6, 0.2
mine = claims.Claims()
print(mine.take(Path(sys.argv[1]), sys.argv[3]), flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOST", 0.6)
    monkeypatch.setattr(claims, "HEARTBEAT", 0.2)


@contextlib.contextmanager
def holder(out: Path, host: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed the key; host: what it takes its machine for."""
    words = [sys.executable, "-c", HOLDS, str(out), host, KEY]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def stays_held(out: Path, theirs: Claims) -> None:
    """For longer than LOST and HEARTBEAT nobody else gets the claim: its owner's heart beats."""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert not theirs.take(out, KEY)
        time.sleep(0.1)


def becomes_free(out: Path, theirs: Claims) -> None:
    """The claim is still held now, and theirs before long."""
    assert not theirs.take(out, KEY)
    until = time.monotonic() + 30
    while not theirs.take(out, KEY):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_one_at_a_time_holds_a_claim(tmp_path):
    with Claims() as ours, Claims() as theirs:
        assert ours.take(tmp_path, KEY)
        assert not theirs.take(tmp_path, KEY)
        assert theirs.take(tmp_path, "b" * 64)
        ours.release(tmp_path, KEY)
        assert theirs.take(tmp_path, KEY)
    assert list(layout.claims(tmp_path).iterdir()) == []


def test_a_claim_of_a_killed_process_is_free_at_once(tmp_path):
    with holder(tmp_path) as process, Claims() as ours:
        assert not ours.take(tmp_path, KEY)
        process.kill()
        process.wait()
        assert ours.take(tmp_path, KEY)


def test_a_claim_of_another_machine_is_free_when_its_heart_has_stopped(tmp_path):
    with holder(tmp_path, "elsewhere") as process, Claims() as ours:
        stays_held(tmp_path, ours)
        process.kill()
        process.wait()
        becomes_free(tmp_path, ours)


def test_a_dead_claim_is_free_where_names_cannot_be_exchanged_and_a_live_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS and SMB refuse what filelock takes a dead owner's lock over by."""
    monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)
    with holder(tmp_path) as process, Claims() as ours, Claims() as theirs:
        stays_held(tmp_path, ours)
        process.kill()
        process.wait()
        becomes_free(tmp_path, ours)
        stays_held(tmp_path, theirs)
    assert list(layout.claims(tmp_path).iterdir()) == []


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_heartbeat_of_another_time_frees_no_live_claim_and_keeps_no_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Clocks of two machines are hours apart, or one has jumped: only whether the heartbeat moves is seen."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    with holder(tmp_path, "elsewhere") as process, Claims() as ours:
        stays_held(tmp_path, ours)
        process.kill()
        process.wait()
        ahead = now() - jump
        os.utime(layout.claim(tmp_path, KEY), (ahead, ahead))  # the last heartbeat of its clock
        becomes_free(tmp_path, ours)


def test_a_folder_that_takes_no_files_is_an_error_that_names_the_claim(tmp_path):
    (tmp_path / layout.WORK).write_text("in the way")
    with Claims() as ours, pytest.raises(OSError, match=r"\.pcbench"):
        ours.take(tmp_path, KEY)
