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


def _methods() -> list[str]:
    from pcbench.catalogue import open_catalogue

    return open_catalogue().methods.names()


def _backbones() -> list[str]:
    from pcbench.catalogue import open_catalogue

    return open_catalogue().backbones.names()


def _datasets() -> list[str]:
    from pcbench.catalogue import open_catalogue

    return open_catalogue().datasets.names()


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


def _plugins() -> list[str]:
    return [*_methods(), *_backbones(), *_datasets()]


METHODS, BACKBONES, DATASETS = map(_completed, (_methods, _backbones, _datasets))
PROTOCOLS, SUITES, RUNS, PAGES = map(_completed, (_protocols, _suites, _runs, _pages))
PLUGINS = _completed(_plugins)
