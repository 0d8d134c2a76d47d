"""Python's search for cycles of garbage, made rare for work that makes millions of objects and no cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (50_000, 20, 20)
"""A search after so many new objects, in place of Python's 700; the others are numbers of such searches."""


def search_seldom() -> None:
    """For the rest of the process: a search costs time, and counting references frees almost everything."""
    gc.set_threshold(*SELDOM)


@contextmanager
def seldom_searched() -> Iterator[None]:
    """The same, as long as it lasts."""
    before = gc.get_threshold()
    search_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
