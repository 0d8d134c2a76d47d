"""Where the files stand that travel with pcbench and are no modules of it."""

from __future__ import annotations

from pathlib import Path


def builtin(relative: str) -> Path:
    """A folder that stands at the top of the checkout, or its copy inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_builtin"
    return (packaged if packaged.is_dir() else package.parent) / relative
