"""The findings of `pcbench doctor`: each fault is found where it is, and has a remedy."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest
import torch
from built_in import CATALOGUE
from report_records import a_run

from pcbench.catalogue import open_catalogue
from pcbench.datasets import store
from pcbench.engine import checkup, machine, wall
from pcbench.engine.checkup import GIB, Finding
from pcbench.records import attempts, layout
from pcbench.records.claims import Claims

METHOD = '''from pcbench.api import Method


class A(Method):
    """A."""

    name = "{}"
'''


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are not ok; each of them has a remedy, and no other has one."""
    listed = list(findings)
    assert all(bool(finding.remedy) == (finding.result != "ok") for finding in listed)
    return [finding for finding in listed if finding.result != "ok"]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data store and a cache of one's own."""
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_where_nothing_is_wrong_every_topic_is_told_once(places: Path) -> None:
    findings = checkup.checkup(lambda: CATALOGUE, places / "results")
    told = [finding.topic for finding in findings if finding.topic not in ("device", "disk")]
    assert told == ["software", "memory", "processors", "isolation", "plugins", "data", "records", "locks"]
    assert {finding.topic for finding in wrong(findings)} <= {"memory", "processors", "isolation", "disk"}
    assert not (places / "results").exists()  # nothing was made


def test_a_plugin_that_cannot_be_imported_is_named_with_its_line(tmp_path: Path) -> None:
    source = "import nowhere_to_be\n" + METHOD.format("a")
    (tmp_path / "a.py").write_text(source, encoding="utf-8")
    (finding,) = wrong(checkup.plugins(lambda: open_catalogue([tmp_path])))
    assert (finding.topic, finding.result) == ("plugins", "problem")
    assert "No module named 'nowhere_to_be'" in finding.what
    assert "a.py:1" in finding.what
    assert f"pcbench check {tmp_path / 'a.py'}" in finding.remedy


