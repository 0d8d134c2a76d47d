"""The server that processes of methods and of cells are forked from: it has imported pcbench, and no plugin.

Nothing heavy is imported here, so that it can start beside whatever a command does first.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext, SpawnContext

PRELOADED = ["pcbench.engine.preloaded", "pcbench.executors.worker"]


def context() -> ForkServerContext | SpawnContext:
    """What makes processes: the fork server or, where a system has none, fresh interpreters."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(PRELOADED)
    return forking


def start() -> None:
    """Start the server, which needs some seconds of its own for its imports; at once where it runs."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()
