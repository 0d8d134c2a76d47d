"""`python -m pcbench.catalogue`: keeps leaderboard/lineage.toml when built-in plugins were rewritten."""

from __future__ import annotations

import argparse

from pcbench.catalogue import lineage, open_catalogue
from pcbench.common.files import write_text


def main() -> None:
    """Write the hashes of the built-in plugins' sources as they stand, and say which are new."""
    parser = argparse.ArgumentParser(prog="python -m pcbench.catalogue", description=main.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("same", help="all give the results that they gave before: every golden test passes")
    begun = verbs.add_parser("changed", help="the named ones do not: their published results become stale")
    begun.add_argument("names", nargs="+", metavar="NAME")
    given = parser.parse_args()
    changed = given.names if given.verb == "changed" else []
    lists, current = lineage.read(lineage.path()), lineage.current_hashes(open_catalogue())
    unknown = set(changed) - {name for hashes in current.values() for name in hashes}
    if unknown:
        parser.error(f"no built-in method or backbone is called {', '.join(sorted(unknown))}")
    new = lineage.unlisted(lists, current)
    kept = {
        **lineage.extended(lists, current, changed),
        **lineage.left_behind(lists, current, changed),
    }
    write_text(lineage.path(), lineage.written(kept))
    for kind, name in new:
        print(f"{kind} {name}: {'other' if name in changed else 'the same'} results")
    print(f"{lineage.path()}: {len(new)} new of {sum(map(len, current.values()))} sources")


if __name__ == "__main__":
    main()
