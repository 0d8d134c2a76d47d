"""What this machine offers to runs and what is wrong with it, each finding with its remedy: `pcbench doctor`.

Nothing is changed and nothing is computed. Plugins from outside are imported, as `pcbench list` does.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import filelock
import torch

import pcbench
from pcbench.catalogue.kinds import LABELS
from pcbench.common.places import cache_root, data_root
from pcbench.datasets import store
from pcbench.engine import machine, wall
from pcbench.errors import DataError, UsageError
from pcbench.records import attempts, layout
from pcbench.records.store import read_runs

if TYPE_CHECKING:
    from pcbench.catalogue import Catalogue
    from pcbench.catalogue.loading import Plugin

Result = Literal["ok", "warning", "problem"]

GIB = 1 << 30
LITTLE_MEMORY, LITTLE_DISK = 2 * GIB, 2 * GIB
"""Bytes below which a run of a standard protocol may end for want of room."""
NO_DISK = GIB // 10
"""Bytes below which a run will fail."""
FULL_CACHE = 20 * GIB
"""Bytes of tensors that can be made again, from which on it is worth to say so."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    """What it is about, in a word or two."""
    result: Result
    """`problem` is what a run will fail by, `warning` what makes it slow, or its record say less."""
    what: str
    """What is the case."""
    remedy: str = ""
    """What to do about it; empty where all is well."""


def checkup(catalogue: Callable[[], Catalogue], results: Path) -> list[Finding]:
    """All findings, in the order in which a person looks for a fault.

    catalogue: opens that of all plugins; what it refuses is a finding too. results: the folder of records.
    """
    return [
        *software(),
        *devices(),
        *memory(),
        *processors(),
        *isolation(),
        *plugins(catalogue),
        *datasets(),
        *records(results),
        *locks(results),
        *disk(results),
    ]


def software() -> Iterator[Finding]:
    """The versions that results may depend on."""
    packages = ", ".join(f"{name} {version(name)}" for name in machine.PACKAGES)
    place = Path(pcbench.__file__).parent
    yield Finding(
        "software",
        "ok",
        f"pcbench {pcbench.__version__} in {place}, Python {platform.python_version()}, {packages}, "
        f"{platform.platform(terse=True)}",
    )


def devices() -> Iterator[Finding]:
    """The GPUs that torch can use, with their driver; or why it uses none."""
    driver = _driver()
    if not torch.cuda.is_available():
        if driver and torch.version.cuda is None:
            remedy = "install a CUDA build of torch: the README's 'Install' has the line"
            yield Finding("device", "warning", f"driver {driver}, but torch is built for the CPU", remedy)
        elif driver:
            remedy = "look at 'nvidia-smi' and CUDA_VISIBLE_DEVICES; a driver may be too old for this CUDA"
            what = f"driver {driver}, and torch for CUDA {torch.version.cuda} sees no GPU"
            yield Finding("device", "warning", what, remedy)
        else:
            yield Finding("device", "ok", f"no GPU; {machine.hardware(torch.device('cpu')).label}")
        return
    known = torch.cuda.get_arch_list()
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        properties = torch.cuda.get_device_properties(number)
        what = (
            f"cuda:{number} {properties.name}, {_size(free)} of {_size(total)} free, "
            f"driver {driver or 'unknown'}, CUDA {torch.version.cuda}"
        )
        if known and 10 * properties.major + properties.minor < min(map(_architecture, known)):
            remedy = "install a torch that still knows this GPU, or take the device cpu"
            yield Finding("device", "problem", f"{what}: older than this torch supports", remedy)
        else:
            yield Finding("device", "ok", what)


def memory() -> Iterator[Finding]:
    """The memory that a process may still take."""
    free, total = machine.free_memory()
    if free is None:
        yield Finding("memory", "ok", "this system does not say how much is free")
        return
    what = f"{_size(free)} of {_size(total)} free"
    if free < LITTLE_MEMORY:
        remedy = "end other work, or take the protocol quick and a smaller network"
        yield Finding("memory", "warning", what, remedy)
    else:
        yield Finding("memory", "ok", what)


def processors() -> Iterator[Finding]:
    """Cores against torch's threads and other work."""
    cores, threads = machine.hardware(torch.device("cpu")).cpu_cores, torch.get_num_threads()
    waiting = machine.load(60.0)
    what = f"{cores} for this process, torch takes {threads} threads"
    if waiting is not None:
        what += f", {waiting:.1f} processes want one"
    if threads > cores:
        remedy = f"set OMP_NUM_THREADS={cores}: threads that wait for one another are slower than fewer"
        yield Finding("processors", "warning", what, remedy)
    elif waiting is not None and waiting > cores:
        remedy = "times will be marked 'busy' and left out of tables; accuracies do not suffer"
        yield Finding("processors", "warning", what, remedy)
    else:
        yield Finding("processors", "ok", what)


def isolation() -> Iterator[Finding]:
    """How far the process of a method is closed off."""
    known = wall.version()
    if known:
        yield Finding("isolation", "ok", f"methods work walled in (Landlock {known})")
    else:
        yield Finding(
            "isolation",
            "warning",
            "this system cannot wall in the process of a method; records will say 'process', not 'walled'",
            "run what you will submit on Linux 5.13 or newer with Landlock",
        )


