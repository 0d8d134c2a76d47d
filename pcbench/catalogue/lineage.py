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
"""


def path() -> Path:
    """The file."""
    return builtin("leaderboard/lineage.toml")


def first(kind: Kind, name: str, current: str) -> str:
    """The first hash of the list of a built-in plugin that holds the current one; else the current one."""
    hashes = _packaged(path()).get(kind, {}).get(name, [])
    return hashes[0] if current in hashes else current


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
