"""Where pcbench keeps things on this machine: what can be made again, and what was imported."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The user's cache folder for pcbench."""
    import platformdirs

    return platformdirs.user_cache_path("pcbench")


def data_root() -> Path:
    """The folder of imported data sets: PCBENCH_DATA, or `data` in the user's cache."""
    chosen = os.environ.get("PCBENCH_DATA")
    return Path(chosen).expanduser() if chosen else cache_root() / "data"
