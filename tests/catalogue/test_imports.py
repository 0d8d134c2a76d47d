"""What a plugin takes of pcbench beside its public face is told from its source."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_in import CATALOGUE

from pcbench.catalogue.imports import undeclared_imports
from pcbench.catalogue.neighbours import Sources

ROUTES = {
    "import pcbench.engine": "imports pcbench.engine",
    "import pcbench": "imports pcbench",
    "from pcbench import students": "imports pcbench.students",
    "def f():\n    from pcbench.datasets.shapes import Shapes10": "imports pcbench.datasets.shapes",
    "import importlib\nimportlib.import_module('pcbench.engine.guard')": "imports pcbench.engine.guard",
    "from importlib import import_module\nimport_module(name='pcbench.students')": "imports pcbench.students",
    "__import__('pcbench')": "imports pcbench",
}


def told(folder: Path, source: str) -> list[str]:
    path = folder / "mine.py"
    path.write_text(source)
    return undeclared_imports(Sources(), [path])


@pytest.mark.parametrize("source", ROUTES)
def test_what_goes_past_the_public_face_is_told_with_its_line(tmp_path, source):
    last = source.count("\n") + 1
    assert told(tmp_path, source) == [f"{tmp_path / 'mine.py'}:{last} {ROUTES[source]}"]


@pytest.mark.parametrize(
    "source",
    [
        "from pcbench import api, ops",
        "import pcbench.api\nfrom pcbench.ops.layers import Linear",
        "import importlib\nimportlib.import_module('scipy.spatial')",
        "from . import _helper\nimport torch\ntorch.nn.Linear(1, 2).modules()",
    ],
)
def test_the_public_face_and_other_packages_are_free(tmp_path, source):
    assert told(tmp_path, source) == []


def test_no_built_in_plugin_goes_past_it():
    for registry in (CATALOGUE.methods, CATALOGUE.backbones):
        for plugin in registry.built_in():
            assert undeclared_imports(plugin.sources, plugin.source_files()) == []
