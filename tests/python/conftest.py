"""Runs from Python that the tests share: two that are finished, and one whose method fails."""

from __future__ import annotations

from pathlib import Path

import pytest

import pcbench
from pcbench import Outcomes, Progress

TINY = {"points": 16, "iterations": 2, "recipe.epochs": 1}
FAILING = '''"""A method that gives up."""

from pcbench.api import Method


class GivesUp(Method):
    """Gives up."""

    name = "gives_up"

    def distill(self, task):
        raise RuntimeError("the optimiser diverged")
'''


@pytest.fixture(scope="session")
def heard() -> list[Progress]:
    """What the callback of the shared runs was told."""
    return []


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, heard: list[Progress]) -> Outcomes:
    """random, sadm and a method that fails, in a folder `results`."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "mine").mkdir()
    (folder / "mine" / "gives_up.py").write_text(FAILING)
    return pcbench.run(
        method=["random", "sadm", "gives_up"],
        ppc=1,
        settings=TINY,
        seeds=2,
        out=folder / "results",
        plugins=folder / "mine",
        on_progress=heard.append,
    )


@pytest.fixture(scope="session")
def results_folder(ran: Outcomes) -> Path:
    """Where their records stand."""
    return ran[0].run.folder.parent
