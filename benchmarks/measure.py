"""Seconds, peak memory, FLOP, and what the machine can do: its matrix rate and its memory rate."""

from __future__ import annotations

import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pcbench.engine import machine
from pcbench.errors import PcbenchError

Side = Literal["plain", "pcbench"]
M_MMAP_THRESHOLD = -3
RATE_SECONDS = 0.4


@dataclass
class Watch:
    """Times what stands in its `with` blocks, after everything queued on the device is done.

    processor: seconds of all threads together, which other programs on the machine disturb less.
    """

    device: torch.device
    seconds: float = 0.0
    processor: float = 0.0
    began: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> None:
        self.began = machine.now(self.device), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += machine.now(self.device) - self.began[0]
        self.processor += time.process_time() - self.began[1]


Work = Callable[[Watch], Mapping[str, Tensor]]
"""One run of a side: it times itself and gives the results that the other side must agree with."""


@dataclass(frozen=True)
class Case:
    """One line of a benchmark.

    units, unit: what one timed run does, so that seconds per unit can be told. bytes: that must cross memory,
    by `formula`. tolerances: the largest relative difference of every result, |a - b| / |a|.
    """

    name: str
    sides: Mapping[Side, Work]
    unit: str
    units: int
    bytes: int
    formula: str
    tolerances: Mapping[str, float]


def set_allocator(side: Side) -> None:
    """How the C library treats freed memory: as pcbench sets it, or as glibc does in any script.

    Untouched, glibc raises its threshold for separate mappings up to 32 MiB and trims at twice of that; once
    touched it stays where it is put, hence these figures. Both sides share one process, so it is put anew.
    """
    if side == "pcbench":
        machine.keep_pages()
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(machine.M_MMAP_MAX, 65536)
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(machine.M_TRIM_THRESHOLD, 64 << 20)


class Products(TorchDispatchMode):
    """Counts the FLOP of matrix products by the formulas of `torch.utils.flop_counter`.

    Its `FlopCounterMode` also follows modules, which fails where a gradient is differentiated, and does not
    know products that are added in place.
    """

    flop = 0
    added = (torch.ops.aten.addmm_, torch.ops.aten.baddbmm_)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if packet in self.added:
            self.flop += 2 * args[1].numel() * args[2].shape[-1]
        elif packet in flop_registry:
            self.flop += flop_registry[packet](*args, **kwargs, out_val=result)
        return result


def once(work: Work, device: torch.device) -> tuple[Watch, dict[str, Tensor]]:
    watch = Watch(device)
    found = dict(work(watch))
    return watch, found


def memory_and_flop(work: Work, device: torch.device) -> dict[str, int]:
    """Peak memory over what was there before, and FLOP of matrix products, of one run in this process.

    It works in one thread, the only one whose products a dispatch mode sees.
    """
    torch.set_num_threads(1)
    machine.warm_up(device)
    before = (
        torch.cuda.memory_allocated(device) if device.type == "cuda" else machine.process_bytes("VmRSS") or 0
    )
    peak = machine.PeakMemory(device)
    with Products() as counter:
        once(work, device)
    read = peak.read()
    highest = read.host_bytes if read.device_bytes is None else read.device_bytes
    return {"peak_bytes": max(0, highest - before), "flop": counter.flop}


