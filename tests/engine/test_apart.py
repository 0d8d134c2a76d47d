"""A method in a process of its own: what it can reach, what it can break, and what the run keeps of it."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pcbench.catalogue import open_catalogue
from pcbench.engine import wall
from pcbench.engine.distil import Outcome, execute
from pcbench.engine.plan import Request, cells
from pcbench.errors import UsageError
from pcbench.records.store import read_runs

TINY = {"points": "16", "iterations": "1", "recipe.epochs": "1", "whole.epochs": "1"}
CPU = torch.device("cpu")
SECRET = b"the test split"

needs_wall = pytest.mark.skipif(wall.version() == 0, reason="this system has no Landlock")

HEAD = """
import ctypes, gc, mmap, os, socket, subprocess, sys, threading, time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from pcbench.api import Method, PointClouds, Snapshot, Task

SECRET = {secret!r}
STORE = {store!r}
HDF5 = {hdf5!r}
LINK = {link!r}
PORT = {port!r}
opened = h5py.h5f.open


def read(path):
    with open(path, "rb") as file:
        return file.read()
"""

TAIL = '''

class Reaching(Method):
    """Reaches for more than it is given."""

    name = "reaching"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        try:
            got = reach(task)
        except BaseException as error:
            raise ValueError(f"kept out by {type(error).__name__}") from None
        if got is not None and SECRET in bytes(got):
            raise ValueError("it leaked")
        raise ValueError("it saw nothing")
        yield
'''

ROUTES = {
    "open": "def reach(task): return read(STORE)",
    "os.open": "def reach(task): return os.read(os.open(STORE, os.O_RDONLY), 100)",
    "pathlib": "def reach(task): return Path(STORE).read_bytes()",
    "h5py": "def reach(task): return bytes(h5py.File(HDF5)['secret'][()])",
    "h5f bound at import": "def reach(task): return bytes(h5py.File(opened(HDF5.encode()))['secret'][()])",
    "memmap": "def reach(task): return np.memmap(STORE, mode='r').tobytes()",
    "torch.from_file": (
        "def reach(task):\n    return torch.from_file(STORE, size=14, dtype=torch.uint8).numpy().tobytes()"
    ),
    "mmap": (
        "def reach(task):\n"
        "    with open(STORE, 'rb') as file:\n"
        "        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)[:]"
    ),
    "ctypes": (
        "def reach(task):\n"
        "    libc, room = ctypes.CDLL(None), ctypes.create_string_buffer(100)\n"
        "    libc.read(libc.open(STORE.encode(), 0), room, 99)\n"
        "    return room.value"
    ),
    "subprocess": "def reach(task): return subprocess.run(['cat', STORE], capture_output=True).stdout",
    "os.system": (
        "def reach(task):\n"
        "    copy = os.environ['TMPDIR'] + '/copy'\n"
        "    os.system(f'cp {STORE} {copy} 2>/dev/null')\n"
        "    return read(copy)"
    ),
    "a thread": (
        "def reach(task):\n"
        "    got = []\n"
        "    thread = threading.Thread(target=lambda: got.append(read(STORE)))\n"
        "    threading.excepthook = lambda args: None\n"
        "    thread.start(); thread.join()\n"
        "    return got[0]"
    ),
    "a thread at import": (
        "got = []\n"
        "def wait():\n"
        "    try:\n"
        "        got.append(read(STORE))\n"
        "    except OSError:\n"
        "        pass\n"
        "thread = threading.Thread(target=wait); thread.start()\n"
        "def reach(task):\n"
        "    thread.join()\n"
        "    return got[0]"
    ),
    "import": ("try:\n    got = read(STORE)\nexcept OSError:\n    got = None\ndef reach(task): return got"),
    "a hard link": "def reach(task): return read(LINK)",
    "a symbolic link": "def reach(task): return read(LINK + '.symbolic')",
    "a file beside the plugin": "def reach(task): return read(Path(__file__).with_name('beside.bin'))",
    "a socket": (
        "def reach(task):\n"
        "    with socket.create_connection(('127.0.0.1', PORT), 5) as link:\n"
        "        return link.recv(100)"
    ),
    "the run's memory": "def reach(task): return read(f'/proc/{os.getppid()}/mem')",
    "the run's files": (
        "def reach(task):\n"
        "    for name in os.listdir('/proc'):\n"
        "        if name.isdigit():\n"
        "            for file in os.listdir(f'/proc/{name}/fd') if int(name) != os.getpid() else ():\n"
        "                if os.readlink(f'/proc/{name}/fd/{file}') == STORE:\n"
        "                    return read(f'/proc/{name}/fd/{file}')"
    ),
    "the guard switched off": (
        "def reach(task):\n    sys.modules['pcbench.engine.guard']._watch = None\n    return read(STORE)"
    ),
    "the guard suspended": (
        "def reach(task):\n"
        "    with sys.modules['pcbench.engine.guard'].suspended():\n        return read(STORE)"
    ),
}
"""By name, a function of a plugin that tries to read a file of the data store."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data store that holds a secret, as a file and in HDF5, and links to it elsewhere."""
    store = tmp_path / "data"
    store.mkdir()
    monkeypatch.setenv("PCBENCH_DATA", str(store))
    (store / "secret").write_bytes(SECRET)
    with h5py.File(store / "secret.h5", "w") as file:
        file["secret"] = np.frombuffer(SECRET, np.uint8)
    os.link(store / "secret", tmp_path / "link")
    (tmp_path / "link.symbolic").symlink_to(store / "secret")
    return store


