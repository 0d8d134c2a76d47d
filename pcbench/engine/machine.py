"""What a run computes on: device, clock, memory, and the provenance that goes into its record."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

import pcbench
from pcbench.errors import UsageError
from pcbench.records import identity
from pcbench.records.circumstances import Clock, Hardware, Memory, Provenance

PACKAGES = ("h5py", "numpy", "pydantic", "scipy", "torch")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of glibc's mallopt(3)
CPUCLOCK_SCHED = 2  # of the numbers of Linux's clocks: what the scheduler gave a process


def rounding(device: torch.device) -> dict[str, str | int]:
    """What the last digits of a computation depend on: what was kept of one is of no use under another."""
    return {"engine": identity.ENGINE, "hardware": hardware(device).label, "torch": torch.__version__}


def choose_device(wish: str) -> torch.device:
    """`auto` is a GPU where there is one. UsageError for an unknown device or a GPU that is not there."""
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wish.partition(":")
    if kind not in ("cpu", "cuda") or (wish != kind and (kind == "cpu" or not number.isdecimal())):
        raise UsageError(f"unknown device {wish!r}. Known: auto, cpu, cuda, cuda:0, cuda:1, …", "device")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "no CUDA device is available to torch: choose the device cpu, or install a CUDA build of torch",
            "device",
        )
    device = torch.device(wish)
    if device.index is not None and device.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"there is no GPU {device.index} here: they are numbered 0 to {count - 1}", "device")
    return device


def keep_pages() -> None:
    """Ask glibc to keep freed memory for the next tensor instead of returning it to the system.

    Training allocates the same large tensors at every step; handing their pages back and faulting them in
    anew costs more than the arithmetic. Where the C library has no mallopt this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def now(device: torch.device) -> float:
    """Seconds of a monotonic clock, after everything queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of the GPU or of the machine."""
    refused = isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
    return refused or isinstance(error, torch.OutOfMemoryError | MemoryError)


def warm_up(device: torch.device) -> None:
    """Start the device and its matrix library, so that no timed phase pays for it.

    Of several GPUs it becomes the one that this process works on, unless a tensor stands elsewhere.
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    square = torch.ones(64, 64, device=device, requires_grad=True)
    (square @ square).sum().backward()
    now(device)


class Stopwatch:
    """Reads how long a phase has taken, in wall time and in processor time of all threads of this process.

    pid: another process that works for it, whose processor time counts too.
    """

    def __init__(self, device: torch.device, pid: int | None = None) -> None:
        self.device, self.pid = device, pid
        self.restart()

    def restart(self) -> None:
        """The phase begins now."""
        self._wall, self._processor = now(self.device), self._processor_now()

    def read(self) -> Clock:
        """The time since the phase began, everything queued on the device included."""
        wall, processor = now(self.device), self._processor_now()
        if processor is None or self._processor is None:
            return Clock(seconds=max(wall - self._wall, 0.0))
        return Clock(
            seconds=max(wall - self._wall, 0.0), processor_seconds=max(processor - self._processor, 0.0)
        )

    def lap(self) -> Clock:
        """As `read`, and the next phase begins at that moment."""
        clock = self.read()
        self._wall += clock.seconds
        if self._processor is not None:
            self._processor += clock.processor_seconds or 0.0
        return clock

    def _processor_now(self) -> float | None:
        """None where the other process has ended, or the system does not tell of others."""
        own = time.process_time()
        if self.pid is None:
            return own
        other = processor_seconds(self.pid)
        return None if other is None else own + other


def processor_seconds(pid: int) -> float | None:
    """Processor time of all threads of a process, by Linux's clock of it; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    except OSError:
        return None


def load(seconds: float) -> float | None:
    """Processes that wanted a processor of this machine, on average over about the last `seconds`.

    The system knows the averages of one, five and fifteen minutes; None where it knows none.
    """
    try:
        averages = os.getloadavg()
    except (AttributeError, OSError):
        return None
    return averages[0 if seconds <= 120 else 1 if seconds <= 600 else 2]


class PeakMemory:
    """Peak memory since this object was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        _reset_host_peak()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> Memory:
        """Peak resident bytes of the process (since it began, if they cannot be reset) and of the GPU."""
        device_bytes = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        return Memory(host_bytes=_host_peak(), device_bytes=device_bytes)


def _reset_host_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def process_bytes(name: str, pid: int | None = None) -> int | None:
    """What Linux says of the memory of this process, or another, as VmRSS (resident now); None elsewhere."""
    status = Path(f"/proc/{'self' if pid is None else pid}/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _host_peak() -> int:
    peak = process_bytes("VmHWM")
    if peak is not None:
        return peak
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def hardware(device: torch.device) -> Hardware:
    """The processor, or the GPU, with the cores and memory that this process may use."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    else:
        name, memory = _processor(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Hardware(
        device="cuda" if device.type == "cuda" else "cpu",
        name=name,
        cpu_cores=cores(),
        threads=torch.get_num_threads(),
        memory_bytes=memory,
        instructions="" if device.type == "cuda" else _instructions(),
    )


def free_memory() -> tuple[int | None, int]:
    """Bytes that this process may still take, and of how many: the system's, or its control group's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    info = Path("/proc/meminfo")
    told = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text()) if info.is_file() else None
    free = int(told[1]) * 1024 if told else None
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None and limit < total:
        free = min(limit - (used or 0), limit if free is None else free)
        total = limit
    return free, total


def _number(file: Path) -> int | None:
    """The number in a file of the system; None where there is none, or the word `max`."""
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _instructions() -> str:
    """The instruction set of torch's kernels and, for libraries that look closer, the processor's numbers.

    Several generations of processors may share a name in a virtual machine.
    """
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.is_file() else []
    numbers = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    known = [f"{name} {numbers[name]}" for name in ("cpu family", "model", "stepping") if name in numbers]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *known])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


_command: ContextVar[list[str] | None] = ContextVar("command", default=None)


@contextlib.contextmanager
def called_by(command: list[str]) -> Iterator[None]:
    """What is computed in the block was asked for by this command, not by that which started the process."""
    token = _command.set(command)
    try:
        yield
    finally:
        _command.reset(token)


def command() -> list[str]:
    """The words of the command that asks for what is computed."""
    return _command.get() or ["pcbench", *sys.argv[1:]]


_attempt: ContextVar[str] = ContextVar("attempt", default="")


@contextlib.contextmanager
def attempted(attempt: str) -> Iterator[None]:
    """What is recorded in the block was made by the attempt of this id."""
    token = _attempt.set(attempt)
    try:
        yield
    finally:
        _attempt.reset(token)


def provenance(device: torch.device, seconds: float = 0.0) -> Provenance:
    """Versions, commit, command and hardware of this process, and the machine's load over `seconds`."""
    commit, dirty = _git_state(Path(pcbench.__file__).parent)
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command(),
        python=platform.python_version(),
        platform=platform.platform(),
        packages={"pcbench": pcbench.__version__, **{name: version(name) for name in PACKAGES}},
        git_commit=commit,
        git_dirty=dirty,
        hardware=hardware(device),
        load=load(seconds),
        attempt=_attempt.get(),
    )


def _git_state(package: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout that the package runs from; nothing for an installed package."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *words], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != package.parent.resolve():
        return None, None
    commit = git("rev-parse", "--verify", "--quiet", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no")
    return (commit, None if status is None else bool(status)) if commit else (None, None)