def in_a_process(words: Sequence[str]) -> dict[str, int]:
    """What a `pcbench` command prints as JSON, run by a process of its own."""
    call = [sys.executable, "-c", "from pcbench.cli.main import main; main()", *words]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PcbenchError(f"measuring memory failed: {done.stderr.strip() or done.returncode}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def differences(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative differences |a - b| / |a| of results by name."""
    if one.keys() != other.keys():
        raise ValueError(f"results {sorted(one)} and {sorted(other)}")
    found = {}
    for name, value in one.items():
        a, b = (x.detach().double() for x in (value, other[name]))
        size = float(a.norm())
        gap = float((a - b).norm())
        found[name] = gap / size if size else gap
    return found


def alternating(
    case: Case, device: torch.device, seconds: float, allocators: Mapping[Side, Side]
) -> tuple[dict[Side, list[Watch]], dict[str, float]]:
    """Every side's runs in turn, timed, and how far their results differ.

    Each side runs once untimed, then at least twice, and on until `seconds` are spent.
    """

    def run(side: Side) -> tuple[Watch, dict[str, Tensor]]:
        set_allocator(allocators[side])
        return once(case.sides[side], device)

    results = {side: run(side)[1] for side in case.sides}
    gaps = differences(results["plain"], results["pcbench"]) if len(results) == 2 else {}
    times: dict[Side, list[Watch]] = {side: [] for side in case.sides}
    began = time.perf_counter()
    rounds = 0
    while rounds < 2 or (time.perf_counter() - began < seconds and rounds < 50):
        for side, known in times.items():
            known.append(run(side)[0])
        rounds += 1
    return times, gaps


def _best_rate(work: Callable[[], object], amount: float, device: torch.device) -> float:
    work()
    rates: list[float] = []
    began = machine.now(device)
    while len(rates) < 3 or machine.now(device) - began < RATE_SECONDS:
        start = machine.now(device)
        work()
        rates.append(amount / (machine.now(device) - start))
    return max(rates)


def matrix_rate(device: torch.device) -> float:
    """FLOP per second of the best of some float32 products, of the sizes that occur in backbones."""
    machine.warm_up(device)
    rates = []
    for m, k, n in ((128, 128, 8192), (512, 512, 8192), (1024, 128, 8192), (1024, 1024, 8192)):
        a, b = torch.rand(m, k, device=device), torch.rand(k, n, device=device)
        c = torch.empty(m, n, device=device)
        rates.append(_best_rate(lambda a=a, b=b, c=c: torch.mm(a, b, out=c), 2 * m * k * n, device))
    return max(rates)


def memory_rate(device: torch.device) -> float:
    """Bytes per second read and written by a copy of 256 MiB."""
    a = torch.ones(64 << 20, device=device)
    b = torch.empty_like(a)
    return _best_rate(lambda: b.copy_(a), 2 * a.nbytes, device)


def report(
    case: Case,
    device: torch.device,
    times: Mapping[Side, Sequence[Watch]],
    gaps: Mapping[str, float],
    memory: Mapping[Side, Mapping[str, int]],
    rates: tuple[float, float],
) -> dict[str, Any]:
    """The figures of one line. The floor: its products or its bytes at the machine's rates, the longer."""
    matrix, copy = rates
    sides: dict[str, Any] = {
        side: {
            "seconds": statistics.median(run.seconds for run in known),
            "seconds_per_unit": statistics.median(run.seconds for run in known) / case.units,
            "processor_seconds": statistics.median(run.processor for run in known),
            "runs": [run.seconds for run in known],
            **memory.get(side, {}),
        }
        for side, known in times.items()
    }
    flop = min((side["flop"] for side in memory.values()), default=0)
    floor = max(flop / matrix, case.bytes / copy)
    ours = sides["pcbench"]["seconds"]
    return {
        "line": case.name,
        "unit": case.unit,
        "units": case.units,
        **sides,
        "bytes": case.bytes,
        "bytes_formula": case.formula,
        "matrix_rate": matrix,
        "memory_rate": copy,
        "floor_seconds": floor,
        "ratio": sides["plain"]["seconds"] / ours if "plain" in sides else None,
        "processor_ratio": sides["plain"]["processor_seconds"] / sides["pcbench"]["processor_seconds"]
        if "plain" in sides
        else None,
        "to_floor": ours / floor if floor else None,
        "differences": dict(gaps),
        "tolerances": dict(case.tolerances),
        "agrees": all(gap <= case.tolerances[name] for name, gap in gaps.items()) if gaps else None,
        "device": machine.hardware(device).label,
    }