@pytest.fixture
def port() -> Iterator[int]:
    """A server on this machine that tells the secret to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    link.sendall(SECRET)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def plugin(folder: Path, body: str, name: str = "reaching") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(body)
    return folder


def outcomes(plugins: Path, out: Path, *methods: str) -> list[Outcome]:
    request = Request(methods, ("shapes10",), (1,), protocol="quick", students=2, settings=TINY)
    planned = cells(open_catalogue([plugins]), request)
    return [execute(cell, out, CPU, lambda *_: None) for cell in planned]


@needs_wall
@pytest.mark.parametrize("route", ROUTES)
def test_no_route_leads_to_a_file_of_the_store(
    tmp_path: Path, store: Path, port: int, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "beside.bin").write_bytes(SECRET)
    head = HEAD.format(
        secret=SECRET,
        store=str(store / "secret"),
        hdf5=str(store / "secret.h5"),
        link=str(tmp_path / "link"),
        port=port,
    )
    # the route itself works where no wall is
    scope: dict[str, object] = {"__file__": str(tmp_path / "plugins" / "reaching.py")}
    if route not in ("the run's memory", "the run's files"):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        exec(compile(head + ROUTES[route], "route", "exec"), scope)
        assert SECRET in scope["reach"](None)  # type: ignore[operator]
    folder = plugin(tmp_path / "plugins", head + ROUTES[route] + TAIL)
    (outcome,) = outcomes(folder, tmp_path / "out", "reaching")
    assert outcome.run.distillation.isolation == "walled"
    assert "leaked" not in outcome.problem
    refused = ("kept out by", "saw nothing", "a method sees the training clouds alone")
    assert any(words in outcome.problem for words in refused), outcome.problem


SEARCHING = '''
import hashlib
from pathlib import Path

import torch

from pcbench.api import Method, Snapshot, Task


def held(prefix: bytes, digest: str) -> bool:
    """Whether some bytes lie anywhere in the memory of this process, given by their beginning and hash."""
    with open("/proc/self/mem", "rb") as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in span.split("-"))
            if "r" not in rights or "[v" in line:
                continue
            memory.seek(begin)
            part = memory.read(end - begin)
            place = part.find(prefix)
            while place >= 0:
                if hashlib.sha256(part[place : place + {size}]).hexdigest() == digest:
                    return True
                place = part.find(prefix, place + 1)
    return False


class Searching(Method):
    """Looks for clouds in all of its process's memory."""

    name = "searching"

    def distill(self, task: Task):
        found = [held(bytes.fromhex(prefix), digest) for prefix, digest in {clouds!r}]
        raise ValueError(f"found {{found}}")
        yield
'''


@needs_wall
def test_the_memory_of_a_methods_process_holds_training_clouds_and_no_test_cloud(tmp_path: Path) -> None:
    request = Request(("random",), ("shapes10",), (1,), protocol="quick", students=2, settings=TINY)
    (cell,) = cells(open_catalogue(), request)
    splits = cell.evaluation.splits
    contents = [
        clouds.points[number].numpy().tobytes()
        for clouds in (splits.train, splits.test)
        for number in (3, 77)
    ]
    sought = [(content[:8].hex(), hashlib.sha256(content).hexdigest()) for content in contents]
    body = SEARCHING.format(clouds=sought, size=len(contents[0]))
    (outcome,) = outcomes(plugin(tmp_path / "plugins", body, "searching"), tmp_path / "out", "searching")
    assert outcome.problem.startswith("failed: ValueError: found [True, True, False, False]")


PATCHING = '''
import importlib
import sys

