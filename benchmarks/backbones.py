"""Measures every backbone on this machine and writes docs/backbones.md: size, work, time, memory.

    python benchmarks/backbones.py                 # all of them, some minutes on two cores
    python benchmarks/backbones.py dgcnn pct       # their rows alone; the others stay
    python benchmarks/backbones.py dgcnn --json    # one, as a JSON document, without the file

Each network is measured in a process of its own, so that its peak memory is its own, against the matrix rate
that the same process reaches. Times are those of the fastest of some calls: what else runs only adds to them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pcbench.catalogue import open_catalogue
from pcbench.engine import machine
from pcbench.ops.layers import set_dropout

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
CLASSES, CLOUDS, POINTS = 40, 8, 1024
SECONDS, MATRIX_SECONDS = 2.0, 0.5  # of repetitions for one figure, after one call that is not counted
CPU = torch.device("cpu")


def fastest(work: Callable[[], object], seconds: float = SECONDS) -> float:
    """Seconds of one call: the least of at least three, after a first that is not counted."""
    work()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 50):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_rate() -> float:
    """FLOP per second of the best of some float32 products, of the sizes that occur in backbones."""
    rates = []
    for m, k, n in ((64, 64, 8192), (128, 128, 8192), (512, 512, 8192), (1024, 1024, 8192)):
        a, b, c = torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)
        seconds = fastest(lambda a=a, b=b, c=c: torch.mm(a, b, out=c), MATRIX_SECONDS)
        rates.append(2 * m * k * n / seconds)
    return max(rates)


def added_product(_: Any, a: Sequence[int], b: Sequence[int], **__: Any) -> int:
    """FLOP of what adds the product of matrices of these shapes to a tensor in place: torch counts none."""
    return 2 * math.prod(a) * b[-1]


def flops(work: Callable[[], object]) -> int:
    """Multiplications and additions of the matrix products of one call."""
    in_place = dict.fromkeys((torch.ops.aten.addmm_, torch.ops.aten.baddbmm_), added_product)
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        work()
    return int(counter.get_total_flops())


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(spec: str) -> dict[str, Any]:
    """All figures of one network; seconds, bytes and FLOP are of 8 clouds of 1024 points."""
    machine.keep_pages()
    cls, preset = open_catalogue().backbone(spec)
    draw = torch.Generator().manual_seed(0)
    network = cls.build(CLASSES, preset, draw)
    set_dropout(network, [torch.Generator()])
    clouds = torch.randn(CLOUDS, POINTS, 3, generator=draw)
    clouds /= clouds.norm(dim=-1).amax(1)[:, None, None]
    labels = torch.arange(CLOUDS)
    optimiser = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9, fused=True)
    search = fastest(lambda: network.geometry(clouds))
    geometry = network.geometry(clouds)

    @torch.inference_mode()
    def forward() -> Tensor:
        return network(clouds, *geometry)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(clouds, *geometry), labels).backward()
        optimiser.step()

    network.eval()
    before = peak_bytes()
    forward_seconds = fastest(forward)
    forward_bytes = peak_bytes() - before
    forward_flops = flops(forward)
    network.train()
    step_seconds = fastest(step)
    step_bytes = peak_bytes() - before
    return {
        "network": f"{cls.name}:{preset}",
        "parameters": sum(p.numel() for p in network.parameters()),
        "geometry_seconds": search,
        "forward_flop": forward_flops,
        "forward_seconds": forward_seconds,
        "forward_bytes": forward_bytes,
        "step_flop": flops(step),
        "step_seconds": step_seconds,
        "step_bytes": step_bytes,
        "matrix_rate": matrix_rate(),
    }


def networks() -> list[str]:
    registry = open_catalogue().backbones
    names = [name for name in registry.names() if registry.get(name).tried().error is None]
    return [f"{name}:{preset}" for name in names for preset in registry.load(name).presets]


def in_its_own_process(spec: str) -> dict[str, Any]:
    command = [sys.executable, __file__, spec, "--json"]
    bound = {"OMP_PROC_BIND": "true", **os.environ}  # threads that share a core wait for each other
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=bound)
    if done.returncode:
        raise SystemExit(f"{spec}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


COLUMNS = (
    "network",
    "parameters",
    "GFLOP per cloud",
    "search",
    "forward",
    "/ floor",
    "training step",
    "/ floor",
    "memory forward",
    "memory step",
)


def row(found: dict[str, Any]) -> str:
    rate = found["matrix_rate"]
    cells = (
        f"`{found['network']}`",
        f"{found['parameters']:,}",
        f"{found['forward_flop'] / CLOUDS / 1e9:.2f}",
        f"{1000 * found['geometry_seconds']:.0f} ms",
        f"{1000 * found['forward_seconds']:.0f} ms",
        f"{found['forward_seconds'] * rate / found['forward_flop']:.1f}",
        f"{1000 * found['step_seconds']:.0f} ms",
        f"{found['step_seconds'] * rate / found['step_flop']:.1f}",
        f"{found['forward_bytes'] / 1e6:.0f} MB",
        f"{found['step_bytes'] / 1e6:.0f} MB",
    )
    return f"| {' | '.join(cells)} |"


def page(results: list[dict[str, Any]], text: str) -> str:
    """The page with the rows of these networks made anew; those of another machine or torch go."""
    rate = max(found["matrix_rate"] for found in results)
    where = machine.provenance(CPU)
    conditions = (
        f"Measured on {where.hardware.label}, torch {where.packages['torch']}: {CLOUDS} clouds of {POINTS} "
        f"points, {CLASSES} classes, float32."
    )
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    old = table.splitlines() if conditions in table else []
    rows = {line.split("`")[1]: line for line in old if line.startswith("| `")}
    rows |= {found["network"]: row(found) for found in results}
    lines = [
        f"{conditions} Its matrix products reach {rate / 1e9:.0f} GFLOP/s.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        *(rows[network] for network in networks() if network in rows),
    ]
    return f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}"


BEGIN, END = "<!-- table: benchmarks/backbones.py -->", "<!-- end of table -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", nargs="*", help="NAME[:PRESET]; default: all")
    parser.add_argument("--json", action="store_true", help="print the figures, leave the page as it is")
    asked = parser.parse_args()
    if asked.json and len(asked.network) == 1:
        print(json.dumps(measured(asked.network[0])))
        return
    results = []
    for spec in asked.network or networks():
        results.append(in_its_own_process(spec))
        print(row(results[-1]), file=sys.stderr, flush=True)
        if not asked.json:
            PAGE.write_text(page(results, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if asked.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
