"""The comparison of first steps with whole cells gives a line a phase."""

from __future__ import annotations

import json

import pytest

from benchmarks import estimates
from pcbench.protocols.protocol import LITE


def test_a_line_for_the_distillation_and_one_for_its_students(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = LITE.model_copy(update={"points": 16, "students": 2})
    monkeypatch.setattr("pcbench.protocols.protocol.PROTOCOLS", {"lite": small})
    words = ["--methods", "-", "--backbones", "pointnet", "--iterations", "2", "--epochs", "2", "--json"]
    estimates.main(words)
    distil, students = map(json.loads, capsys.readouterr().out.splitlines())
    assert (distil["what"], students["what"]) == (
        "random, pointnet:paper",
        "students of pointnet:paper, PPC 1",
    )
    assert min(students["estimated"], students["measured"], students["tried"]) > 0