import torch

from pcbench.api import Method, Snapshot, Task


def everything_right(*_, **__):
    raise AssertionError("the students' process ran a method's code")


class Patching(Method):
    """Replaces parts of pcbench, where it can."""

    name = "patching"

    def distill(self, task):
        room = "pcbench.engine."  # not written out, which `run` refuses before anything is imported
        evaluate, guard, students = (
            importlib.import_module(room + name) for name in ("evaluate", "guard", "students")
        )
        students.train = students.count_correct = evaluate.train_students = everything_right
        guard.checked = lambda expected, snapshot, earlier: snapshot
        random = [int((task.train.labels == k).nonzero()[0]) for k in range(task.train.classes)]
        yield Snapshot(0, task.train.select(torch.tensor(random)))
'''


def test_what_a_method_does_to_pcbench_stays_in_its_process(tmp_path: Path) -> None:
    folder = plugin(tmp_path / "plugins", PATCHING, "patching")
    patched, plain = outcomes(folder, tmp_path / "out", "patching", "random")
    assert (patched.problem, plain.problem) == ("", "")
    assert patched.run.evaluations[0].totals == plain.run.evaluations[0].totals
    assert not any("patching" in name for name in sys.modules)


GIVING = '''
import os, threading, time

import torch

from pcbench.api import Method, PointClouds, Snapshot, Task

time.sleep(0.3)


class Giving(Method):
    """Ends in an odd way."""

    name = "giving"

    def distill(self, task):
        chosen = [int((task.train.labels == k).nonzero()[0]) for k in range(task.train.classes)]
        clouds = task.train.select(torch.tensor(chosen))
        {body}
'''


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os._exit(3); yield", "ended by itself, with exit code 3"),
        ("os.kill(os.getpid(), 9); yield", "ended by SIGKILL, as the system does when memory runs out"),
        ("os.close(3); os.closerange(3, 100); yield", "the method's process"),
        ("yield Snapshot(0, task.train)", "clouds per class instead of 1 of each"),
        ("yield Snapshot(0, clouds); yield Snapshot(0, clouds)", "was not asked for, or came out of order"),
        ("yield Snapshot(1, clouds)", "asked for were [0, 1], or 0 alone"),
        ("raise MemoryError('too much'); yield", "MemoryError: too much"),
        ("open('note', 'w'); yield", "a method reads its own code and what its task gives it"),
    ],
)
def test_a_method_that_ends_badly_leaves_a_record_that_says_how(
    tmp_path: Path, body: str, reason: str
) -> None:
    folder = plugin(tmp_path / "plugins", GIVING.format(body=body), "giving")
    (outcome,) = outcomes(folder, tmp_path / "out", "giving")
    assert reason in outcome.problem
    (run,), problems = read_runs(tmp_path / "out")
    assert problems == []
    assert run.distillation.status in ("failed", "oom")
    assert (run.distillation.status == "oom") == ("SIGKILL" in reason or "MemoryError" in reason)


def test_work_at_import_and_in_threads_is_timed(tmp_path: Path) -> None:
    """The plugin sleeps 0.3 s when it is imported, and 0.2 s after its snapshot."""
    body = "yield Snapshot(0, clouds); time.sleep(0.2)"
    folder = plugin(tmp_path / "plugins", GIVING.format(body=body), "giving")
    (outcome,) = outcomes(folder, tmp_path / "out", "giving")
    record = outcome.run.distillation
    assert record.snapshots[0].seconds >= 0.3
    assert record.seconds >= record.snapshots[0].seconds + 0.2


def test_memory_is_that_of_the_methods_own_process(tmp_path: Path) -> None:
    large = "block = torch.ones(100_000_000); yield Snapshot(0, clouds)"
    folder = plugin(tmp_path / "plugins", GIVING.format(body=large), "giving")
    first, second = outcomes(folder, tmp_path / "out", "giving", "random")
    difference = first.run.distillation.memory.host_bytes - second.run.distillation.memory.host_bytes
    assert 380_000_000 < difference < 480_000_000


def test_a_stranger_is_imported_by_no_process_of_the_run(tmp_path: Path) -> None:
    marker = "import os\n\nif os.getpid() == {pid}:\n    raise SystemExit('imported by the run')\n"
    folder = plugin(
        tmp_path / "plugins",
        marker.format(pid=os.getpid()) + GIVING.format(body="yield Snapshot(0, clouds)"),
        "giving",
    )
    (outcome,) = outcomes(folder, tmp_path / "out", "giving")
    assert outcome.problem == ""


WEIGHTED = '''
from pathlib import Path

