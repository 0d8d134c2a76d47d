"""Which parameters were chosen on a validation part, by the records: never by what somebody says."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pcbench.catalogue.held_out import whole_of
from pcbench.common.grouping import grouped
from pcbench.report.cells import Entry, Result

Ground = tuple[str, str, str, str]
"""What variations of a method have in common: data set, protocol, students, and all but the parameters."""
Scores = dict[tuple[int, int], float]
"""The mean overall accuracy of the students of each PPC and repetition, in percent."""


def marked(results: Iterable[Result]) -> list[Result]:
    """The same results; entries that were the best of several on validation parts say of how many.

    An entry is marked where, for every data set that it has a test score on, it is the best of two or more
    variations on that data set's validation part, compared on the PPCs and repetitions that they share.
    """
    results = list(results)
    best = _best(results)
    tested: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        if not result.entry.trial:
            tested.setdefault(_row(result), set()).add(result.place.name)
    tried: dict[tuple[str, str, str], int] = {}
    for row, names in tested.items():
        counts = [best.get((*row, name), 0) for name in names]
        if all(counts):
            tried[row] = min(counts)
    return [
        replace(result, entry=replace(result.entry, tried=tried[row]))
        if result.entry.variation and not result.entry.trial and (row := _row(result)) in tried
        else result
        for result in results
    ]


def _row(result: Result) -> tuple[str, str, str]:
    """An entry under one protocol, by one kind of students."""
    return result.entry.digest, result.setting.protocol, result.setting.student


def _best(results: Sequence[Result]) -> dict[tuple[str, str, str, str], int]:
    """By row and data set: of how many variations it was the best on the validation part."""
    best: dict[tuple[str, str, str, str], int] = {}
    held_out = [result for result in results if result.entry.trial and not result.setting.test]
    for ground, members in grouped(held_out, _ground).items():
        entries = {
            digest: (group[0].entry, _scores(group))
            for digest, group in grouped(members, lambda result: result.entry.digest).items()
        }
        winner = _winner(list(entries.values()))
        if winner is not None:
            best[winner.digest, ground[1], ground[2], ground[0]] = len(entries)
    return best


def _ground(result: Result) -> Ground:
    whole = whole_of(result.place.name) or ""
    return whole, result.setting.protocol, result.setting.student, result.entry.rest


def _scores(results: Sequence[Result]) -> Scores:
    return {(r.place.ppc, r.repetition): statistics.fmean(r.curve[-1]) for r in results}


def _winner(entries: Sequence[tuple[Entry, Scores]]) -> Entry | None:
    """The entry with the best mean on what all have in common; None of one alone, or of nothing in common."""
    common = set.intersection(*(set(scores) for _, scores in entries))
    if len(entries) < 2 or not common:
        return None
    return max(entries, key=lambda each: (statistics.fmean(each[1][key] for key in common), each[0].digest))[
        0
    ]
