"""Records are checked, and a site is built, where torch is not installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pcbench.records.store import read_runs
from pcbench.report.methods import UNKNOWN_PARAMETERS
from pcbench.report.viewer import WITHOUT_TORCH

LEADERBOARD = Path(__file__).parents[2] / "leaderboard"
RESULTS = LEADERBOARD / "results"
NO_CLOUDS = shutil.ignore_patterns("*.h5")
"""Clouds can only be checked with torch."""
WITHOUT = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
COMMAND = """
import sys
from pcbench.cli.main import main
sys.argv = ["pcbench", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def ran(prelude: str, *words: object) -> tuple[int, str, list[str], bool]:
    """Exit code, output, lines of errors, and whether torch was imported, of a command in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", prelude + COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    *errors, imported = done.stderr.splitlines()
    return done.returncode, done.stdout, errors, imported == "True"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The site of the published records, built without torch, and what the command warned of."""
    out = tmp_path_factory.mktemp("without") / "site"
    code, _, errors, imported = ran(WITHOUT, "leaderboard", "build", "--results", RESULTS, "--out", out)
    assert (code, imported) == (0, False), errors
    return out, [line for line in errors if line.startswith("warning")]


def test_the_table_is_the_same_and_one_line_says_what_is_missing(site: tuple[Path, list[str]]) -> None:
    out, warnings = site
    assert (out / "leaderboard.md").read_bytes() == (LEADERBOARD / "leaderboard.md").read_bytes()
    assert warnings == [f"warning: {WITHOUT_TORCH}"]


def test_methods_say_what_they_are_by_their_source(site: tuple[Path, list[str]]) -> None:
    text = (site[0] / "methods" / "sadm.html").read_text()
    assert "Semantically aligned distribution matching" in text
    assert "@misc{" in text
    assert UNKNOWN_PARAMETERS in text.replace("&#39;", "'")
    assert 'id="parameters"' not in text


def test_published_records_are_checked(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "records", ignore=NO_CLOUDS)
    code, out, errors, imported = ran(WITHOUT, "results", "validate", tmp_path / "records")
    assert (code, imported) == (0, False), (out, errors)
    table = LEADERBOARD / "leaderboard.md"
    code, out, errors, imported = ran(WITHOUT, "leaderboard", "check", "--results", RESULTS, "--table", table)
    assert (code, imported) == (0, False), (out, errors)


def test_clouds_are_not_taken_for_checked(tmp_path: Path) -> None:
    from submissions import a_run

    a_run(tmp_path)
    code, _, errors, _ = ran(WITHOUT, "results", "validate", tmp_path)
    assert code == 2
    assert errors[-1].endswith("clouds.h5 cannot be checked without torch: install it")


def test_torch_is_not_imported_where_it_is_not_needed(tmp_path: Path) -> None:
    """Also where it is installed: importing it takes seconds.

    Parameters that are no defaults need it, and data that are made, which records are compared with.
    """
    for run in read_runs(RESULTS)[0]:
        inputs = run.distillation.inputs
        if not inputs.variation and inputs.data.name == "modelnet10":
            shutil.copytree(run.folder, tmp_path / run.folder.name, ignore=NO_CLOUDS)
    assert len(list(tmp_path.iterdir())) > 20
    for words in (
        ("results", "validate", tmp_path),
        ("leaderboard", "check", "--results", RESULTS, "--table", LEADERBOARD / "leaderboard.md"),
    ):
        code, out, errors, imported = ran("", *words)
        assert (code, imported) == (0, False), (out, errors)


def test_the_report_and_the_records_import_nothing_heavy() -> None:
    rooms = "records.store", "report.site", "report.check", "submission.validate"
    code = f"import sys\n{''.join(f'import pcbench.{room}{chr(10)}' for room in rooms)}print(*sys.modules)"
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True)
    heavy = {"torch", "h5py", "pandas", "trimesh", "PIL", "scipy.stats"}
    assert heavy & set(done.stdout.split()) == set()
