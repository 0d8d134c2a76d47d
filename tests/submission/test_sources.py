"""What a submission's methods and networks say by their source is held against its records; none is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from built_in import CATALOGUE
from submissions import Submission, a_run, source

from pcbench.catalogue import lineage, open_catalogue
from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import Run
from pcbench.records.store import read_run, write_record
from pcbench.submission.submit import submit
from pcbench.submission.validate import validate

HEAD = "from pcbench.api import Method, MethodParams, Snapshot, param\n"
BODY = "    def distill(self, task):\n        return\n"
PARAMS = (
    "    class Params(MethodParams):\n"
    "        lr: float = param(10.0, 'a rate', source='x')\n"
    "        words: tuple[int, ...] = param((1, 2), 'two', source='x')\n"
    "        made: float = param(2 * 3.0, 'computed', source='x')\n\n"
)


def a_method(name: str = "mine", inside: str = "", before: str = "", after: str = "") -> str:
    top = f"{HEAD}{before}\n\nclass Mine(Method):\n    '''A method.'''\n\n    name = {name!r}\n"
    return f"{top}{inside}\n{BODY}{after}"


def submitted(
    folder: Path, text: str, params: dict[str, Any], variation: dict[str, Any], **changes: Any
) -> Submission:
    """A submission of a run by the method in `text`; changes: of the record's inputs. DataError as submit."""
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / "mine.py").write_text(text)
    catalogue = open_catalogue([folder / "mine"])
    origin = catalogue.methods.get("mine").source_hash()
    run = a_run(folder / "results", method="mine", origin=origin, variation=variation)
    run = with_inputs(run, params=params, **changes)
    submit(catalogue, [run], folder / "submission", "MIT")
    return Submission(folder / "submission")


def with_inputs(run: Run, **changes: Any) -> Run:
    """The same run with other inputs of its distillation, and all that follows."""
    inputs = run.distillation.inputs.model_copy(update=changes)
    inputs = DistillationInputs.model_validate(inputs.model_dump())
    made = run.distillation.model_copy(update={"inputs": inputs, "key": inputs.key})
    (scored,) = run.evaluations
    asked = scored.inputs.model_copy(update={"distillation": inputs.key})
    scored = scored.model_copy(update={"inputs": asked, "key": asked.key})
    folder = layout.run_folder(run.folder.parent, inputs)
    for path in run.folder.glob("*.json"):
        path.unlink()
    run.folder.rename(folder)
    write_record(layout.distillation(folder), made)
    write_record(layout.evaluation(folder, scored.key), scored)
    return read_run(folder)[0]


ALL = {"lr": 10.0, "words": [1, 2], "made": 6.0}


def test_parameters_are_those_that_the_source_writes_out(tmp_path):
    given = submitted(tmp_path, a_method(inside=PARAMS), ALL, {})
    assert validate(CATALOGUE, given.folder) == []


@pytest.mark.parametrize(
    ("params", "variation"),
    [
        ({}, {}),
        ({**ALL, "more": 1}, {}),
        ({**ALL, "lr": 5.0}, {}),
        ({**ALL, "words": [1, 3]}, {}),
        (ALL, {"lr": 10.0}),
        (ALL, {"lr": 5.0}),
    ],
)
def test_other_parameters_are_told(tmp_path, params, variation):
    with pytest.raises(DataError, match="wrong-parameters"):
        submitted(tmp_path, a_method(inside=PARAMS), params, variation)


@pytest.mark.parametrize(
    ("params", "variation"),
    [({**ALL, "lr": 5.0}, {"lr": 5.0}), ({**ALL, "made": 7.0}, {}), ({**ALL, "made": 7.0}, {"made": 7.0})],
)
def test_departures_are_named_and_computed_defaults_are_claimed(tmp_path, params, variation):
    given = submitted(tmp_path, a_method(inside=PARAMS), params, variation)
    assert validate(CATALOGUE, given.folder) == []


def test_a_method_that_gives_the_whole_split_says_so(tmp_path):
    with pytest.raises(DataError, match="by a method that gives the whole split"):
        submitted(tmp_path, a_method(inside="    whole = True\n"), {}, {})


ROUTES = {
    "import pcbench.datasets.shapes": "imports pcbench.datasets.shapes",
    "import importlib\nimportlib.import_module('pcbench.datasets')": "imports pcbench.datasets",
    "from pcbench import datasets": "imports pcbench.datasets",
}


@pytest.mark.parametrize("route", ROUTES)
def test_what_goes_past_the_public_face_is_refused_by_submit_and_validate(tmp_path, route):
    with pytest.raises(DataError, match=r"undeclared-import: plugins/methods/mine") as told:
        submitted(tmp_path, a_method(before=route), {}, {})
    assert ROUTES[route] in str(told.value)
    given = submitted(tmp_path, a_method(), {}, {})
    (plugin,) = given.manifest()["plugins"]
    file = given.folder / plugin["entry"]
    file.write_text(a_method(before=route))
    given.reseal()
    found = {each.code for each in validate(CATALOGUE, given.folder)}
    assert "altered-plugin" in found  # the record names the source that was there before


def test_a_source_that_defines_another_method_is_none(tmp_path):
    given = submitted(tmp_path, a_method(), {}, {})
    data = given.manifest()
    for text in (a_method(name="other"), "NAME = 'mine'\n", a_method().replace("(Method)", "")):
        file = given.folder / data["plugins"][0]["entry"]
        file.write_text(text)
        given.reseal()
        assert {each.code for each in validate(CATALOGUE, given.folder)} >= {
            "altered-plugin",
            "missing-plugin",
        }


