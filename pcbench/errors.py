"""The errors that a user may meet: each says what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, TypeAlias

Thing: TypeAlias = Literal[
    "method",
    "data set",
    "ppc",
    "students",
    "backbone",
    "draw",
    "repetition",
    "setting",
    "protocol",
    "suite",
    "test",
    "snapshots",
    "sampling",
    "device",
    "plugins",
    "output",
    "results",
    "replace",
    "class",
    "mirror",
    "incomplete copy",
    "ignored files",
    "own name",
    "replaced data",
    "repeated points",
    "stored points",
    "test share",
    "validation",
    "margin",
    "published",
    "licence",
    "address of clouds",
    "port",
    "share",
    "plan",
    "jobs",
    "slurm",
]
"""What a user can set, and an error may be about. Its message says what is wrong with it in plain words."""


class PcbenchError(Exception):
    """Base of all expected errors; the command line prints the message and exits with `exit_code`.

    things: what the user can set to mend it; the command line adds the names of the options.
    """

    exit_code = 1

    def __init__(self, message: str = "", *things: Thing) -> None:
        super().__init__(message)
        self.things = things


class UsageError(PcbenchError):
    """The request cannot be understood: an unknown name, a parameter or a value out of range."""

    exit_code = 2


class DataError(PcbenchError):
    """Data that is absent, incomplete, corrupt or outside what its card allows."""

    exit_code = 3


class Interrupted(PcbenchError):
    """The user, or a scheduler, stopped the command."""

    exit_code = 130


class Stopped(KeyboardInterrupt):
    """Work at a cell is ended from outside."""

    def __init__(self, status: Literal["timeout", "interrupted"], reason: str) -> None:
        super().__init__(reason)
        self.status: Literal["timeout", "interrupted"] = status
        """What its records and its attempt say of how it ended."""
        self.reason = reason
        """Why, in a line."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the known words nearest to `word`, or all of them where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(names)}." if names else "None is known."
