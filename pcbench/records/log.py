"""What a method said of its work while it went on, `task.log(loss=…)`: a file beside its record, in no key.

A line of it is `iteration,name,value`. It is written by the run as the method goes on, and read as a
stranger's: lines that are none end it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcbench.common.files import write_text

HEAD = "iteration,name,value"
NAME = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)
"""What may be a name: that of a variable."""
MOST_NAMES = 40
LARGEST = 8 << 20
"""Bytes of a file."""


@dataclass(frozen=True)
class Entry:
    """One value."""

    iteration: int
    """The iteration that was under way."""
    name: str
    """What it is of."""
    value: float
    """The value; infinite or no number where the method's was."""

    @property
    def line(self) -> str:
        """As it stands in a file."""
        return f"{self.iteration},{self.name},{self.value!r}\n"


class Log:
    """The file of one distillation, while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """The file."""
        self._names: set[str] = set()
        self._size = 0

    def went_on(self, iteration: int) -> None:
        """The distillation goes on after that iteration: what was logged until then stays."""
        earlier = [entry for entry in read(self.path) if entry.iteration <= iteration]
        self._begin(earlier)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write values of one iteration; ValueError for what is not to be kept."""
        if not self._size:
            self._begin(())
        entries = [Entry(iteration, name, value) for name, value in values.items()]
        self._names |= values.keys()
        self._size += sum(len(entry.line) for entry in entries)
        for name in values:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: up to 40 letters, digits and _")
        if len(self._names) > MOST_NAMES:
            raise ValueError(f"more than {MOST_NAMES} names")
        if self._size > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MiB: log fewer values, or every tenth iteration")
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(entry.line for entry in entries)

    def end(self) -> None:
        """The distillation has ended well: where it logged nothing, the file of an older one goes."""
        if not self._size:
            self.path.unlink(missing_ok=True)

    def _begin(self, entries: Sequence[Entry]) -> None:
        """A new file of those values, in the place of an older one."""
        text = as_text(entries)
        write_text(self.path, text)
        self._names, self._size = {entry.name for entry in entries}, len(text)


def read(path: Path) -> list[Entry]:
    """All values of a file in their order; none where there is no file."""
    if not path.is_file():  # a pipe would never end
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(_entries(file.read(LARGEST)))


def as_text(entries: Iterable[Entry]) -> str:
    """A file of some values."""
    return f"{HEAD}\n" + "".join(entry.line for entry in entries)


def _entries(text: str) -> Iterator[Entry]:
    lines = csv.reader(io.StringIO(text))
    if next(lines, None) != HEAD.split(","):
        return
    names = set()
    try:
        for iteration, name, value in lines:
            names.add(name)
            if not NAME.fullmatch(name) or len(names) > MOST_NAMES or not re.fullmatch(r"\d{1,9}", iteration):
                return
            yield Entry(int(iteration), name, float(value))
    except (ValueError, csv.Error):
        return
