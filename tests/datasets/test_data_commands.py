"""`pcbench data import` and `pcbench data list`."""

import json
import subprocess
import sys

import pytest
from built_in import CATALOGUE
from typer.testing import CliRunner

from pcbench.catalogue import open_catalogue
from pcbench.cli.data import app
from pcbench.datasets import listing, store
from pcbench.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def own_data(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


class Imported:
    """Stands in for the work of an import, which has its own tests."""

    def __init__(self, monkeypatch, name):
        self.source = None
        monkeypatch.setattr(CATALOGUE.datasets.load(name), "import_from", self.import_from)

    def import_from(self, source, progress, options):
        self.source, self.options = source, options
        progress(3, 7)
        return store.Manifest(
            name="modelnet40",
            variant="x",
            class_names=("a", "b"),
            train=5,
            test=2,
            points=1024,
            sources=(),
            content_hash="0" * 64,
        )


def test_import_says_what_it_did(monkeypatch, tmp_path):
    done = Imported(monkeypatch, "modelnet40")
    result = call("import", "modelnet40", tmp_path)
    assert done.source == tmp_path
    assert result.exit_code == 0
    assert result.stdout == (
        f"imported modelnet40: 5 training and 2 test clouds of 1024 points, in {tmp_path / 'data'}\n"
        f"content hash {'0' * 64}, sampling kept\n"
        "no two clouds are identical\n"
    )
    assert "3/7" in result.stderr


def test_import_of_a_part_says_what_was_imported(monkeypatch, tmp_path):
    Imported(monkeypatch, "modelnet10")
    result = call("import", "modelnet10", tmp_path)
    assert result.stdout.startswith("imported modelnet40, which modelnet10 is a part of: ")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("modelnet40", DataError, "is no folder"),
        ("modelnet44", UsageError, "Did you mean modelnet40"),
        ("shapes10", UsageError, "shapes10 is not imported"),
    ],
)
def test_import_refuses(tmp_path, name, error, words):
    result = call("import", name, tmp_path / "nothing")
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


def test_list_as_json():
    result = call("list", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {"shapes10", "shapes10_rotated", "modelnet10", "modelnet40"} <= rows.keys()
    assert rows["shapes10"]["present"]
    assert rows["modelnet10"] == {
        "name": "modelnet10",
        "variant": "ten classes of modelnet40",
        "classes": 10,
        "train": 3991,
        "test": 908,
        "at_most": False,
        "up_axis": "y",
        "present": False,
        "state": "absent",
        "how_to_get": rows["modelnet40"]["how_to_get"],
        "error": None,
    }
    assert "pcbench data import modelnet40 PATH" in rows["modelnet40"]["how_to_get"]


def test_list_as_a_table():
    lines = call("list").stdout.splitlines()
    assert lines[0].split() == ["name", "variant", "classes", "train", "test", "up", "state"]
    row = next(line for line in lines if line.startswith("modelnet40"))
    assert "40       9843" in row
    (variant,) = (line for line in lines if line.startswith("scanobjectnn:pb_t25 "))
    assert "≤ 11545  ≤ 2905" in variant
    (unnamed,) = (line for line in lines if line.startswith("folder "))
    assert unnamed.split()[:4] == ["folder", "your", "own", "none"]
    assert (
        "absent: run 'pcbench data fetch modelnet40' or, where you have a copy, 'pcbench data import" in row
    )
    assert next(line for line in lines if line.startswith("shapes10 ")).rstrip().endswith("present")


def test_list_shows_a_broken_plugin_with_its_reason(tmp_path):
    (tmp_path / "bad.py").write_text(
        "from pcbench.api import Dataset\nimport nothing_of_this_name\n"
        'class Bad(Dataset):\n    name = "bad"\n'
    )
    found = {row.name: row for row in listing(open_catalogue([tmp_path]).datasets)}
    assert "nothing_of_this_name" in found["bad"].error
    assert found["shapes10"].error is None
    result = call("list", "--plugins", tmp_path)
    assert result.exit_code == 0
    assert "nothing_of_this_name" in result.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; import pcbench.cli.data;"
        "print([name for name in ('torch', 'h5py', 'numpy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
