"""The line that shows progress is written over itself, and stays for every cell."""

from __future__ import annotations

import pytest

from pcbench import Progress, show_progress
from pcbench.python import progress as module


def test_a_line_stays_for_every_cell_and_hostile_names_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ran
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    show_progress(Progress(1, 2, "a"))
    for done in range(1, 50):
        now[0] += module.EVERY / 10
        show_progress(Progress(1, 2, "a\x1b[2J\nb", "distil", done, 60))
    show_progress(Progress(1, 2, "a", "ended", outcome=ran[2]))
    written = capsys.readouterr().err
    assert 4 <= written.count("\r") <= 8
    assert "\x1b" not in written
    (line, rest) = written.split("\n")
    assert line.rstrip().endswith(ran[2].problem)
    assert rest == ""