def test_two_plugins_of_one_name_are_a_finding_and_no_crash(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(METHOD.format("twin"), encoding="utf-8")
    (finding,) = wrong(checkup.plugins(lambda: open_catalogue([tmp_path])))
    assert "two methods are called 'twin'" in finding.what


def test_records_that_cannot_be_read_and_runs_that_were_begun(tmp_path: Path) -> None:
    results = tmp_path / "results"
    good, bad = a_run(results, method="dm"), a_run(results, method="sadm")
    layout.distillation(bad).write_text("{", encoding="utf-8")
    begun = layout.checkpoint(results / "begun")
    begun.parent.mkdir()
    begun.touch()
    problems = wrong(checkup.records(results))
    assert {finding.result for finding in problems[:-1]} == {"problem"}
    assert any(str(layout.distillation(bad)) in finding.what for finding in problems)
    assert not any(str(good) in finding.what for finding in problems)
    assert problems[-1].what == f"1 runs in {results} can be read, 1 begun and not finished"


def test_a_data_set_whose_manifest_or_file_is_damaged(places: Path, few_clouds) -> None:
    def manifest(content_hash: str, file: str) -> store.Manifest:
        return store.Manifest(
            name="trees", variant="", class_names=few_clouds.class_names, train=9, test=9, points=32,
            sources=(), content_hash=content_hash, file=file, complete=complete,
        )  # fmt: skip

    for complete in (True, False):
        with store.writing("trees") as folder:
            folder.mkdir(exist_ok=True)
            store.store(manifest, folder, lambda path: store.save_splits(path, few_clouds, few_clouds))
        found = list(checkup.datasets())
        assert [finding.result for finding in found] == ["ok" if complete else "warning"]
        assert "trees: 9 / 9 clouds of 32 points" in found[0].what
    (clouds,) = (places / "data" / "trees").glob("clouds*.h5")
    clouds.unlink()
    assert [finding.result for finding in wrong(checkup.datasets())] == ["problem"]
    (places / "data" / "trees" / "manifest.json").write_text("{}", encoding="utf-8")
    (finding,) = wrong(checkup.datasets())
    assert finding.remedy == "'pcbench data import trees PATH'"


def test_a_lock_that_somebody_holds(places: Path) -> None:
    (places / "data").mkdir()
    assert wrong(checkup.locks(places / "results")) == []
    with filelock.FileLock(places / "data" / ".trees.lock", thread_local=False):
        (finding,) = wrong(checkup.locks(places / "results"))
    assert "writes the data set trees" in finding.what
    assert wrong(checkup.locks(places / "results")) == []


def test_a_cell_at_work_and_one_whose_process_is_gone(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, key = places / "results", "a" * 64
    attempts.begin(out, key, "b" * 64, "dm on shapes10, PPC 1")
    with Claims() as claims:
        assert claims.take(out, key)
        (finding,) = checkup.locks(out)
        assert (finding.result, finding.what) == ("ok", f"1 cells are at work in {out}")
        monkeypatch.setattr(attempts, "alive", lambda *_: False)
        (finding,) = wrong(checkup.locks(out))
    assert "the process of 1 cells" in finding.what
    assert "dm on shapes10, PPC 1" in finding.what
    assert "run the same command again" in finding.remedy


@pytest.mark.parametrize(("free", "result"), [(50 * GIB, "ok"), (GIB, "warning"), (GIB // 100, "problem")])
def test_little_room_on_a_disk(places: Path, monkeypatch: pytest.MonkeyPatch, free: int, result: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=100 * GIB))
    assert {finding.result for finding in checkup.disk(places / "results")} == {result}


def test_what_is_kept_to_be_quick_is_told_once_it_takes_much(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50 * GIB, total=100 * GIB))
    monkeypatch.setattr(checkup, "FULL_CACHE", 5)
    kept = [store.cache_root() / folder / "network.h5" for folder in ("tensors", "training")]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"123")
    (finding,) = wrong(checkup.disk(places / "results"))
    assert finding.remedy.startswith(f"remove {kept[0].parent} and {kept[1].parent}")
    kept[1].unlink()
    assert wrong(checkup.disk(places / "results")) == []


def test_little_memory_is_that_of_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"memory.max": 4 * GIB, "memory.current": 3 * GIB}
    monkeypatch.setattr(machine, "_number", lambda file: files[file.name])
    (finding,) = wrong(checkup.memory())
    assert finding.what == "1.0 GiB of 4.0 GiB free"


def test_more_threads_than_cores_and_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 512)
    (finding,) = wrong(checkup.processors())
    assert "OMP_NUM_THREADS=" in finding.remedy
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(checkup.machine, "load", lambda _: 512.0)
    (finding,) = wrong(checkup.processors())
    assert "busy" in finding.remedy


def test_a_system_without_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "version", lambda: 0)
    (finding,) = wrong(checkup.isolation())
    assert "Landlock" in finding.remedy


@pytest.mark.parametrize(
    ("there", "built_for", "words"),
    [("570.86.10", None, "built for the CPU"), ("570.86.10", "12.4", "sees no GPU")],
)
def test_a_driver_whose_gpu_torch_does_not_use(
    monkeypatch: pytest.MonkeyPatch, there: str, built_for: str | None, words: str
) -> None:
    monkeypatch.setattr(checkup, "_driver", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    (finding,) = wrong(checkup.devices())
    assert words in finding.what
    assert there in finding.what


@pytest.mark.parametrize(("major", "minor", "result"), [(9, 0, "ok"), (10, 0, "ok"), (6, 1, "problem")])
def test_gpus_are_told_with_memory_and_driver(
    monkeypatch: pytest.MonkeyPatch, major: int, minor: int, result: str
) -> None:
    gpu = SimpleNamespace(name="A GPU", major=major, minor=minor)
    monkeypatch.setattr(checkup, "_driver", lambda: "570.86")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90", "compute_90"])
    found = list(checkup.devices())
    assert [finding.result for finding in found] == [result, result]
    assert "cuda:1 A GPU, 10.0 GiB of 80.0 GiB free, driver 570.86" in found[1].what
