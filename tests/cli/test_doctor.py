"""`pcbench doctor` prints each finding with its remedy, and its exit code says whether a run would fail."""

from __future__ import annotations

import json
from pathlib import Path


def test_without_a_problem_the_exit_code_is_0_and_json_has_every_finding(pcbench) -> None:
    done = pcbench("doctor", "--json")
    assert done.code == 0, done.out
    findings = json.loads(done.out)
    assert {"software", "device", "plugins", "records", "disk"} <= {each["topic"] for each in findings}
    assert all(set(each) == {"topic", "result", "what", "remedy"} for each in findings)


def test_a_problem_has_its_remedy_on_the_next_line(pcbench, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bad.py").write_text("class Bad(Method:\n", encoding="utf-8")
    done = pcbench("doctor", "--plugins", "mine")
    assert done.code == 1
    lines = done.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "problem" in line)
    assert "bad.py" in lines[at]
    assert "-> mend it, then 'pcbench check" in lines[at + 1]
    assert lines[-1].startswith("Problems: 1")
