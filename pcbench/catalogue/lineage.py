"""Which sources of a built-in plugin compute the same results: the file leaderboard/lineage.toml.

A record carries the hash of the source that it was made with. A rewriting that changes no result must not
make the records before it stale, so for each built-in method and backbone the file lists hashes of sources
that are known to give the same results, oldest first. Records carry the first one; the last one is that of
the source as it stands. `python -m pcbench.catalogue` keeps the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pcbench.catalogue.kinds import Kind
from pcbench.common.packaged import builtin

if TYPE_CHECKING:
    from pcbench.catalogue.registry import Catalogue

Lists = Mapping[str, Mapping[str, list[str]]]
"""Hashes by kind and name of the plugin."""

KINDS: tuple[Kind, ...] = ("method", "backbone")
"""The kinds whose source stands in records; a data set is known by its content."""

HEAD = """\
# Sources of built-in plugins that compute the same results, oldest first: SHA-256 as 64 digits.
# Records carry the first hash of a list. The last one is that of the source as it stands; write it by
#   python -m pcbench.catalogue same            every golden test passes: the results are the same
#   python -m pcbench.catalogue changed NAME…   they are not: published results of NAME become stale
# The sources before such a change stand under earlier-KIND: records that carry them were pcbench's own.
"""


def path() -> Path:
    """The file."""
    return builtin("leaderboard/lineage.toml")


def first(kind: Kind, name: str, current: str) -> str:
    """The first hash of the list of a built-in plugin that holds the current one; else the current one."""
    hashes = _packaged(path()).get(kind, {}).get(name, [])
    return hashes[0] if current in hashes else current


def earlier(kind: Kind, name: str) -> frozenset[str]:
    """The hashes that records of a built-in plugin carried before its results changed, or before it went."""
    return frozenset(_packaged(path()).get(f"earlier-{kind}", {}).get(name, []))


def earlier_names(kind: Kind) -> list[str]:
    """The built-in plugins that have such hashes."""
    return sorted(_packaged(path()).get(f"earlier-{kind}", {}))


def read(file: Path) -> Lists:
    """The lists of a file."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


_packaged = cache(read)


def unlisted(lists: Lists, current: Mapping[Kind, Mapping[str, str]]) -> list[tuple[Kind, str]]:
    """The plugins whose current hash is not the last of their list, by kind and name."""
    return [
        (kind, name)
        for kind, hashes in current.items()
        for name, now in sorted(hashes.items())
        if lists.get(kind, {}).get(name, [""])[-1] != now
    ]


def extended(
    lists: Lists, current: Mapping[Kind, Mapping[str, str]], changed: Iterable[str] = ()
) -> dict[str, dict[str, list[str]]]:
    """The lists with the current hash at the end of each; begun anew for the plugins in `changed`.

    What lies between the first and the last is dropped: no record carries it. A plugin that is gone is too.
    """
    new: dict[str, dict[str, list[str]]] = {}
    for kind, hashes in current.items():
        new[kind] = {}
        for name, now in sorted(hashes.items()):
            old = [] if name in changed else lists.get(kind, {}).get(name, [])[:1]
            new[kind][name] = [*old, now] if old != [now] else old
    return new


def left_behind(
    lists: Lists, current: Mapping[Kind, Mapping[str, str]], changed: Iterable[str] = ()
) -> dict[str, dict[str, list[str]]]:
    """The lists of earlier sources, with the first hash of each plugin in `changed` and of each that went."""
    changed = set(changed)
    new: dict[str, dict[str, list[str]]] = {}
    for kind, hashes in current.items():
        before = {name: list(own) for name, own in lists.get(f"earlier-{kind}", {}).items()}
        for name, own in lists.get(kind, {}).items():
            if own and (name in changed or name not in hashes) and hashes.get(name) != own[0]:
                before[name] = list(dict.fromkeys([*before.get(name, []), own[0]]))
        if before:
            new[f"earlier-{kind}"] = dict(sorted(before.items()))
    return new


def written(lists: Lists) -> str:
    """The file's text."""
    lines = [HEAD]
    for kind, hashes in lists.items():
        lines.append(f"[{kind}]")
        for name, own in hashes.items():
            lines += [f"{name} = [", *(f'  "{each}",' for each in own), "]"]
        lines.append("")
    return "\n".join(lines)


def current_hashes(catalogue: Catalogue) -> dict[Kind, dict[str, str]]:
    """The hashes of the built-in plugins' sources as they stand."""
    return {
        kind: {plugin.name: plugin.current_hash() for plugin in catalogue.registries()[kind].built_in()}
        for kind in KINDS
    }
