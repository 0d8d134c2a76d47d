"""pcbench: benchmark and leaderboard for dataset distillation of 3D point clouds.

What scripts and notebooks use stands here, and is imported when it is first asked for::

    import pcbench

    done = pcbench.run(method=["random", "sadm"], ppc=3, on_progress=pcbench.show_progress)
    scores = pcbench.results("results")
    clouds = pcbench.load_clouds(done[1])

`pcbench docs python`, or docs/python.md, has the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcbench.engine.cell import Absent
    from pcbench.engine.evaluate import Outcome
    from pcbench.errors import DataError, PcbenchError, UsageError
    from pcbench.python.answered import predictions
    from pcbench.python.distilled import Clouds, load_clouds
    from pcbench.python.frames import results
    from pcbench.python.progress import Progress, show_progress
    from pcbench.python.running import Outcomes, evaluate, run

__version__ = "0.1.0"
__all__ = [
    "Absent",
    "Clouds",
    "DataError",
    "Outcome",
    "Outcomes",
    "PcbenchError",
    "Progress",
    "UsageError",
    "__version__",
    "evaluate",
    "load_clouds",
    "predictions",
    "results",
    "run",
    "show_progress",
]

_HOMES = {
    "Absent": "pcbench.engine.cell",
    "Clouds": "pcbench.python.distilled",
    "DataError": "pcbench.errors",
    "Outcome": "pcbench.engine.evaluate",
    "Outcomes": "pcbench.python.running",
    "PcbenchError": "pcbench.errors",
    "Progress": "pcbench.python.progress",
    "UsageError": "pcbench.errors",
    "evaluate": "pcbench.python.running",
    "load_clouds": "pcbench.python.distilled",
    "predictions": "pcbench.python.answered",
    "results": "pcbench.python.frames",
    "run": "pcbench.python.running",
    "show_progress": "pcbench.python.progress",
}
"""The module of each name: nothing heavy is imported with the package, which its own rooms import too."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pcbench' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
