"""`import pcbench` costs next to nothing, and has every name that it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pcbench

SCRIPT = """
import sys, time

begun = time.process_time()
import pcbench

print(time.process_time() - begun, *sys.modules)
print(len(pcbench.results(sys.argv[1])), "torch" in sys.modules)
"""
PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "results"
HEAVY = {"torch", "pandas", "numpy", "scipy", "pydantic", "h5py", "rich", "typer"}


def test_nothing_heavy_is_imported_with_the_package_and_no_torch_for_results() -> None:
    env = os.environ | {"PYTHONPATH": str(Path(pcbench.__file__).parents[1])}
    words = [sys.executable, "-c", SCRIPT, str(PUBLISHED)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    imported, results = done.stdout.splitlines()
    seconds, *modules = imported.split()
    assert not HEAVY & set(modules)
    assert [name for name in modules if name.startswith("pcbench")] == ["pcbench"]
    assert float(seconds) < 0.3  # of the processor: others may be at work on this machine
    rows, torch = results.split()
    assert int(rows) > 0
    assert torch == "False"


def test_every_name_is_there_and_is_documented() -> None:
    for name in pcbench.__all__:
        assert name in dir(pcbench)
        value = getattr(pcbench, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="'pcbench' has no attribute 'ran'"):
        _ = pcbench.ran
