"""What a record says about the machine is what the machine is."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import pcbench
from pcbench.engine import machine
from pcbench.engine.machine import PeakMemory, choose_device, hardware, now, provenance, warm_up
from pcbench.errors import UsageError

CPU = torch.device("cpu")


# Devices


@pytest.mark.parametrize(("there", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(monkeypatch, there, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("auto") == torch.device(chosen)
    assert choose_device("cpu") == CPU


def test_a_gpu_that_is_not_there_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"no CUDA device is available.*choose the device cpu"):
        choose_device("cuda")


def test_one_of_several_gpus_is_chosen_by_its_number_and_worked_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="there is no GPU 2 here: they are numbered 0 to 1"):
        choose_device("cuda:2")
    worked_on = []
    monkeypatch.setattr(torch.cuda, "set_device", worked_on.append)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no GPU")))
    with pytest.raises(RuntimeError):
        warm_up(torch.device("cuda", 1))
    assert worked_on == [torch.device("cuda", 1)]


@pytest.mark.parametrize("wish", ["gpu", "CPU", "cuda:", "cuda:x", "cpu:0", "mps", ""])
def test_an_unknown_device_is_refused_with_the_known_ones(wish):
    with pytest.raises(UsageError, match=f"unknown device '{wish}'. Known: auto, cpu, cuda"):
        choose_device(wish)


# Clock and memory


def test_the_clock_goes_forward():
    warm_up(CPU)
    first = now(CPU)
    assert now(CPU) >= first


def touched(size: int) -> torch.Tensor:
    """A tensor in pages of its own, which go back to the system with it."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=torch.uint8).fill_(1)


SLACK = 4 << 20  # the system counts pages in batches


def test_peak_memory_holds_what_was_touched_and_keeps_it():
    memory = PeakMemory(CPU)
    before = memory.read().host_bytes
    block = touched(64 << 20)
    after = memory.read()
    assert after.host_bytes >= before + block.nbytes - SLACK
    assert after.device_bytes is None
    del block
    assert memory.read().host_bytes >= after.host_bytes - SLACK


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="this system cannot reset the peak"
)
def test_an_earlier_peak_is_forgotten():
    earlier = PeakMemory(CPU)
    block = touched(64 << 20)
    size = block.nbytes
    peak = earlier.read().host_bytes
    del block
    assert PeakMemory(CPU).read().host_bytes <= peak - size + SLACK


class _Libc:
    """Stands in for the C library and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.asked.append((parameter, value))
        return 1


@pytest.mark.parametrize(("platform", "parameters"), [("linux", {-4, -1}), ("darwin", set())])
def test_pages_are_kept_where_the_c_library_can(monkeypatch, platform, parameters):
    libc = _Libc()
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr(sys, "platform", platform)
    machine.keep_pages()
    assert {parameter for parameter, _ in libc.asked} == parameters


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: object())
    machine.keep_pages()


# Hardware and provenance


def test_hardware_is_that_of_this_process():
    here = hardware(CPU)
    assert here.device == "cpu"
    assert here.name.strip()
    assert here.threads == torch.get_num_threads()
    assert 1 <= here.cpu_cores <= (os.cpu_count() or 1)
    assert here.memory_bytes > 1 << 28
    assert here.label == f"{here.name}, {here.threads} threads"


def test_provenance_tells_versions_command_and_time(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pcbench", "run", "--method", "dm"])
    before = datetime.now(UTC).replace(microsecond=0)
    made = provenance(CPU)
    assert before <= datetime.fromisoformat(made.created) <= datetime.now(UTC)
    assert made.command == ["pcbench", "run", "--method", "dm"]
    assert made.python == ".".join(map(str, sys.version_info[:3]))
    assert made.packages["pcbench"] == pcbench.__version__
    assert made.packages["torch"] == version("torch")
    assert set(made.packages) == {"pcbench", "h5py", "numpy", "pydantic", "scipy", "torch"}
    assert made.hardware == hardware(CPU)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, from whose package pcbench seems to run."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    package = tmp_path / "checkout" / "pcbench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(pcbench, "__file__", str(package / "__init__.py"))
    return package.parent


def git(folder: Path, *words: str) -> str:
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *author, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def state() -> tuple[str | None, bool | None]:
    made = provenance(CPU)
    return made.git_commit, made.git_dirty


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@needs_git
def test_the_commit_and_whether_anything_differs_from_it(checkout):
    git(checkout, "init", "-q")
    head = commit(checkout)
    assert state() == (head, False)
    (checkout / "results.json").write_text("{}")
    assert state() == (head, False)
    (checkout / "pcbench" / "__init__.py").write_text("changed = True\n")
    assert state() == (head, True)
    git(checkout, "add", "pcbench")
    assert state() == (head, True)
    assert state() != (commit(checkout), True)
    assert state() == (git(checkout, "rev-parse", "HEAD"), False)


@needs_git
def test_a_checkout_without_a_commit_has_no_state(checkout):
    git(checkout, "init", "-q")
    assert state() == (None, None)


def test_a_package_outside_a_checkout_has_no_state(checkout):
    assert checkout.is_dir()
    assert state() == (None, None)


@needs_git
def test_an_installed_package_does_not_take_the_state_of_the_project_around_it(checkout, monkeypatch):
    """As with a virtual environment inside somebody else's checkout."""
    git(checkout, "init", "-q")
    installed = checkout / "venv" / "site-packages" / "pcbench"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    commit(checkout)
    assert state()[1] is False
    monkeypatch.setattr(pcbench, "__file__", str(installed / "__init__.py"))
    assert state() == (None, None)


def test_without_git_there_is_no_state(checkout, monkeypatch, tmp_path):
    assert checkout.is_dir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert state() == (None, None)


@pytest.mark.gpu
def test_a_gpu_has_its_own_memory_and_name():
    device = choose_device("cuda")
    warm_up(device)
    memory = PeakMemory(device)
    block = torch.ones(16 << 20, device=device)
    now(device)
    del block
    device_bytes = memory.read().device_bytes
    assert device_bytes is not None
    assert device_bytes >= 64 << 20
    assert hardware(device).name == torch.cuda.get_device_name(device)
    assert hardware(device).label == torch.cuda.get_device_name(device)
