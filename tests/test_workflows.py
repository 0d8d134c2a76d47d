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


def test_there_are_workflows_to_validate_to_publish_and_to_audit() -> None:
    assert [path.name for path in FILES] == ["audit.yml", "publish.yml", "submission.yml"]


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
    for job in workflow["jobs"].values():
        assert set(job["permissions"]) <= {"contents", "pages", "id-token"}
        assert job["permissions"].get("contents", "read") == "read"
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
    workflow = read(FOLDER / "submission.yml")
    assert list(workflow["on"]) == ["pull_request"]
    assert [job["permissions"] for job in workflow["jobs"].values()] == [{"contents": "read"}]


def test_only_main_publishes_and_the_job_that_may_runs_no_code_of_the_repository() -> None:
    workflow = read(FOLDER / "publish.yml")
    assert workflow["on"]["push"]["branches"] == ["main"]
    assert "pull_request" not in workflow["on"]
    build, deploy = workflow["jobs"]["build"], workflow["jobs"]["deploy"]
    assert build["permissions"] == {"contents": "read"}
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}
    assert [step["uses"].split("@")[0] for step in deploy["steps"]] == ["actions/deploy-pages"]