import torch

from pcbench.api import Method, Snapshot, Task


class Weighted(Method):
    """Reads a file that it declares."""

    name = "weighted"
    files = ("chosen.txt",)

    def distill(self, task):
        number = int(Path(__file__).with_name("chosen.txt").read_text())
        chosen = [int((task.train.labels == k).nonzero()[number]) for k in range(task.train.classes)]
        yield Snapshot(0, task.train.select(torch.tensor(chosen)))
'''


def test_a_file_that_a_method_declares_is_part_of_its_code_and_of_the_record(tmp_path: Path) -> None:
    folder = plugin(tmp_path / "plugins", WEIGHTED, "weighted")
    (folder / "chosen.txt").write_text("0")
    (first,) = outcomes(folder, tmp_path / "out", "weighted")
    assert first.problem == ""
    inputs = first.run.distillation.inputs
    assert inputs.files == ["chosen.txt"]
    (folder / "chosen.txt").write_text("1")
    (second,) = outcomes(folder, tmp_path / "out", "weighted")
    assert second.run.distillation.inputs.source != inputs.source
    assert second.run.distillation.snapshots[0].clouds != first.run.distillation.snapshots[0].clouds
    (folder / "chosen.txt").unlink()
    with pytest.raises(UsageError, match=r"there is no file 'chosen\.txt' beside the plugin"):
        outcomes(folder, tmp_path / "out", "weighted")


@pytest.mark.parametrize("name", ["../data/secret", "/etc/passwd", "a/b", ".hidden", ""])
def test_a_declared_file_lies_beside_the_plugin(tmp_path: Path, name: str) -> None:
    body = WEIGHTED.replace('("chosen.txt",)', f"({name!r},)")
    with pytest.raises(UsageError, match="there is no file"):
        outcomes(plugin(tmp_path / "plugins", body, "weighted"), tmp_path / "out", "weighted")


GENERATING = '''
import torch

from pcbench.api import Method, PointClouds, Snapshot, Task


class Generating(Method):
    """Makes the test clouds of an embedded data set by itself, which no wall can keep it from."""

    name = "generating"

    def distill(self, task):
        test = {test}
        clouds = torch.tensor(test).view(task.train.classes, *task.train.points.shape[1:])
        turned = clouds[..., [2, 1, 0]] * torch.tensor([1.0, 1.0, -1.0])
        yield Snapshot(0, PointClouds(turned, torch.arange(task.train.classes), task.train.class_names))
'''


def test_clouds_that_are_test_clouds_are_named_and_open_division(tmp_path: Path) -> None:
    request = Request(("random",), ("shapes10",), (1,), protocol="quick", students=2, settings=TINY)
    (cell,) = cells(open_catalogue(), request)
    test = cell.evaluation.splits.test
    chosen = [int((test.labels == label).nonzero()[0]) for label in range(test.classes)]
    body = GENERATING.format(test=test.points[chosen].flatten().tolist())
    leaking, honest = outcomes(
        plugin(tmp_path / "plugins", body, "generating"), tmp_path / "out", "generating", "random"
    )
    assert (leaking.problem, honest.problem) == ("", "")
    assert len(leaking.run.distillation.copies) == 10
    assert "test cloud" in leaking.run.distillation.copies[0]
    assert honest.run.distillation.copies == []


def test_code_is_read_where_it_lies_in_a_closed_folder_and_closed_folders_in_it_are_not(
    tmp_path: Path,
) -> None:
    """As where the records of a verification, or a checkout, stand below the folder of temporary files."""
    for name in ("pcbench", "leaderboard", "results"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    checkout = tmp_path / "checkout"
    assert wall.around(checkout, [tmp_path]) == [checkout]
    assert wall.around(checkout, [tmp_path, checkout / "results"]) == [
        checkout / "leaderboard",
        checkout / "pcbench",
    ]
    assert wall.around(checkout, [tmp_path / "elsewhere"]) == [checkout]
