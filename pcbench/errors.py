"""The errors that a user may meet: each says what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PcbenchError(Exception):
    """Base of all expected errors; the command line prints the message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(PcbenchError):
    """The request cannot be understood: an unknown name, a parameter or a value out of range."""

    exit_code = 2


class DataError(PcbenchError):
    """Data that is absent, incomplete, corrupt or outside what its card allows."""

    exit_code = 3


class Interrupted(PcbenchError):
    """The user, or a scheduler, stopped the command."""

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the known words nearest to `word`, or all of them where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(names)}." if names else "None is known."
