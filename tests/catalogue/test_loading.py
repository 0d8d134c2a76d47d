"""A plugin imports the files beside it relatively; two folders, and the rest of Python, never meet."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from plugin_files import method, write

from pcbench.catalogue import open_catalogue
from pcbench.errors import UsageError

OWN = """
from pcbench.api import Method
class Mine(Method):
    name = "mine"
    def distill(self, task): yield
"""


def test_neighbours_are_imported_relatively(tmp_path: Path) -> None:
    write(tmp_path / "helper_plain.py", "from .helper_package.deep import VALUE\n")
    write(tmp_path / "helper_package" / "__init__.py", "")
    write(tmp_path / "helper_package" / "deep.py", "from .deeper import VALUE\n")
    write(tmp_path / "helper_package" / "deeper.py", "VALUE = 'right'\n")
    path = write(
        tmp_path / "mine.py",
        '''
        from dataclasses import dataclass
        from . import helper_plain as again
        from .helper_package import deep, deeper
        from pcbench.api import Method, MethodParams, param

        @dataclass(frozen=True)
        class State:
            value: "str" = deep.VALUE

        class Mine(Method):
            """Mine."""
            name = "mine"
            class Params(MethodParams):
                steps: "int" = param(3, "updates", source="ours")
            values = (again.VALUE, deeper.VALUE, State().value)
            def distill(self, task):
                yield
            def later(self):
                from . import helper_plain
                return helper_plain.VALUE
        ''',
    )
    before = (list(sys.path), list(sys.meta_path))
    loaded = open_catalogue([tmp_path]).methods.load("mine")
    assert loaded.values == ("right",) * 3
    mine = loaded(loaded.Params(steps=4))
    assert mine.params.steps == 4
    assert mine.later() == "right"
    assert (sys.path, sys.meta_path) == before
    assert not {"helper_plain", "helper_package"} & set(sys.modules)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("helper_plain")
    assert Path(sys.modules[loaded.__module__].__file__ or "") == path


@pytest.mark.parametrize(
    ("statement", "right"),
    [
        ("import helper", "from . import helper"),
        ("import torch, helper as h", "from . import helper"),
        ("from helper import x", "from .helper import x"),
        ("import package.inner", "from .package import inner"),
        ("from package.inner import x, y", "from .package.inner import x, y"),
    ],
)
def test_an_absolute_import_of_a_neighbour_is_refused(tmp_path: Path, statement: str, right: str) -> None:
    write(tmp_path / "helper.py", "x = 1\n")
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "inner.py", "x = y = 1\n")
    write(tmp_path / "mine.py", f"{statement}\n{OWN}")
    with pytest.raises(UsageError, match="is a file beside it") as caught:
        open_catalogue([tmp_path]).methods.load("mine")
    message = str(caught.value)
    assert f"write '{right}'" in message
    assert f"{tmp_path / 'mine.py'}:1" in message
    assert "\n" not in message


def test_an_absolute_import_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "x = 1\n")
    write(tmp_path / "package" / "__init__.py", "def f():\n    import helper\n")
    write(tmp_path / "mine.py", f"from . import package\n{OWN}")
    with pytest.raises(UsageError, match=r"write 'from \.\. import helper' \(.*package/__init__\.py:2\)"):
        open_catalogue([tmp_path]).methods.load("mine")


def test_a_plugin_may_be_called_like_the_package_that_it_wraps(tmp_path: Path) -> None:
    write(tmp_path / "numpy.py", f"import numpy\n{OWN}    one = numpy.float64(1)\n")
    assert open_catalogue([tmp_path]).methods.load("mine").one == 1


def test_neighbours_of_one_name_in_two_folders_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = type(sys)("shared_helper")
    monkeypatch.setitem(sys.modules, "shared_helper", outside)
    for side in ("left", "right"):
        write(tmp_path / side / "shared_helper.py", f"SIDE = '{side}'\n")
        path = method(tmp_path / side / "file.py", side)
        path.write_text(
            "from . import shared_helper\n" + path.read_text() + "    side = shared_helper.SIDE\n"
        )
    registry = open_catalogue([tmp_path / "left", tmp_path / "right"]).methods
    assert registry.load("left").side == "left"
    assert registry.load("right").side == "right"
    assert sys.modules["shared_helper"] is outside


def test_a_neighbour_does_not_shadow_the_standard_library(tmp_path: Path) -> None:
    write(tmp_path / "random.py", "raise RuntimeError('shadowed')\n")
    path = method(tmp_path / "mine.py", "mine")
    path.write_text("import random\n" + path.read_text() + "    number = random.random()\n")
    assert 0 <= open_catalogue([tmp_path]).methods.load("mine").number < 1


def test_a_plugin_may_derive_from_a_class_beside_it(tmp_path: Path) -> None:
    method(tmp_path / "parent.py", "parent", cls="Parent")
    write(
        tmp_path / "child.py",
        """
        from .parent import Parent
        class Child(Parent):
            name = "child"
        """,
    )
    assert open_catalogue([tmp_path]).methods.get("child").error is None
    assert open_catalogue([tmp_path]).methods.load("child").name == "child"


def test_a_file_that_changed_since_it_was_imported_is_imported_anew(tmp_path: Path) -> None:
    helper = write(tmp_path / "helper.py", "VALUE = 1\n")
    write(tmp_path / "mine.py", f"from .helper import VALUE\n{OWN}    value = VALUE\n")
    first = open_catalogue([tmp_path]).methods.load("mine")
    helper.write_text("# a comment changes nothing\nVALUE = 1\n")
    assert open_catalogue([tmp_path]).methods.load("mine") is first
    helper.write_text("VALUE = 10\n")
    second = open_catalogue([tmp_path]).methods.load("mine")
    assert (first.value, second.value) == (1, 10)
    assert open_catalogue([tmp_path]).methods.load("mine") is second


def test_plugins_of_a_folder_share_what_they_import(tmp_path: Path) -> None:
    write(tmp_path / "parent.py", OWN.replace("mine", "parent").replace("Mine", "Parent"))
    write(tmp_path / "child.py", "from .parent import Parent\nclass Child(Parent):\n    name = 'child'\n")
    methods = open_catalogue([tmp_path]).methods
    assert issubclass(methods.load("child"), methods.load("parent"))
