"""Workflows keep what they promise: pinned actions, least permissions, no secret for contributors."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).parent.parent / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return loaded


def test_there_is_a_workflow_for_each_purpose() -> None:
    names = ["audit.yml", "publish.yml", "release.yml", "submission.yml", "test.yml"]
    assert [path.name for path in FILES] == names


def test_dependencies_are_audited_by_the_calendar_and_whoever_builds_is_pinned() -> None:
    audit = read(FOLDER / "audit.yml")
    assert "schedule" in audit["on"]
    assert any("pip-audit" in step.get("run", "") for step in audit["jobs"]["audit"]["steps"])
    bot = read(FOLDER.parent / "dependabot.yml")
    assert {each["package-ecosystem"] for each in bot["updates"]} == {"pip", "github-actions"}
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    (builder,) = project["build-system"]["requires"]
    assert builder in (FOLDER.parents[1] / "constraints.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned_and_permissions_are_granted_by_job(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert set(job["permissions"]) <= {"contents", "pages", "id-token"}
        writes = (path.stem, name) == ("release", "release")
        assert job["permissions"].get("contents", "read") == ("write" if writes else "read")
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # What a contributor can name never becomes a part of a script.
            assert "${{" not in step.get("run", "")
    text = path.read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "pull_request_target" not in text


def test_pull_requests_may_only_read() -> None:
    started = [path for path in FILES if "pull_request" in read(path)["on"]]
    assert [path.stem for path in started] == ["submission", "test"]
    for path in started:
        assert all(job["permissions"] == {"contents": "read"} for job in read(path)["jobs"].values())


def test_every_promised_python_is_tested_with_the_newest_packages_and_the_lowest_ones_once() -> None:
    jobs = read(FOLDER / "test.yml")["jobs"]
    assert [step["run"] for step in jobs["all"]["steps"] if "run" in step][-1] == ".ci/run"
    versions = jobs["versions"]
    assert versions["steps"][-1]["run"] == '.ci/versions "$PACKAGES"'
    cells = {(each["packages"], each["python"]) for each in versions["strategy"]["matrix"]["include"]}
    readme = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    promised = re.findall(r"3\.\d\d", re.search(r"# Python (3\.[^;]+);", readme)[1])
    assert {python for packages, python in cells if packages == "newest"} == set(promised)
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ("lowest", project["requires-python"].removeprefix(">=")) in cells


def test_a_release_is_started_by_hand_and_the_job_that_writes_runs_no_code_of_the_repository() -> None:
    workflow = read(FOLDER / "release.yml")
    assert list(workflow["on"]) == ["workflow_dispatch"]
    build, release = workflow["jobs"]["build"], workflow["jobs"]["release"]
    assert build["if"] == "github.ref == 'refs/heads/main'"
    assert build["permissions"] == {"contents": "read"}
    assert [step["uses"].split("@")[0] for step in release["steps"] if "uses" in step] == [
        "actions/download-artifact"
    ]
    (script,) = (step["run"] for step in release["steps"] if "run" in step)
    assert not re.search(r"\b(python|pip|make|bash|sh)\b", script)


def test_only_main_publishes_and_the_job_that_may_runs_no_code_of_the_repository() -> None:
    workflow = read(FOLDER / "publish.yml")
    assert workflow["on"]["push"]["branches"] == ["main"]
    assert "pull_request" not in workflow["on"]
    build, deploy = workflow["jobs"]["build"], workflow["jobs"]["deploy"]
    assert build["permissions"] == {"contents": "read"}
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}
    assert [step["uses"].split("@")[0] for step in deploy["steps"]] == ["actions/deploy-pages"]
