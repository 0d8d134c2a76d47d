"""Which of the packages that not every command needs are installed here."""

from __future__ import annotations

import importlib.util
from functools import cache


@cache
def has_torch() -> bool:
    """Whether torch is installed; it is not imported to find out, for that takes seconds."""
    try:
        return importlib.util.find_spec("torch") is not None
    except ImportError:  # something stands in its way
        return False
