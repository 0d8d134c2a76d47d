"""Options that span cells, `--set lr=0.1,1,10`, `--ppc 1,3`, `--repetition 0-4`; times and sizes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from pcbench.errors import UsageError

MOST = 10_000
"""A range of repetitions is no longer."""
_LITERAL = ("[", "{", '"', "'")


def combinations(settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Every combination of the values of each setting: a comma stands between them, outside a literal list.

    One empty combination of no settings. UsageError for a value that is empty or stands twice.
    """
    spans = {key: _values(key, text) for key, text in settings.items()}
    return [dict(zip(spans, values, strict=True)) for values in itertools.product(*spans.values())]


def _values(key: str, text: str) -> list[str]:
    if "," not in text or text.startswith(_LITERAL):
        return [text]
    values = [value.strip() for value in text.split(",")]
    if "" in values or len(set(values)) < len(values):
        raise UsageError(f"--set {key}={text}: distinct values with commas between them are needed")
    return values


def numbers(texts: Sequence[str]) -> list[int]:
    """The PPCs that `1`, `3` ask for; UsageError for what is no whole number."""
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"--ppc {','.join(texts)}: whole numbers are needed, as in --ppc 1,3,10") from error


def repetitions(texts: Sequence[str]) -> list[int]:
    """The repetitions that `0`, `0,2` and `0-4` ask for, ascending; UsageError for anything else."""
    chosen: set[int] = set()
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text.strip(), re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or last - first >= MOST:
            raise UsageError(f"--repetition {text}: whole numbers or a range are needed, as in 0,2 or 0-4")
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def size(text: str) -> int:
    """The bytes that `500M` and `8G` mean; UsageError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([MGT])", text.strip(), re.ASCII)
    count = int(float(match[1]) * (1 << {"M": 20, "G": 30, "T": 40}[match[2]])) if match else 0
    if count <= 0:
        raise UsageError(f"--memory {text}: a size is needed, as 500M or 8G")
    return count


def duration(text: str) -> float:
    """The seconds that `90`, `30m` and `2h` mean; UsageError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text.strip(), re.ASCII)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"--timeout {text}: seconds are needed, or as in 30m, 2h, 1d")
    return seconds
