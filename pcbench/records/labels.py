"""How a run and its parts are called for people."""

from __future__ import annotations


def ppc_label(ppc: int) -> str:
    """For people: `PPC 3`, or `whole` for the whole training split."""
    return f"PPC {ppc}" if ppc else "whole"
