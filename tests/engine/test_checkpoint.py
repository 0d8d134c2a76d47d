"""Checkpoints: an interrupted distillation goes on, to the same clouds; a bad file does not matter."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from interruptions import cell_of, interrupted_at, reported_to

from pcbench.common.hdf5 import write_array
from pcbench.engine import checkpoint, machine, optimisers
from pcbench.engine import distil as run
from pcbench.engine.artifacts import load_snapshots
from pcbench.engine.cell import Cell
from pcbench.records import layout
from pcbench.records.models import DistillationRecord
from pcbench.records.store import read_distillation

CPU = torch.device("cpu")
SMALL = {"points": "16", "iterations": "4", "snapshot_every": "2"}
OWN = {"mtt": {"experts": "1", "expert_epochs": "4", "max_start_epoch": "0"}}


def small(method: str) -> Cell:
    return cell_of(method, SMALL | OWN.get(method, {}))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every iteration."""
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)


def stopped(method: str, folder: Path, iteration: int = 3) -> DistillationRecord:
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        run.distil(small(method), folder, CPU, interrupted_at("distil", iteration))
    return read_distillation(folder / "distillation.json")


def gone_on(method: str, folder: Path) -> tuple[DistillationRecord, list[int]]:
    """The record of one more attempt, and the iterations that it reported."""
    folder.mkdir(parents=True, exist_ok=True)
    reported: list[int] = []
    record = run.distil(small(method), folder, CPU, reported_to(reported, "distil"))
    assert record.status == "ok", record.reason
    return record, reported


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("method", ["sadm", "dm", "dc", "m3d", "mtt"])
def test_an_interrupted_distillation_goes_on_and_gives_the_same_clouds(tmp_path: Path, method: str) -> None:
    first = stopped(method, tmp_path / "one")
    assert (first.status, [entry.iteration for entry in first.snapshots]) == ("interrupted", [0, 2])
    record, reported = gone_on(method, tmp_path / "one")
    assert reported == [0, 3, 4, 4]
    expected, _ = gone_on(method, tmp_path / "two")
    assert [entry.clouds for entry in record.snapshots] == [entry.clouds for entry in expected.snapshots]
    assert len({entry.clouds for entry in record.snapshots}) == 3
    found = load_snapshots(layout.clouds(tmp_path / "one"), record.snapshots)
    assert [snapshot.iteration for snapshot in found] == [0, 2, 4]
    assert not (tmp_path / "one" / layout.CHECKPOINT).exists()


@pytest.mark.usefixtures("always")
def test_the_clock_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(0.0, 3600.0)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "now", lambda _: next(hours))
        first = stopped("dm", tmp_path)
    record, _ = gone_on("dm", tmp_path)
    assert record.snapshots[:2] == first.snapshots
    whole_hours, rest = divmod(record.seconds, 3600)
    assert whole_hours >= first.snapshots[1].seconds / 3600 >= 2
    assert 0 < rest < 3600
    assert record.seconds >= record.snapshots[2].seconds > record.snapshots[1].seconds


def test_a_checkpoint_waits_until_it_is_due(tmp_path: Path) -> None:
    stopped("dm", tmp_path)
    assert not (tmp_path / layout.CHECKPOINT).exists()
    assert gone_on("dm", tmp_path)[1] == [0, 1, 2, 3, 4, 4]


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)


def one_value_changed(path: Path) -> None:
    """One byte of the clouds, as a failing disk changes it."""
    with h5py.File(path) as file:
        array = file["state/0.value"]
        offset = array.id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def without_state(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["state"]


def with_a_gap(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.move("state/0.value", "state/99999999999999.value")


def text_for_numbers(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["state/0.value"]
        file["state"].create_dataset("0.value", data=np.bytes_(b"points"))


def a_link_out(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["state/0.value"]
        file["state/0.value"] = h5py.ExternalLink("/etc/passwd", "/")


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "spoil", [damaged, one_value_changed, without_state, with_a_gap, text_for_numbers, a_link_out]
)
def test_a_checkpoint_that_cannot_be_read_counts_for_nothing(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    stopped("dm", tmp_path)
    spoil(tmp_path / layout.CHECKPOINT)
    assert gone_on("dm", tmp_path)[1] == [0, 1, 2, 3, 4, 4]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("what", ["code", "torch", "hardware", "key"])
def test_a_checkpoint_of_other_code_or_another_machine_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    about = run._about
    with monkeypatch.context() as patch:
        patch.setattr(run, "_about", lambda *args: {**about(*args), what: "another"})
        stopped("dm", tmp_path)
    assert (tmp_path / layout.CHECKPOINT).exists()
    assert gone_on("dm", tmp_path)[1] == [0, 1, 2, 3, 4, 4]


@pytest.mark.usefixtures("always")
def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_save", full)
    with pytest.warns(UserWarning, match="no checkpoint was left.*No space left"):
        gone_on("dm", tmp_path)


def begun(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    stream = torch.Generator().manual_seed(1)
    parameters = [torch.randn(shape, generator=stream).requires_grad_() for shape in ((4, 3), (), (2,))]
    return parameters, make(parameters)


def walk(parameters: list[torch.Tensor], optimiser: torch.optim.Optimizer, begin: int, end: int) -> None:
    for number in range(begin, end):
        optimiser.zero_grad()
        sum((parameter.sin() * (number + 1)).sum() for parameter in parameters).backward()
        optimiser.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, 0.1),
        lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9),
        lambda parameters: torch.optim.Adam(parameters, 0.1),
        lambda parameters: torch.optim.Adagrad([{"params": [each]} for each in parameters], 0.1),
    ],
)
def test_an_optimiser_that_is_put_back_goes_the_same_way(make) -> None:
    parameters, optimiser = begun(make)
    walk(parameters, optimiser, 0, 3)
    kept = optimisers.state_of(optimiser)
    walk(parameters, optimiser, 3, 6)
    again, other = begun(make)
    optimisers.put_back(other, kept)
    walk(again, other, 3, 6)
    for one, two in zip(parameters, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(kept[0]["value"], parameters[0])


def test_a_state_of_other_shapes_is_refused() -> None:
    _, optimiser = begun(lambda parameters: torch.optim.SGD(parameters, 0.1))
    with pytest.raises(ValueError, match="not the method's"):
        optimisers.put_back(optimiser, optimisers.state_of(torch.optim.SGD([torch.zeros(3)], 0.1)))


@pytest.mark.usefixtures("always")
def test_a_checkpoint_of_other_parameters_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped("dm", folder)
    path = folder / layout.CHECKPOINT
    with h5py.File(path, "r+") as file:
        values = file["state/0.value"][()]
        del file["state/0.value"]
        write_array(file["state"], "0.value", values[:-1])
    record = run.distil(small("dm"), folder, CPU, lambda *_: None)
    assert record.status == "failed"
    assert "the checkpoint: " in record.reason
    assert "delete it" in record.reason
