"""Clouds reach a page only where they may be passed on, and as the viewer reads them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_records import a_run
from toy_clouds import NAMES, Absent, Free, Registry, Toy, some

from pcbench.api import Dataset, Snapshot, Splits
from pcbench.engine.artifacts import save_snapshots
from pcbench.protocols.protocol import QUICK
from pcbench.records import layout
from pcbench.records.store import read_run
from pcbench.report.viewer import Clouds, Shown


@pytest.fixture
def run(tmp_path: Path) -> Path:
    first, last = some(1, 2), some(2, 2)
    entries = (first.content_hash(), last.content_hash())
    folder = a_run(tmp_path, ppc=2, data={"name": "toy", "class_names": list(NAMES)}, clouds=entries)
    save_snapshots(
        layout.clouds(folder), [Snapshot(QUICK.snapshots[0], first), Snapshot(QUICK.snapshots[-1], last)]
    )
    return folder


def shown(folder: Path, dataset: type[Dataset], with_real: bool = False) -> tuple[Shown | None, list[str]]:
    registry: Any = Registry(dataset)
    clouds = Clouds(registry, with_real)
    return clouds.of(read_run(folder)[0]), clouds.problems


def test_clouds_that_may_not_be_passed_on_are_not_shown(run: Path) -> None:
    assert shown(run, Toy) == (None, [])
    assert shown(run, Toy, with_real=True)[0] is not None


def test_a_run_that_only_claims_the_name_of_a_free_data_set_is_not_shown(run: Path) -> None:
    class Other(Free):
        """The data set of that name, with other content."""

        def load(self, points: int) -> Splits:  # noqa: ARG002
            return Splits(some(9, 4), some(8, 4), "f" * 64, "surface")

    assert shown(run, Other) == (None, [])


def test_without_the_data_set_there_is_no_neighbour(run: Path) -> None:
    found, _ = shown(run, Absent, with_real=True)
    assert found is not None
    assert [each["words"] for each in decoded(found.script)["sets"]] == ["initial", "distilled"]


def test_the_script_holds_the_clouds_by_class(run: Path) -> None:
    found, problems = shown(run, Free)
    assert found is not None
    assert problems == []
    data = decoded(found.script)
    assert (data["classes"], data["ppc"], data["up"]) == (list(NAMES), 2, "z")
    sets = {each["words"]: each for each in data["sets"]}
    assert list(sets) == ["initial", "distilled", "nearest real cloud"]
    assert [each.get("iteration") for each in data["sets"]] == [0, QUICK.snapshots[-1], None]
    assert {each["points"] for each in data["sets"]} == {64}
    assert "</script>" not in found.script
    for key, clouds in (("initial", some(1, 2)), ("distilled", some(2, 2))):
        steps = np.frombuffer(base64.b64decode(sets[key]["values"]), "<i2").reshape(2, 2, 64, 3)
        expected = torch.stack([clouds.points[clouds.labels == label] for label in range(2)])
        error = np.abs(steps * (data["scale"] / 32767) - expected.numpy())
        assert error.max() <= data["scale"] / 32767 * 0.5001
    train = some(9, 4)
    near = np.frombuffer(base64.b64decode(sets["nearest real cloud"]["values"]), "<i2").reshape(2, 2, 64, 3)
    steps_of_train = np.rint(train.points.double().numpy() * 32767 / data["scale"])
    for label in range(2):
        rows = steps_of_train[train.labels.numpy() == label]
        assert all((cloud == rows).all((1, 2)).any() for cloud in near[label])
    assert found.picture.startswith(b"\x89PNG")


def test_the_same_clouds_give_the_same_bytes(run: Path) -> None:
    assert shown(run, Free) == shown(run, Free)


def test_altered_clouds_are_not_shown_and_told(run: Path) -> None:
    save_snapshots(layout.clouds(run), [Snapshot(i, some(5, 2)) for i in QUICK.snapshots])
    found, (problem,) = shown(run, Free)
    assert found is None
    assert str(run) in problem
    assert "are not those of the record" in problem


def decoded(script: str) -> dict[str, Any]:
    name, _, rest = script.removeprefix("pcbenchClouds(").removesuffix(");\n").partition(", ")
    assert len(json.loads(name)) == 10
    found: dict[str, Any] = json.loads(rest)
    return found
