"""Tensors that are dear to compute: made once, charged to everyone, made again where the file is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from pcbench.engine import machine
from pcbench.engine.cache import TensorCache

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pcbench" / "tensors"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the machine's clock shows."""
    seconds = [0.0]
    monkeypatch.setattr(machine, "now", lambda _: seconds[0])
    return seconds


def maker(clock: list[float], made: list[int]) -> Callable[[], dict[str, Tensor]]:
    def make() -> dict[str, Tensor]:
        made.append(1)
        clock[0] += 12.5
        return {"weight": torch.arange(6.0).view(2, 3), "scale": torch.tensor(0.5)}

    return make


def test_tensors_are_made_once_and_cost_the_same_to_all(folder: Path, clock: list[float]):
    made: list[int] = []
    make = maker(clock, made)
    first = TensorCache({"data": "a"}, CPU)
    tensors = first.get({"epochs": 3}, make)
    assert first.debt().seconds == 0  # its own clock has seen the 12.5 seconds pass
    second = TensorCache({"data": "a"}, CPU)
    again = second.get({"epochs": 3}, make)
    assert made == [1]
    assert second.debt().seconds == 12.5
    assert second.debt().seconds == 0
    assert tensors.keys() == again.keys() == {"weight", "scale"}
    for name, tensor in tensors.items():
        assert again[name].dtype == torch.float32
        assert torch.equal(again[name], tensor)
    assert len(list(folder.glob("*.h5"))) == 1


@pytest.mark.parametrize(
    ("common", "inputs"),
    [({"data": "b"}, {"epochs": 3}), ({"data": "a"}, {"epochs": 4}), ({"data": "a"}, {})],
)
def test_other_inputs_are_other_tensors(folder: Path, clock: list[float], common, inputs):
    made: list[int] = []
    TensorCache({"data": "a"}, CPU).get({"epochs": 3}, maker(clock, made))
    TensorCache(common, CPU).get(inputs, maker(clock, made))
    assert made == [1, 1]
    assert len(list(folder.glob("*.h5"))) == 2


@pytest.mark.usefixtures("folder")
def test_a_run_pays_once_however_often_it_asks(clock: list[float]):
    made: list[int] = []
    first = TensorCache({}, CPU)
    for _ in range(2):
        first.get({}, maker(clock, made))
    assert first.debt().seconds == 0
    second = TensorCache({}, CPU)
    for _ in range(3):
        second.get({}, maker(clock, made))
    assert second.debt().seconds == 12.5


@pytest.mark.usefixtures("folder")
def test_what_was_taken_from_the_cache_is_part_of_the_cost(clock: list[float]):
    made: list[int] = []
    TensorCache({}, CPU).get({}, maker(clock, made))

    def dependent(cache: TensorCache) -> dict[str, Tensor]:
        clock[0] += 1
        return {"twice": 2 * cache.get({}, maker(clock, made))["weight"]}

    for _ in range(2):
        cache = TensorCache({}, CPU)
        before = clock[0]
        cache.get({"twice": True}, lambda cache=cache: dependent(cache))
        assert clock[0] - before + cache.debt().seconds == 13.5


@pytest.mark.usefixtures("folder")
def test_another_machine_makes_its_own(clock: list[float], monkeypatch):
    made: list[int] = []
    own = machine.hardware(CPU)
    TensorCache({}, CPU).get({}, maker(clock, made))
    monkeypatch.setattr(machine, "hardware", lambda _: own.model_copy(update={"name": "another"}))
    TensorCache({}, CPU).get({}, maker(clock, made))
    assert made == [1, 1]


@pytest.mark.usefixtures("folder")
def test_the_first_call_gives_what_later_ones_give():
    source = torch.ones(2, dtype=torch.float32)
    first, later = (TensorCache({}, CPU).get({}, lambda: {"z": source, "a": source.double()}) for _ in "ab")
    assert list(first) == list(later) == ["a", "z"]
    assert {tensor.dtype for tensor in first.values()} == {torch.float32}
    first["z"].zero_()
    assert bool(source.all())


def test_a_name_with_a_slash_is_refused(folder: Path):
    with pytest.raises(ValueError, match="leave the slash out"):
        TensorCache({}, CPU).get({}, lambda: {"a/b": torch.ones(1)})
    assert not list(folder.glob("*"))


def test_an_empty_tensor_is_kept(folder: Path):
    for _ in range(2):
        assert TensorCache({}, CPU).get({}, lambda: {"none": torch.empty(3, 0)})["none"].shape == (3, 0)
    assert len(list(folder.glob("*.h5"))) == 1


def test_other_code_makes_its_own_tensors(folder: Path, clock: list[float], monkeypatch):
    made: list[int] = []
    TensorCache({}, CPU).get({}, maker(clock, made))
    monkeypatch.setattr("pcbench.records.identity.ENGINE", 2)
    TensorCache({}, CPU).get({}, maker(clock, made))
    assert made == [1, 1]
    assert len(list(folder.glob("*.h5"))) == 2


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def of_another_type(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["extra"] = np.zeros(3)


def without_its_time(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file.attrs["seconds"]


def with_a_wrong_time(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["seconds"] = float("nan")


def with_changed_values(path: Path) -> None:
    with h5py.File(path, "r") as file:
        offset = file["weight"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [truncated, of_another_type, without_its_time, with_a_wrong_time, with_changed_values]
)
def test_a_damaged_file_is_made_again(folder: Path, clock: list[float], damage):
    made: list[int] = []
    first = TensorCache({}, CPU).get({}, maker(clock, made))
    damage(next(folder.glob("*.h5")))
    cache = TensorCache({}, CPU)
    assert torch.equal(cache.get({}, maker(clock, made))["weight"], first["weight"])
    assert made == [1, 1]
    assert cache.debt().seconds == 0
    TensorCache({}, CPU).get({}, maker(clock, made))
    assert made == [1, 1]


def test_a_failure_leaves_nothing_behind(folder: Path):
    def fail() -> dict[str, Tensor]:
        raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        TensorCache({}, CPU).get({}, fail)
    assert not list(folder.glob("*"))
