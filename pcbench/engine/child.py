"""The process that a method works in: it has the training clouds, and no test split, record or store.

It is forked from a server that has imported pcbench and no plugin (`pcbench.engine.apart`), walls itself in,
and only then imports the plugin. Everything that it says goes through one pipe and is data to the other side.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from torch import Tensor

from pcbench.api import PointClouds, Snapshot
from pcbench.catalogue import Catalogue, open_catalogue
from pcbench.catalogue.kinds import Kind
from pcbench.catalogue.loading import one_line_reason
from pcbench.engine import machine, methods, wall
from pcbench.engine.assignment import Assignment, Earlier, follow
from pcbench.engine.messages import BrokenMessage, Message, receive, send
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.optimisers import State, packed, unpacked
from pcbench.errors import PcbenchError

PARENT_DEATH_SIGNAL = 1  # of prctl(2)
KERNEL_CACHES = ("~/.nv", "~/.triton")
"""Where drivers and compilers of GPU kernels keep what they have built."""


def main(connection: Connection) -> None:
    """Do what the other end of the connection asks for: choose a method, or work with one."""
    _settle(connection)
    folders: list[Path] = []
    try:
        asked = receive(connection)
        work = {"choose": _choose, "distil": _distil}[asked.word]
        folders = [Path(folder) for folder in asked.values["folders"]]
        with torch.random.fork_rng(devices=[]):
            answer = work(connection, asked)
    except BrokenMessage:
        return  # the run is gone, and with it whoever wanted an answer
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything; the run says what
        answer = _failure(error, folders)
    try:
        send(connection, answer)
        connection.poll(None)  # the run reads the clock of this process before it lets it go
    except (BrokenMessage, OSError):
        return


def _settle(connection: Connection) -> None:
    """Leave the terminal's signals and streams to the run, and end when the server does."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    sys.stdout = sys.stderr = cast(TextIO, Lines(connection))


class Lines:
    """A text stream whose lines the run prints."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.begun = ""

    def write(self, text: str) -> int:
        """Take a text; what is a whole line is sent."""
        *lines, self.begun = (self.begun + str(text)).split("\n")
        for line in lines:
            send(self.connection, Message("print", {"line": line}))
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back but a line that has not ended."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False


def _failure(error: BaseException, folders: Sequence[Path]) -> Message:
    """What went wrong and where, in one line and as a traceback."""
    reason = one_line_reason(error, folders)
    if isinstance(error, PermissionError):
        reason += ": a method reads its own code and what its task gives it, and leaves no files"
    values = {
        "kind": type(error).__name__,
        "reason": reason,
        "traceback": "".join(traceback.format_exception(error)),
        "out of memory": machine.out_of_memory(error),
        "things": list(error.things) if isinstance(error, PcbenchError) else [],
        "exit code": error.exit_code if isinstance(error, PcbenchError) else 1,
    }
    return Message("failed", values)


def _catalogue(values: Mapping[str, Any]) -> Catalogue:
    """The plugins of the run: its folders, and no others that the environment may name."""
    os.environ.pop("PCBENCH_PLUGINS", None)
    os.environ.update(values["environment"])
    return open_catalogue([Path(folder) for folder in values["folders"]])


def _wall_in(catalogue: Catalogue, values: Mapping[str, Any], used: list[tuple[Kind, str]]) -> bool:
    """Close files and the network, but for the code of what is used and the scratch folder."""
    scratch = Path(values["scratch"])
    tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
    plugins = [catalogue.registries()[kind].get(name) for kind, name in used]
    given = [file for plugin in plugins for file in (*plugin.source_files(), *plugin.data_files())]
    kernels = [Path(folder).expanduser() for folder in KERNEL_CACHES]
    return wall.close(
        given,
        [scratch, *(folder for folder in kernels if folder.is_dir())],
        [Path(folder) for folder in values["closed"]],
    )


def _choose(_: Connection, asked: Message) -> Message:
    values = asked.values
    catalogue = _catalogue(values)
    _wall_in(catalogue, values, [("method", values["spec"].partition(":")[0])])
    return Message(
        "chosen", asdict(methods.chosen(catalogue, values["spec"], values["params"], values["origin"]))
    )


def _distil(connection: Connection, asked: Message) -> Message:
    values, tensors = asked.values, dict(asked.tensors)
    torch.set_num_threads(values["threads"])
    device = torch.device(values["device"])
    machine.keep_pages()
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    catalogue = _catalogue(values)
    choice, network = ChosenMethod.from_values(values["method"]), values["network"]
    used: list[tuple[Kind, str]] = [("method", choice.name), ("backbone", network["name"])]
    walled = _wall_in(catalogue, values, used)
    send(connection, Message("ready", {"walled": walled}))
    method = methods.instance(catalogue, choice)
    backbone = catalogue.backbones.load(network["name"])
    clouds = PointClouds(tensors.pop("points"), tensors.pop("labels"), tuple(values["class names"]))
    assignment = Assignment(
        train=clouds.to(device),
        device=device,
        ppc=values["ppc"],
        iterations=values["iterations"],
        snapshots=tuple(values["snapshots"]),
        preset=network["preset"],
        axes=values["axes"],
        trained_axes=values["trained axes"],
        selected=tensors.pop("selected", None),
        earlier=None if values["done"] is None else Earlier(values["done"], unpacked(tensors)),
        keep_every=values["keep every"],
    )
    follow(method, backbone, assignment, _Away(connection))
    peak = memory.read()
    return Message("end", {"host bytes": peak.host_bytes, "device bytes": peak.device_bytes})


class _Away:
    """The runner, at the other end of a pipe."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def report(self, phase: str, done: int, total: int) -> None:
        """See `assignment.Runner`, as for all below."""
        send(self.connection, Message("report", {"phase": phase, "done": done, "total": total}))

    def snapshot(self, snapshot: Snapshot) -> None:
        clouds = snapshot.clouds
        values: dict[str, Any] = {"iteration": snapshot.iteration, "class names": list(clouds.class_names)}
        if snapshot.stored is not None:
            values["expansion"] = snapshot.stored.expansion
            send(self.connection, Message("stored", values, snapshot.stored.arrays))
            return
        send(self.connection, Message("snapshot", values, {"points": clouds.points, "labels": clouds.labels}))

    def went_on(self) -> None:
        send(self.connection, Message("went on"))

    def keep(self, iteration: int, state: State) -> None:
        send(self.connection, Message("keep", {"iteration": iteration}, packed(state)))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        texts = {name: repr(value) for name, value in values.items()}  # JSON has no infinity
        send(self.connection, Message("log", {"iteration": iteration, "values": texts}))

    def trained_network(self) -> dict[str, Tensor]:
        send(self.connection, Message("trained network"))
        return dict(receive(self.connection).tensors)

    def cached(
        self, inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        send(self.connection, Message("cached", {"inputs": dict(inputs)}))
        answer = receive(self.connection)
        if answer.word == "make":
            send(
                self.connection, Message("made", {}, {name: t.detach().float() for name, t in make().items()})
            )
            answer = receive(self.connection)
        return dict(answer.tensors)
