"""What contributors read and fill in: files that are named exist, commands work, versions agree."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from printed import commands, parse
from ruamel.yaml import YAML

import pcbench
from pcbench.cli.commands import EXAMPLES

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name
    for name in ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "AGENTS.md", "CHANGELOG.md")
]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
REQUEST = ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md"
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
OWN = {"mine", "my_methods", "submissions", "build"}
"""Folders that a contributor's commands make."""


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def tracked() -> list[str]:
    """The files of the checkout, or of the archive that the tests stand in."""
    folders = ("pcbench", "methods", "backbones", "leaderboard/static")
    return [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ] + ["CITATION.cff"]


@pytest.mark.parametrize("page", [*PAGES, *FORMS, REQUEST], ids=lambda path: path.name)
def test_commands_and_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    verbs = {example.split()[0] for example in EXAMPLES}
    assert set(re.findall(r"[`']pcbench ([a-z][a-z-]*)", text)) <= verbs
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= TARGETS
    links = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", text)
    paths = re.findall(r"`((?:[\w.]+/)+[\w.-]*|[A-Z_]+\.md|\.ci/\w+)(?: \w+)?`", text)
    for name in {*links, *paths}:
        if name.split("/")[0] not in OWN:
            assert (ROOT / name).exists(), f"{page.name} names {name}"
    for page_name in re.findall(r"pcbench docs (\w+)", text):
        assert (ROOT / "docs" / f"{page_name}.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_of_a_block_are_targets_or_can_be_parsed(page: Path) -> None:
    for line in commands(page):
        program, *words = shlex.split(line)
        assert program in ("make", "pcbench"), line
        if program == "make":
            assert words[0] in TARGETS
        else:
            parse(words)


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form.name != "config.yml"], ids=lambda path: path.stem
)
def test_an_issue_form_asks_each_thing_once_and_requires_something(form: Path) -> None:
    content = loaded(form)
    assert set(content) == {"name", "description", "labels", "body"}
    names = [field["id"] for field in content["body"]]
    assert len(set(names)) == len(names) > 2
    for field in content["body"]:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]
        assert bool(field["attributes"].get("options")) == (field["type"] in ("dropdown", "checkboxes"))
    assert any(field.get("validations", {}).get("required") for field in content["body"])


def test_there_is_a_form_for_each_reason_to_write() -> None:
    assert [form.stem for form in FORMS] == ["bug", "config", "dataset", "method", "reproduction"]
    (link,) = loaded(ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")["contact_links"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert link["url"].startswith(project["urls"]["Repository"] + "/")


def test_pre_commit_runs_the_linters_of_make_check() -> None:
    (repository,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    checks = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    files = tracked()
    tools = [hook["entry"].split()[0] for hook in repository["hooks"]]
    assert sorted(set(tools)) == sorted(set(re.findall(r"\$\(BIN\)/([a-z-]+)", checks)))
    for hook in repository["hooks"]:
        assert shutil.which(hook["entry"].split()[0], path=str(Path(sys.executable).parent))
        if "files" in hook:
            assert any(re.search(hook["files"], name) for name in files), hook["id"]


def test_the_linter_of_scripts_finds_a_name_that_is_nowhere(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text('"use strict";\ndocument.title = tilte;\n', encoding="utf-8")
    linter = Path(sys.executable).parent / "oxlint"
    done = subprocess.run(
        [linter, "--deny-warnings", "-c", ROOT / ".oxlintrc.json", script], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no-undef" in done.stdout


def test_the_type_check_of_scripts_finds_what_an_element_does_not_have(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(
        '"use strict";\nconst bar = document.createElement("p");\nbar.vlaue = 1;\n', encoding="utf-8"
    )
    check = [Path(sys.executable).parent / "deno", "check", "--quiet", "--no-remote", "--no-npm"]
    done = subprocess.run(
        [*check, "--config", ROOT / "deno.json", script],
        capture_output=True,
        text=True,
        env={"NO_COLOR": "1"},
    )
    assert done.returncode == 1
    assert "vlaue" in done.stderr


def test_version_and_date_of_a_release_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = loaded(ROOT / "CITATION.cff")
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings[0] in ("Unreleased", released[0])
    assert released[0] == f"{pcbench.__version__}, {citation['date-released']}"
    assert project["version"] == citation["version"] == pcbench.__version__


def test_the_page_for_assistants_is_one_screen() -> None:
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 50
