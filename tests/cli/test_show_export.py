"""`pcbench show`, `pcbench data show` and `pcbench export`, from the words of a user to files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest
from PIL import Image

from pcbench.common.files import write_json
from pcbench.records.models import DistillationRecord
from pcbench.records.store import read_runs

TINY = (
    "--ppc",
    "2",
    "--set",
    "points=16",
    "--set",
    "iterations=2",
    "--set",
    "recipe.epochs=1",
    "--seeds",
    "1",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def run(pcbench, made, tmp_path) -> Path:
    """A finished run of DM, distilled once for all tests, in a folder of its own."""
    if not (made / "results").exists():
        assert pcbench("run", "--method", "dm", "--out", made / "results", *TINY).code == 0
    ((done,), _) = read_runs(made / "results")
    return Path(shutil.copytree(done.folder, tmp_path / "results" / done.folder.name))


def record(run: Path) -> dict:
    return json.loads((run / "distillation.json").read_text())


def rewrite(run: Path, **changes: object) -> None:
    """The record with other inputs, its key in accord."""
    found = record(run)
    found["inputs"] |= changes
    del found["key"]
    inputs = DistillationRecord.model_fields["inputs"].annotation.model_validate(found["inputs"])
    write_json(run / "distillation.json", found | {"key": inputs.key})


def size(path: str | Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def test_a_run_is_shown_beside_its_nearest_training_clouds(pcbench, run):
    done = pcbench("show", run)
    assert done.code == 0, done.err
    assert f"wrote {run.name}.png: dm on shapes10, PPC 2, iteration 2, 20 clouds" in done.out
    assert "median 0.0" in done.out
    with_neighbours = size(f"{run.name}.png")
    done = pcbench("show", run, "--initial", "--out", "three.png", "--json")
    found = json.loads(done.out)
    assert found["iteration"] == 2
    assert [each["class"] for each in found["clouds"][:3]] == ["bed", "bed", "bench"]
    assert all(each["distance"] > 0 for each in found["clouds"])
    assert all(0 <= each["nearest_training_cloud"] < 1000 for each in found["clouds"])
    assert size("three.png") != with_neighbours


def test_initial_clouds_are_training_clouds(pcbench, run):
    found = json.loads(pcbench("show", run, "--iteration", "0", "--json").out)
    assert {each["distance"] for each in found["clouds"]} == {0.0}


def test_one_class_of_a_run_is_shown(pcbench, run):
    found = json.loads(pcbench("show", run, "--class", "sofa", "--class", "lamp", "--json").out)
    assert [each["class"] for each in found["clouds"]] == ["lamp", "lamp", "sofa", "sofa"]
    done = pcbench("show", run, "--class", "sofas", "--out", "b.png")
    assert done.code == 2
    assert "Did you mean sofa?" in done.err
    assert not Path("b.png").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [({"name": "nowhere"}, "unknown data set 'nowhere'"), ({"hash": "0" * 64}, "is not the data")],
)
def test_without_its_data_a_run_is_shown_alone(pcbench, run, data, why):
    rewrite(run, data=record(run)["inputs"]["data"] | data)
    done = pcbench("show", run)
    assert done.code == 0, done.err
    assert "warning: no training clouds are shown" in done.err
    assert why in done.err
    assert "Chamfer" not in done.out
    found = json.loads(pcbench("show", run, "--json", "--force").out)
    assert found["distance"] is None
    assert found["clouds"][0]["nearest_training_cloud"] is None


def test_a_picture_is_replaced_only_when_asked(pcbench, run):
    Path("a.png").write_text("mine")
    done = pcbench("show", run, "--out", "a.png")
    assert done.code == 2
    assert "a.png is there already: choose another --out, or replace it by --force" in done.err
    assert Path("a.png").read_text() == "mine"
    assert pcbench("show", run, "--out", "a.png", "--force").code == 0
    first = Path("a.png").read_bytes()
    assert pcbench("show", run, "--out", "b.png").code == 0
    assert Path("b.png").read_bytes() == first
    done = pcbench("show", run, "--out", "a.jpg")
    assert (done.code, "PNG" in done.err) == (2, True)


@pytest.mark.parametrize("verb", [("show",), ("export", "--format", "ply")])
def test_what_has_no_clouds_is_said(pcbench, run, verb):
    done = pcbench(*verb, run, "--iteration", "1")
    assert done.code == 2
    assert "has no clouds of iteration 1: it has those of 0, 2" in done.err
    done = pcbench(*verb, "results")
    assert done.code == 3
    assert "results is no run's folder" in done.err
    (run / "clouds.h5").unlink()
    done = pcbench(*verb, run)
    assert done.code == 3
    assert "clouds.h5 is not there" in done.err
    rewrite(run, ppc=0)
    done = pcbench(*verb, run)
    assert done.code == 2
    assert "is the whole training split and has no distilled clouds: 'pcbench data show shapes10'" in done.err


def test_changed_clouds_are_refused(pcbench, run):
    with h5py.File(run / "clouds.h5", "r+") as file:
        file["000002/points"][0, 0, 0] += 1
    done = pcbench("export", run, "--format", "npz")
    assert done.code == 3
    assert "are not those of the record" in done.err
    assert not Path("export").exists()


def test_an_unfinished_run_is_exported_with_a_warning(pcbench, run):
    found = record(run) | {"status": "interrupted", "reason": "interrupted by the user"}
    found["snapshots"] = found["snapshots"][:1]
    write_json(run / "distillation.json", found)
    done = pcbench("export", run, "--format", "xyz")
    assert done.code == 0, done.err
    assert "did not finish: interrupted: interrupted by the user" in done.err
    assert Path("export", f"{run.name}-0", "bed_01.xyz").is_file()
    write_json(run / "distillation.json", found | {"snapshots": []})
    assert pcbench("export", run, "--format", "xyz").code == 3


def test_clouds_are_exported_one_file_each(pcbench, run):
    done = pcbench("export", run, "--format", "ply")
    assert done.code == 0, done.err
    folder = Path("export", f"{run.name}-2")
    assert f"wrote 20 files into {folder}: bed_00.ply to table_01.ply" in done.out
    assert len(list(folder.iterdir())) == 20
    again = pcbench("export", run, "--format", "ply")
    assert again.code == 2
    assert "bed_00.ply (and 19 more) is there already" in again.err
    found = json.loads(pcbench("export", run, "--format", "ply", "--force", "--json").out)
    assert found["files"][1] == {"path": str(folder / "bed_01.ply"), "class_name": "bed", "number": 1}


@pytest.mark.parametrize("form", ["npz", "h5"])
def test_clouds_are_exported_in_one_file(pcbench, run, form):
    done = pcbench("export", run, "--format", form, "--out", "here", "--iteration", "0")
    assert done.code == 0, done.err
    assert f"wrote 1 file into here: clouds.{form}\n" in done.out
    assert [path.name for path in Path("here").iterdir()] == [f"clouds.{form}"]


def test_a_data_set_is_shown_with_its_classes(pcbench):
    done = pcbench("data", "show", "shapes10", "--points", "64")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert ["lamp", "100", "50"] in [row[:3] for row in rows]
    assert ["all", "1000", "500"] in rows
    two = size("shapes10.png")
    done = pcbench(
        "data",
        "show",
        "shapes10",
        "--points",
        "64",
        "--count",
        "3",
        "--class",
        "lamp",
        "--out",
        "l.png",
        "--json",
    )
    found = json.loads(done.out)
    assert [each["class"] for each in found["classes"]] == ["lamp"]
    (lamp,) = found["classes"]
    assert lamp["extents"][1] > 1.5 > lamp["extents"][0]
    assert 0 < lamp["mean_radius"] < 1
    assert found["picture"] == "l.png"
    assert size("l.png")[0] < two[0]


def test_a_data_set_that_is_absent_or_unknown_is_said(pcbench):
    done = pcbench("data", "show", "modelnet40")
    assert done.code == 3
    assert "pcbench data import modelnet40 PATH" in done.err
    assert pcbench("data", "show", "modelnet4").code == 2
    assert list(Path().iterdir()) == []
