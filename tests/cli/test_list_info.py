"""`pcbench list` and `pcbench info`: what they print, as tables and as JSON, on any width."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from pcbench.catalogue.describe import type_text
from pcbench.cli.info import info
from pcbench.cli.list import list_
from pcbench.errors import UsageError

PLUGIN = '''
from pcbench.api import Method, MethodParams, param


class Mine(Method):
    """Mine [red]in brackets[/red].

    The second paragraph.
    """

    name = "a-name-that-is-long-enough-to-be-cut-by-a-narrow-table"

    class Params(MethodParams):
        weight: float | None = param(0.5, "how much", unit="clouds", source="Eq. 3", gt=0, le=2)

    def distill(self, task):
        yield
'''
LONG = "a-name-that-is-long-enough-to-be-cut-by-a-narrow-table"

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.delenv("PCBENCH_PLUGINS", raising=False)
    app = typer.Typer()
    app.command("list")(list_)
    app.command("info")(info)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "broken.py").write_text("import no_such_module\n" + PLUGIN.replace(LONG, "broken-one"))
    return str(tmp_path)


def test_list_shows_names_summaries_origins_and_reasons(call: Call, folder: str) -> None:
    result = call("list", "methods", "--plugins", folder)
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "random" in lines
    assert "Mine [red]in brackets[/red]." in lines[LONG]
    assert f"{folder}/mine.py:5" in lines[LONG]
    assert "broken: ModuleNotFoundError: No module named 'no_such_module'" in lines["broken-one"]
    assert "\x1b" not in result.stdout


def test_list_json_is_one_document(call: Call, folder: str) -> None:
    Path(folder, "loud.py").write_text("print('noise')\n" + PLUGIN.replace(LONG, "loud"))
    entries = json.loads(call("list", "methods", "--plugins", folder, "--json").stdout)
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name[LONG] == {
        "name": LONG,
        "summary": "Mine [red]in brackets[/red].",
        "origin": f"{folder}/mine.py:5",
        "error": None,
    }
    assert "no_such_module" in by_name["broken-one"]["error"]
    assert [entry["name"] for entry in entries] == sorted(by_name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("methods", "sadm"), ("backbones", "pointnet"), ("datasets", "shapes10"), ("protocols", "paper")],
)
def test_every_kind_can_be_listed(call: Call, kind: str, name: str) -> None:
    assert name in [entry["name"] for entry in json.loads(call("list", kind, "--json").stdout)]
    assert name in call("list", kind).stdout


def test_an_unknown_kind_is_a_usage_error(call: Call) -> None:
    assert call("list", "metods").exit_code == 2


@pytest.mark.parametrize("width", ["20", "40", "200"])
def test_a_terminal_of_any_width_shows_whole_names(
    call: Call, folder: str, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = call("list", "methods", "--plugins", folder)
    assert LONG in result.stdout
    assert "\x1b[31m" in result.stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in call("list", "methods", "--plugins", folder).stdout


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from pcbench.cli.list import Listed, list_; "
        "list_(Listed.methods); list_(Listed.backbones); list_(Listed.datasets); list_(Listed.protocols); "
        "assert not {'torch', 'numpy', 'pandas', 'scipy'} & set(sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PCBENCH_PLUGINS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)


def test_info_on_a_method(call: Call, folder: str) -> None:
    entry = json.loads(call("info", LONG, "--plugins", folder, "--json").stdout)["method"]
    assert entry["docstring"] == "Mine [red]in brackets[/red].\n\nThe second paragraph."
    assert entry["origin"] == f"{folder}/mine.py:5"
    assert entry["parameters"] == [
        {
            "name": "weight",
            "default": 0.5,
            "type": "float | none",
            "unit": "clouds",
            "limits": {"gt": 0, "le": 2},
            "source": "Eq. 3",
            "description": "how much",
        }
    ]
    text = call("info", LONG, "--plugins", folder).stdout
    for part in (LONG, "The second paragraph.", "weight", "> 0, ≤ 2", "Eq. 3", "float | none", "how much"):
        assert part in text


def test_info_on_a_backbone_counts_its_parameters(call: Call) -> None:
    presets = json.loads(call("info", "pointnet", "--json").stdout)["backbone"]["presets"]
    counts = {preset["name"]: preset["parameters_by_classes"] for preset in presets}
    classes = (10, 15, 40, 55)
    assert counts["paper"] == {str(k): 1_603_849 + 257 * k for k in classes}
    assert counts["canonical"] == {str(k): 3_461_193 + 257 * k for k in classes}
    assert "1614129" in call("info", "pointnet").stdout


def test_info_on_a_data_set(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path))
    entry = json.loads(call("info", "modelnet10", "--json").stdout)["dataset"]
    assert (entry["classes"], entry["training_clouds"], entry["test_clouds"]) == (10, 3991, 908)
    assert (entry["up_axis"], entry["present"]) == ("y", False)
    assert "pcbench data import" in entry["how_to_get"]
    text = call("info", "modelnet10").stdout
    assert "3991" in text
    assert "pcbench data import" in text


def test_info_on_a_protocol(call: Call) -> None:
    from pcbench.protocols.protocol import PAPER

    assert json.loads(call("info", "paper", "--json").stdout) == {"protocol": PAPER.model_dump(mode="json")}
    assert "epochs=501" in call("info", "paper").stdout


def test_info_on_the_unknown_and_the_broken(call: Call, folder: str) -> None:
    unknown = call("info", "pointnett").exception
    assert isinstance(unknown, UsageError)
    assert str(unknown).startswith("nothing is called 'pointnett'. Did you mean pointnet or ")
    broken = call("info", "broken-one", "--plugins", folder).exception
    assert isinstance(broken, UsageError)
    assert "No module named 'no_such_module'" in str(broken)


def test_types_read_well() -> None:
    assert type_text(float) == "float"
    assert type_text(Literal["a", "b"] | None) == "a | b | none"
    assert type_text(tuple[int, ...]) == "tuple[int, ...]"