def test_a_file_among_the_sources_that_no_plugin_names_is_told(tmp_path):
    given = submitted(tmp_path, a_method(), {}, {})
    (given.folder / "plugins" / "methods" / "huge.py").write_text("(" * 1000)
    given.reseal()
    assert "unexpected-file" in {each.code for each in validate(CATALOGUE, given.folder)}


HOSTILE = [
    "    Params = Mine.Params\n",
    "    class Params(Mine.Params):\n        pass\n",
    "    class Params(Params):\n        lr: float = 1\n",
    "    Params = nothing.at.all\n",
    "    for Params in ():\n        pass\n",
]


@pytest.mark.parametrize("inside", HOSTILE)
def test_parameters_that_name_themselves_are_unknown_and_no_harm(tmp_path, inside):
    given = submitted(tmp_path, a_method(inside=inside), {}, {})
    assert validate(CATALOGUE, given.folder) == []


def test_nothing_of_a_submission_is_imported(tmp_path):
    text = a_method(after="\n\nraise SystemExit('imported')\n")
    given = submitted(tmp_path, text, {}, {})
    before = set(sys.modules)
    assert validate(CATALOGUE, given.folder) == []
    assert not [name for name in set(sys.modules) - before if "plugins" in name]


# Data files that a method declares


def test_declared_data_files_are_submitted_and_held_to_their_hash(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.json").write_text("[1, 2]")
    text = a_method(inside="    files = ('weights.json',)\n")
    given = submitted(tmp_path, text, {}, {}, files=["weights.json"])
    assert validate(CATALOGUE, given.folder) == []
    (plugin,) = given.manifest()["plugins"]
    (place,) = plugin["data"]
    assert (given.folder / place).read_text() == "[1, 2]"
    (given.folder / place).write_text("[1, 3]")
    given.reseal()
    assert {each.code for each in validate(CATALOGUE, given.folder)} == {"altered-plugin", "missing-plugin"}
    (given.folder / place).unlink()
    given.reseal()
    assert "altered-plugin" in {each.code for each in validate(CATALOGUE, given.folder)}


def test_a_record_names_the_data_files_that_its_method_reads(tmp_path):
    """A method that reads files is open division: the record may not keep quiet about them."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.json").write_text("[1, 2]")
    text = a_method(inside="    files = ('weights.json',)\n")
    with pytest.raises(DataError, match=r"data files none, and its source reads weights\.json"):
        submitted(tmp_path, text, {}, {}, files=[])


# Networks of a submission

NETWORK = (
    "from pcbench.api import Backbone\n\n\nclass Net(Backbone):\n    '''A network.'''\n\n    name = 'net'\n"
    "    presets = {'small': {}}\n\n    def __init__(self, classes):\n        super().__init__(classes)\n"
)


@pytest.mark.parametrize(("preset", "told"), [("small", None), ("huge", "unknown-preset")])
def test_presets_are_those_of_the_submitted_source(tmp_path, preset, told):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "net.py").write_text(NETWORK)
    catalogue = open_catalogue([tmp_path / "mine"])
    run = a_run(tmp_path / "results")
    network = run.distillation.inputs.network.model_copy(
        update={
            "name": "net",
            "preset": preset,
            "source": catalogue.backbones.get("net").source_hash(),
        }
    )
    run = with_inputs(run, network=network)
    if told is None:
        submit(catalogue, [run], tmp_path / "submission", "MIT")
        assert validate(CATALOGUE, tmp_path / "submission") == []
    else:
        with pytest.raises(DataError, match=told):
            submit(catalogue, [run], tmp_path / "submission", "MIT")


# Names of what comes with pcbench


@pytest.mark.parametrize("name", ["random", "Random", "RANDOM", "sadm", "Whole"])
def test_a_method_with_a_built_in_name_is_refused(tmp_path, name):
    run = a_run(tmp_path / "results", method=name, origin="1" * 64)
    (found,) = [each for each in validate(CATALOGUE, tmp_path / "results") if each.code == "reserved-name"]
    assert f"{name!r} has the name of one that comes with pcbench" in found.told
    assert run


def test_records_of_sources_that_a_built_in_had_before_stay_valid(tmp_path, monkeypatch):
    """Results of `random` changed, its source too: what was published before is pcbench's own still."""
    before = source("method", "random")
    a_run(tmp_path / "results", origin=before)
    file = tmp_path / "lineage.toml"
    lists = {**lineage.read(lineage.path()), "method": {"random": ["2" * 64, before]}}
    file.write_text(lineage.written(lists))
    monkeypatch.setattr(lineage, "path", lambda: file)
    assert {each.code for each in validate(open_catalogue(), tmp_path / "results")} == {"reserved-name"}
    file = tmp_path / "earlier.toml"
    file.write_text(lineage.written({**lists, "earlier-method": {"random": [before]}}))
    assert validate(open_catalogue(), tmp_path / "results") == []


def test_a_submitter_may_not_bring_a_method_of_a_built_in_name(tmp_path):
    given = submitted(tmp_path, a_method(), {}, {})
    record = json.loads(given.distillation.read_text())
    assert record["inputs"]["method"] == "mine"
    with pytest.raises(UsageError, match="two methods are called 'random'"):
        (tmp_path / "mine" / "mine.py").write_text(a_method(name="random"))
        open_catalogue([tmp_path / "mine"]).methods.get("random")
