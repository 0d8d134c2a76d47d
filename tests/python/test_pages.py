"""The code that docs/python.md, the README and the example notebook show works, block by block.

The protocols are tiny ones of the same names, and everything is done in an empty folder.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pcbench.protocols.protocol import PROTOCOLS, Recipe

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of the pages, made small, in a folder of one's own."""
    tiny = {
        "points": 16,
        "iterations": 2,
        "snapshot_every": 1,
        "students": 2,
        "recipe": Recipe(epochs=1, drop_after=0, batch=64),
    }
    monkeypatch.setitem(PROTOCOLS, "quick", PROTOCOLS["quick"].model_copy(update=tiny))
    monkeypatch.chdir(tmp_path)


def worked_through(blocks: list[str], name: str) -> dict:
    """Work through blocks of code one after another; the names that they leave."""
    names: dict = {"__name__": "__main__"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{name}, block {number}", "exec"), names)
    return names


def blocks_of(page: Path, about: str) -> list[str]:
    """The Python blocks of a page that speak of `about`."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if about in block]


def test_the_blocks_of_the_page_work_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "python.md"
    names = worked_through(blocks_of(page, ""), page.name)
    out = capsys.readouterr().out
    assert "unknown method 'sadmm'. Did you mean sadm" in out
    assert "[1/1] random on shapes10, PPC 1: done" in out
    assert names["last"].points.shape == (10, 16, 3)
    assert {"mean", "std"} == set(names["table"].columns)


def test_the_block_of_the_readme_works() -> None:
    names = worked_through(blocks_of(ROOT / "README.md", "import pcbench\n"), "README.md")
    assert [each.iteration for each in names["clouds"]] == [0, 1, 2]
    assert set(names["scores"]["method"]) == {"random", "sadm"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_work_in_their_order(
    notebook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in code)  # figures of some machine would look like results
    names = worked_through(["".join(cell["source"]) for cell in code], notebook.name)
    assert len(names["curve"]) == 3
    assert "points moved by" in capsys.readouterr().out


def test_every_column_of_the_page_is_one_of_the_frame() -> None:
    from pcbench.python.frames import COLUMNS

    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text.partition("| column |")[2].partition("\n\n")[0], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    assert named == COLUMNS
