"""What a file says about its classes is read from its syntax tree, also where it cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from built_in import CATALOGUE
from plugin_files import write

from pcbench.catalogue import open_catalogue
from pcbench.catalogue.registry import redistributable

DATASET = """
    import nothing_of_this_name
    from pcbench.api import Dataset
    from .base import Free, Closed, WithWords
    from pcbench.datasets.importing import Imported

    class Mine({bases}):
        name = "mine"
        {body}
"""
BASE = """
    from pcbench.api import Dataset
    class Free(Dataset):
        redistributable = True
    class Closed(Dataset):
        redistributable: bool = False
    class WithWords(Dataset):
        '''Words of the base.

        More of them.
        '''
"""


@pytest.mark.parametrize(
    ("bases", "body", "free"),
    [
        ("Dataset", "", False),
        ("Dataset", "redistributable = True", True),
        ("Dataset", "redistributable: bool = True", True),
        ("Dataset", "redistributable: bool", False),
        ("Free", "", True),
        ("Free", "redistributable: bool", True),
        ("Free", "redistributable = False", False),
        ("Free, Closed", "", True),
        ("Closed, Free", "", False),
        ("Imported, Dataset", "", False),
    ],
)
def test_whether_clouds_may_be_passed_on_is_read(tmp_path: Path, bases: str, body: str, free: bool) -> None:
    write(tmp_path / "base.py", BASE)
    write(tmp_path / "mine.py", DATASET.format(bases=bases, body=body))
    registry = open_catalogue([tmp_path]).datasets
    assert "nothing_of_this_name" in str(registry.get("mine").error)
    assert redistributable("mine", registry) is free


@pytest.mark.parametrize(
    "body",
    [
        "redistributable = 1 > 0",
        "redistributable, other = True, 1",
        "redistributable = False; redistributable = True",
        "for redistributable in (True,): pass",
        "if True: redistributable = True",
        "def redistributable(self): return True",
        "import math as redistributable",
        "def other(self, value=(redistributable := True)): return value",
    ],
)
def test_what_only_running_tells_is_asked_of_the_class(tmp_path: Path, body: str) -> None:
    write(
        tmp_path / "mine.py",
        f"""
        from pcbench.api import Dataset
        class Mine(Dataset):
            variant, up_axis, classes, train_size, test_size = "all", "z", 2, 3, 4
            name = "mine"
            {body}
            def present(self): return True
            def how_to_get(self): return "nothing to do"
            def load(self, points): raise NotImplementedError
        """,
    )
    registry = open_catalogue([tmp_path]).datasets
    with pytest.raises(LookupError):
        registry.get("mine").literal("redistributable")
    assert redistributable("mine", registry) is (registry.load("mine").redistributable is True)


@pytest.mark.parametrize(
    "body",
    [
        "def other(self): redistributable = True",
        "other = [redistributable for redistributable in (True,)]",
        "class Other: redistributable = True",
        "other = lambda redistributable: redistributable",
    ],
)
def test_what_functions_and_classes_within_call_so_is_something_else(tmp_path: Path, body: str) -> None:
    write(tmp_path / "mine.py", DATASET.format(bases="Dataset", body=body))
    assert open_catalogue([tmp_path]).datasets.get("mine").literal("redistributable") is False


def test_an_unknown_data_set_may_not_be_passed_on() -> None:
    assert redistributable("nobody-has-it", CATALOGUE.datasets) is False


def test_what_is_read_is_what_the_classes_say() -> None:
    for plugin in CATALOGUE.methods.built_in():
        assert plugin.literal("whole") is plugin.load().whole, plugin.name
    for plugin in CATALOGUE.datasets.built_in():
        assert plugin.literal("redistributable") is plugin.load().redistributable, plugin.name
    for registry in CATALOGUE.registries().values():
        for plugin in registry.built_in():
            assert (
                plugin.docstring().splitlines()[0]
                == plugin.summary
                == str(plugin.load().__doc__).splitlines()[0]
            )


def test_nothing_heavy_is_imported_to_read_docstrings_and_terms() -> None:
    code = """
        import sys
        from pcbench.catalogue import open_catalogue
        from pcbench.catalogue.registry import redistributable
        catalogue = open_catalogue()
        assert redistributable("shapes10", catalogue.datasets)
        assert not redistributable("modelnet10", catalogue.datasets)
        assert all(p.docstring() for r in catalogue.registries().values() for p in r.built_in())
        assert all(p.source_hash() for r in catalogue.registries().values() for p in r.built_in())
        heavy = {"torch", "pydantic", "pandas", "numpy", "scipy", "h5py"} & set(sys.modules)
        assert not heavy, heavy
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", dedent(code)], check=True, env=environment)


def test_a_docstring_may_be_that_of_a_class_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "base.py", BASE)
    write(tmp_path / "mine.py", DATASET.format(bases="WithWords", body=""))
    plugin = open_catalogue([tmp_path]).datasets.get("mine")
    assert plugin.docstring() == "Words of the base.\n\nMore of them."
    assert plugin.summary == ""