def plugins(catalogue: Callable[[], Catalogue]) -> Iterator[Finding]:
    """Every plugin that cannot be used, with the reason, and how many can."""
    try:
        opened = catalogue()
        known: list[Plugin[Any]] = [*opened.methods.plugins(), *opened.backbones.plugins()]
        known += opened.datasets.plugins()
    except UsageError as error:
        yield Finding("plugins", "problem", str(error), "rename or remove one of the files that it names")
        return
    for plugin in known:
        if plugin.error is not None:
            what = f"{LABELS[plugin.kind]} {plugin.name!r} cannot be used: {plugin.error}"
            yield Finding("plugins", "problem", what, f"mend it, then 'pcbench check {plugin.path}'")
    counts = ", ".join(
        f"{sum(plugin.kind == kind and plugin.error is None for plugin in known)} {label}s"
        for kind, label in LABELS.items()
    )
    outside = sum(not plugin.built_in for plugin in known)
    yield Finding("plugins", "ok", f"{counts} can be used, {outside} of them from outside")


def datasets() -> Iterator[Finding]:
    """The data sets in the store, without hashing their clouds again."""
    root = data_root()
    names = store.stored_names()
    for name in names:
        try:
            manifest = store.read_manifest(name)
        except DataError as error:
            yield Finding("data", "problem", str(error), f"'pcbench data import {name} PATH'")
            continue
        what = f"{name}: {manifest.train} / {manifest.test} clouds of {manifest.points} points"
        if not store.stored(name):
            remedy = f"'pcbench data remove {name}', then import it again"
            yield Finding("data", "problem", f"{what}, whose file is gone", remedy)
        elif not manifest.complete:
            remedy = "import a complete copy; until then every record says 'standard: false'"
            yield Finding("data", "warning", f"{what}, an incomplete copy", remedy)
        else:
            yield Finding("data", "ok", what)
    if not names:
        yield Finding("data", "ok", f"nothing imported into {root} yet: 'pcbench docs data'")


def records(results: Path) -> Iterator[Finding]:
    """Whether the records of a folder can be read."""
    if not results.is_dir():
        yield Finding("records", "ok", f"no folder {results} here yet")
        return
    if not os.access(results, os.W_OK):
        remedy = "take another folder for the records, or ask for the right to write"
        yield Finding("records", "problem", f"{results} cannot be written to", remedy)
    runs, problems = read_runs(results)
    for problem in problems:
        remedy = "run the same cell again, which makes it anew; or take the file away"
        yield Finding("records", "problem", problem, remedy)
    begun = layout.begun_folders(results)
    what = f"{len(runs)} runs in {results} can be read"
    if begun:
        what += f", {len(begun)} begun and not finished"
        yield Finding("records", "warning", what, "the same 'pcbench run' goes on with them")
    else:
        yield Finding("records", "ok", what)


def locks(results: Path) -> Iterator[Finding]:
    """What other processes hold at the moment, and cells whose process is gone.

    Whoever works at a cell of a folder of records, on whichever machine, has left word of it there.
    """
    of_data = sorted(data_root().glob(".*.lock"))
    writing = [path.name.removeprefix(".").removesuffix(".lock") for path in of_data if _held(path)]
    if writing:
        remedy = "wait, or end that process: the lock goes with it"
        yield Finding("locks", "warning", f"another process writes the data set {', '.join(writing)}", remedy)
    at_work: list[str] = []
    gone: list[str] = []
    for path in sorted(layout.attempts(results).glob("*.json")):
        attempt = attempts.read(path)
        if attempt is not None and attempt.status == "running":
            key = path.name.partition("-")[0]
            (at_work if attempts.alive(results, key, attempt) else gone).append(attempt.title)
    if gone:
        what = f"the process of {len(gone)} cells in {results} is gone, as of {gone[0]}"
        yield Finding("locks", "warning", what, "run the same command again: it goes on where that one stood")
    working = f"{len(at_work)} cells are at work in {results}" if at_work else "none is held"
    yield Finding("locks", "ok", working)


def disk(results: Path) -> Iterator[Finding]:
    """Room where pcbench writes, a file system once, and what of it can be made again."""
    places = {"records": results.absolute(), "data": data_root(), "cache": cache_root()}
    places["temporary files"] = Path(tempfile.gettempdir())
    shared: dict[int, list[str]] = {}
    for name, place in places.items():
        shared.setdefault(_existing(place).stat().st_dev, []).append(name)
    for names in shared.values():
        room = shutil.disk_usage(_existing(places[names[0]]))
        what = f"{_size(room.free)} of {_size(room.total)} free for {', '.join(names)}"
        if room.free < LITTLE_DISK:
            remedy = "free some space, or let PCBENCH_DATA or XDG_CACHE_HOME name a roomier place"
            yield Finding("disk", "problem" if room.free < NO_DISK else "warning", what, remedy)
        else:
            yield Finding("disk", "ok", what)
    again = [cache_root() / folder for folder in ("tensors", "training")]
    size = sum(path.stat().st_size for folder in again for path in folder.glob("*.h5"))
    if size > FULL_CACHE:
        remedy = f"remove {' and '.join(map(str, again))}: what is needed is made again"
        yield Finding("disk", "warning", f"{_size(size)} of networks and features are kept", remedy)


def _driver() -> str:
    """The version of NVIDIA's driver, as Linux tells it; `present` where there is its tool; else empty."""
    told = Path("/proc/driver/nvidia/version")
    if told.is_file():
        numbers = re.search(r"\b\d+\.\d+(\.\d+)?\b", told.read_text())
        return numbers[0] if numbers else "present"
    return "present" if shutil.which("nvidia-smi") else ""


def _architecture(name: str) -> int:
    """The number in sm_90, or in compute_90."""
    return int("".join(filter(str.isdigit, name)) or 0)


def _held(path: Path) -> bool:
    """Whether another process holds a lock."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except (filelock.Timeout, OSError):
        return True
    lock.release()
    return False


def _existing(path: Path) -> Path:
    """The nearest folder around a path that there is."""
    return next(each for each in (path, *path.parents) if each.exists())


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
