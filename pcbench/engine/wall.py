"""Closes a process off from files and the network, where the system can do that: Linux with Landlock.

A process that is walled in reads its own code, the system's libraries and what it is given by name, and
writes into its scratch folder alone; so do the processes and threads that it starts. It can neither trace nor
signal a process outside, nor connect by TCP. It cannot be undone. What remains open: data that a method
generates by itself, clocks, and whatever else a process may do without a file.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

# The numbers of Landlock's three calls are the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION, RULE_PATH_BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38

WRITE_FILE, READ_FILE = 1 << 1, 1 << 2
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE = sum(1 << bit for bit in range(6, 13))
"""Make a device, folder, file, socket, pipe or link."""
REFER, TRUNCATE = 1 << 13, 1 << 14
"""Known from version 2 and 3 on: link or rename across folders; cut a file."""
CONNECTING = 0b11
"""From version 4 on: bind a TCP port, connect to one."""
SCOPES = 0b11
"""From version 6 on: abstract sockets of processes outside, signals to them."""

SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/opt",
    "/nix",
    "/gnu",
    "/proc",
    "/sys",
)
"""What programs and libraries are read from."""
DEVICES = "/dev"


def version() -> int:
    """The version of Landlock that this system offers; 0 where it offers none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(CREATE_RULESET, None, 0, ASK_VERSION))


def readable_code() -> list[Path]:
    """Where this Python and its packages lie, and pcbench itself."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    packages = [entry for entry in sys.path if entry and Path(entry).absolute() != Path.cwd()]
    package = Path(__file__).resolve().parents[1]
    own = [package, *(package.parent / name for name in ("methods", "backbones", "leaderboard"))]
    # a checkout is on the path as a whole: its packages are meant, not the results that may lie in it
    others = [Path(entry) for entry in packages if Path(entry).resolve() != package.parent]
    return [path for path in [*map(Path, prefixes), *others, *own] if path.exists()]


def close(given: Iterable[Path], scratch: Iterable[Path], closed: Sequence[Path]) -> bool:
    """Wall this process in for good; whether the system could do it.

    given: files that it may read wherever they lie. scratch: folders that it may read and write. closed:
    folders in which it reads nothing else, also where they lie in a folder of code.
    """
    known = version()
    if known < 1:
        return False
    reading = READ_FILE
    writing = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE
    writing |= (REFER if known >= 2 else 0) | (TRUNCATE if known >= 3 else 0)
    rules = _ruleset(known, reading | writing)
    if rules < 0:
        return False
    try:
        shut = [path.resolve() for path in closed]
        for path in (*map(Path, SYSTEM), *readable_code()):
            for part in around(path.resolve(), shut):
                _allow(rules, part, reading)
        for path in given:
            _allow(rules, path.resolve(), reading)
        for path in (*scratch, Path(DEVICES)):
            _allow(rules, path.resolve(), reading | writing)
        ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return _call(RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def around(path: Path, closed: Sequence[Path]) -> list[Path]:
    """What is read of a folder of code: all but the closed folders in it, though it may lie in one itself."""
    return outside(path, [shut for shut in closed if shut != path and shut not in path.parents])


def outside(path: Path, closed: Sequence[Path]) -> list[Path]:
    """What together is `path` without the closed folders: itself, or those of its entries that hold none."""
    if any(path == shut or shut in path.parents for shut in closed):
        return []
    if not any(path in shut.parents for shut in closed):
        return [path]
    return [part for entry in sorted(path.iterdir()) for part in outside(entry, closed)]


def _ruleset(known: int, files: int) -> int:
    fields = [files]
    if known >= 4:
        fields.append(CONNECTING)
    if known >= 6:
        fields.append(SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return _call(CREATE_RULESET, attributes, len(attributes), 0)


def _allow(rules: int, path: Path, access: int) -> None:
    """Allow what is asked beneath a path; one that cannot be opened is left out, as nobody could read it."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        of_files = access if path.is_dir() else access & (READ_FILE | WRITE_FILE | TRUNCATE)
        _call(ADD_RULE, rules, RULE_PATH_BENEATH, struct.pack("=Qi", of_files, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return int(libc.syscall(ctypes.c_long(number), *given))
