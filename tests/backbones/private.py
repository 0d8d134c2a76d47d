"""The private halves of the built-in networks, for their tests: `private("edges")` is backbones/_edges.py."""

from __future__ import annotations

import importlib
from types import ModuleType

from built_in import CATALOGUE


def private(name: str) -> ModuleType:
    """The module as the networks import it: a member of the package that stands for their folder."""
    package, _, _ = CATALOGUE.backbones.load("dgcnn").__module__.rpartition(".")
    return importlib.import_module(f"{package}._{name}")
