"""Runs a method in a process of its own, and serves what it asks for.

Each method and each cell gets a fresh process, forked in some milliseconds from a server that has imported
pcbench and no plugin. What it sends is checked like a stranger's file.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from pcbench.api import PointClouds, Snapshot, Stored
from pcbench.catalogue import Catalogue
from pcbench.catalogue.loading import UnusablePlugin
from pcbench.common.text import one_line
from pcbench.datasets.store import cache_root, data_root
from pcbench.engine import server
from pcbench.engine.assignment import Assignment, Runner
from pcbench.engine.child import main
from pcbench.engine.guard import MethodFault
from pcbench.engine.messages import BrokenMessage, Message, receive, send
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.optimisers import packed, unpacked
from pcbench.errors import DataError, PcbenchError, Thing, UsageError
from pcbench.records.circumstances import Memory
from pcbench.records.inputs import Network

GRACE = 2.0
"""Seconds that a process has to end by itself."""


class MethodFailed(PcbenchError):
    """A method's process ended in an error; the message says which."""

    def __init__(self, reason: str, trace: str = "", out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.trace = trace
        """Its traceback."""
        self.out_of_memory = out_of_memory
        """Whether memory ran out."""


class Worker:
    """A fresh process for one method."""

    def __init__(self, process: BaseProcess, connection: Connection, scratch: Path) -> None:
        self.process, self.connection = process, connection
        self.scratch = scratch
        """The one folder that it may write to; it goes with the process."""

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid or 0

    def send(self, message: Message) -> None:
        """Send it a message; MethodFailed where it is gone."""
        try:
            send(self.connection, message)
        except BrokenMessage as error:
            raise self._gone(error) from error

    def receive(self) -> Message:
        """Its next message that is not a line to print; MethodFailed where it failed or is gone."""
        while True:
            try:
                message = receive(self.connection)
            except BrokenMessage as error:
                raise self._gone(error) from error
            if message.word == "print":
                print(one_line(message.values.get("line", ""), 2000), file=sys.stderr)
            elif message.word == "failed":
                raise _failure(message.values)
            else:
                return message

    def _gone(self, error: BrokenMessage) -> MethodFailed:
        self.process.join(GRACE)
        code = self.process.exitcode
        if code is None:
            return MethodFailed(f"the method's process: {error}")
        reason, out_of_memory = how_it_ended(code)
        return MethodFailed(f"the method's process {reason}", "", out_of_memory)


def how_it_ended(code: int) -> tuple[str, bool]:
    """What the exit code of a process says that said nothing itself, and whether memory may have run out."""
    if code >= 0:
        return f"ended by itself, with exit code {code}", False
    name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
    killed = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{killed}", bool(killed)


def _failure(values: Mapping[str, Any]) -> PcbenchError:
    """The error that a process tells of."""
    reason, trace = one_line(str(values.get("reason")), 1000), str(values.get("traceback"))[:100_000]
    if values.get("exit code") == UsageError.exit_code:
        things: list[Thing] = [thing for thing in get_args(Thing) if thing in (values.get("things") or ())]
        return (
            UnusablePlugin(reason)
            if values.get("kind") == UnusablePlugin.__name__
            else UsageError(reason, *things)
        )
    return MethodFailed(reason, trace, values.get("out of memory") is True)


_ready: list[tuple[BaseProcess, Connection]] = []
"""The process that `prepare` has started for the next method."""


def prepare() -> None:
    """Fork the process of the next method from this one, which must hold nothing that methods may not see."""
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe()
    process = forking.Process(target=_alone, args=(theirs,), name="pcbench method")
    process.start()
    theirs.close()
    _ready.append((process, ours))


def _alone(connection: Connection) -> None:
    """A forked process of a method: of its parent's open files it keeps its pipe and the terminal alone."""
    kept = connection.fileno()
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    main(connection)


def _started() -> tuple[BaseProcess, Connection]:
    """A process for a method, and this end of the pipe to it."""
    if _ready:
        return _ready.pop()
    context = server.context()
    ours, theirs = context.Pipe()
    process = context.Process(target=main, args=(theirs,), name="pcbench method")
    with without_main():
        process.start()
    theirs.close()
    return process, ours


@contextlib.contextmanager
def worker() -> Iterator[Worker]:
    """A fresh process; it is gone, with all that it started in its group, when the block ends."""
    with tempfile.TemporaryDirectory(prefix="pcbench-", ignore_cleanup_errors=True) as scratch:
        process, ours = _started()
        try:
            yield Worker(process, ours, Path(scratch))
        finally:
            ours.close()
            process.join(GRACE if sys.exc_info()[0] is None else 0)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.kill()
            process.join()
            process.close()


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Start a process without running the user's main module in it again, which it does not need."""
    names = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: names.pop(name) for name in ("__spec__", "__file__") if name in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names["__spec__"] = None
        names.update(kept)


def choose(catalogue: Catalogue, spec: str, values: Mapping[str, Any], origin: str) -> ChosenMethod:
    """As `methods.chosen`, in a process of its own."""
    with worker() as process:
        asked = {
            **_surroundings(catalogue, process, ()),
            "spec": spec,
            "params": dict(values),
            "origin": origin,
        }
        process.send(Message("choose", asked))
        try:
            return ChosenMethod.from_values(process.receive().values)
        except MethodFailed as error:
            raise UnusablePlugin(f"method {spec!r} cannot be used: {error}") from error


def _surroundings(catalogue: Catalogue, process: Worker, closed: Sequence[Path]) -> dict[str, Any]:
    """What every process is told of its surroundings."""
    return {
        "folders": [str(folder.resolve()) for folder in catalogue.methods.folders],
        "environment": {"PCBENCH_DATA": str(data_root()), "PCBENCH_CACHE": str(cache_root())},
        "scratch": str(process.scratch),
        "closed": [str(folder.resolve()) for folder in (data_root(), cache_root(), *closed)],
    }


def distil(
    catalogue: Catalogue,
    choice: ChosenMethod,
    network: Network,
    assignment: Assignment,
    closed: Sequence[Path],
    process: Worker,
    begin: Callable[[bool], None],
    runner: Runner,
) -> Memory:
    """Have a method do its work in a process; its peak memory.

    assignment: its training clouds on the CPU. closed: folders that it may not read. begin: called, with
    whether the process is walled in, at the moment from which all that the process does counts. Raises
    MethodFailed, and MethodFault for what the runner finds.
    """
    clouds = assignment.train
    tensors = {"points": clouds.points, "labels": clouds.labels}
    if assignment.selected is not None:
        tensors["selected"] = assignment.selected
    if assignment.earlier is not None:
        tensors |= packed(assignment.earlier.state)
    values = {
        **_surroundings(catalogue, process, closed),
        "method": asdict(choice),
        "network": {"name": network.name, "preset": network.preset},
        "class names": list(clouds.class_names),
        "ppc": assignment.ppc,
        "iterations": assignment.iterations,
        "snapshots": list(assignment.snapshots),
        "axes": dict(assignment.axes),
        "trained axes": dict(assignment.trained_axes),
        "done": None if assignment.earlier is None else assignment.earlier.iteration,
        "keep every": assignment.keep_every,
        "threads": torch.get_num_threads(),
        "device": str(assignment.device),
    }
    process.send(Message("distil", values, tensors))
    begin(process.receive().values.get("walled") is True)
    last = _serve(process, runner, "end").values
    return Memory(host_bytes=last["host bytes"], device_bytes=last["device bytes"])


def _serve(process: Worker, runner: Runner, until: str) -> Message:
    """Do what a method's process asks for, up to a message of that word, which is given back."""

    def remade() -> Mapping[str, Tensor]:
        process.send(Message("make"))
        return _serve(process, runner, "made").tensors

    while True:
        message = process.receive()
        values, tensors = message.values, message.tensors
        try:
            match message.word:
                case word if word == until:
                    return message
                case "report":
                    runner.report(one_line(values["phase"], 80), int(values["done"]), int(values["total"]))
                case "snapshot":
                    clouds = PointClouds(tensors["points"], tensors["labels"], tuple(values["class names"]))
                    runner.snapshot(Snapshot(int(values["iteration"]), clouds))
                case "stored":
                    stored = Stored.of(str(values["expansion"]), tensors)
                    clouds = stored.expand(tuple(values["class names"]))
                    runner.snapshot(Snapshot(int(values["iteration"]), clouds, stored))
                case "went on":
                    runner.went_on()
                case "keep":
                    runner.keep(int(values["iteration"]), unpacked(tensors))
                case "log":
                    texts = dict(values["values"])
                    runner.log(int(values["iteration"]), {str(k): float(v) for k, v in texts.items()})
                case "trained network":
                    process.send(Message("tensors", {}, runner.trained_network()))
                case "cached":
                    process.send(Message("tensors", {}, runner.cached(dict(values["inputs"]), remade)))
                case word:
                    raise MethodFault(
                        f"the method's process asks for {one_line(word, 80)!r}, which is nothing"
                    )
        except (KeyError, TypeError, ValueError) as error:
            raise MethodFault(f"{one_line(message.word, 80)}: {type(error).__name__}: {error}") from error
        except DataError as error:
            raise MethodFault(f"{one_line(message.word, 80)}: {error}") from error
