"""What a shell offers where a user presses the tabulator: names of plugins, suites and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pcbench.errors import PcbenchError

Completion = Callable[[str], list[str]]
"""Takes what is typed of a word, and gives all that it may become."""


def _completed(names: Callable[[], Iterable[str]]) -> Completion:
    """Completion of words that may hold several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        *before, last = incomplete.split(",")
        kept = "".join(f"{word}," for word in before)
        try:
            return [kept + name for name in names() if name.startswith(last)]
        except (PcbenchError, OSError):  # a shell shows no errors
            return []

    return complete


def _of_kinds(*kinds: str) -> Callable[[], list[str]]:
    """Names of all plugins of some kinds: methods, backbones, datasets."""

    def names() -> list[str]:
        from pcbench.catalogue import open_catalogue

        catalogue = open_catalogue()
        return [name for kind in kinds for name in getattr(catalogue, kind).names()]

    return names


def _protocols() -> list[str]:
    from pcbench.protocols.protocol import PROTOCOLS

    return list(PROTOCOLS)


def _suites() -> list[str]:
    from pcbench.protocols import suites

    return [suite.name for suite in suites.listing()]


def _runs() -> list[str]:
    from pcbench.records import layout
    from pcbench.records.named import LATEST, RESULTS

    return [LATEST, *(folder.name for folder in layout.run_folders(Path(RESULTS)))]


def _pages() -> list[str]:
    from pcbench.cli.docs import pages

    return list(pages())


METHODS, BACKBONES, DATASETS = (_completed(_of_kinds(kind)) for kind in ("methods", "backbones", "datasets"))
PROTOCOLS, SUITES, RUNS, PAGES = map(_completed, (_protocols, _suites, _runs, _pages))
PLUGINS = _completed(_of_kinds("methods", "backbones", "datasets"))
SNAPSHOTS = _completed(lambda: ("last", "all"))
