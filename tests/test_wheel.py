"""The wheel carries everything: in an empty environment, far from the checkout, it lists and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from built_in import CATALOGUE

ROOT = Path(__file__).parents[1]


def call(*words: str | Path, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_in_an_empty_environment_lists_methods_and_runs(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PCBENCH"))}
    call(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path, env=env)
    (wheel,) = (tmp_path / "dist").glob("pcbench-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # Of ten thousand files of torch some hundreds are imported: these are compiled then.
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
    call(*pip, "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path, env=env)
    pcbench = tmp_path / "env" / "bin" / "pcbench"
    away = tmp_path / "away"
    away.mkdir()

    listed = json.loads(call(pcbench, "list", "methods", "--json", cwd=away, env=env))
    assert [plugin["name"] for plugin in listed] == [each.name for each in CATALOGUE.methods.built_in()]
    assert all(str(tmp_path / "env") in plugin["origin"] for plugin in listed)

    suites = json.loads(call(pcbench, "list", "suites", "--json", cwd=away, env=env))
    assert len(suites) == len(list((ROOT / "leaderboard" / "suites").glob("*.toml")))
    recipes = json.loads(call(pcbench, "list", "recipes", "--json", cwd=away, env=env))
    assert len(recipes) == len(list((ROOT / "leaderboard" / "recipes").glob("*.toml")))
    count = "from pcbench.report import papers; print(len(papers.tables()))"
    assert int(call(python, "-c", count, cwd=away, env=env)) == len(
        list((ROOT / "leaderboard" / "reported").glob("*.toml"))
    )
    assert len(json.loads(call(pcbench, "docs", "--json", cwd=away, env=env))) == 1 + len(
        list((ROOT / "docs").glob("*.md"))
    )
    for kind in ("method", "backbone", "dataset"):
        call(pcbench, "new", kind, f"my_{kind}", cwd=away, env=env)
        call(pcbench, "check", f"my_{kind}.py", cwd=away, env=env)
    typed = "from importlib.resources import files; print((files('pcbench') / 'py.typed').is_file())"
    assert call(python, "-c", typed, cwd=away, env=env) == "True\n"
    lineage = "from pcbench.catalogue import lineage; print(lineage.path()); lineage.read(lineage.path())"
    assert str(tmp_path / "env") in call(python, "-c", lineage, cwd=away, env=env)

    tiny = ("--set", "points=16", "--set", "iterations=1", "--set", "recipe.epochs=1", "--seeds", "1")
    call(pcbench, "run", *tiny, cwd=away, env=env)
    call(pcbench, "leaderboard", "build", cwd=away, env=env)
    assert "sadm" in (away / "site" / "leaderboard.md").read_text(encoding="utf-8")
    (record,) = (away / "results").glob("sadm-*/distillation.json")
    assert json.loads(record.read_text(encoding="utf-8"))["provenance"]["git_commit"] is None
