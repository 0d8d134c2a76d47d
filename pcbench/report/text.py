"""How the report writes values: numbers with a spread, times, names, and text for Markdown and addresses."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

from markupsafe import Markup

from pcbench.common.files import canonical_json

DECIMALS = 1
MINUS = "−"
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,47}")
_TAKEN = re.compile(r"index|.*-([0-9a-f]{16}|\d+)")  # the list's page, hashed names, second pages
_WEB = re.compile(r"https?://[^\s\"'<>\\]+", re.IGNORECASE)


def plain(text: str) -> str:
    """Text on one line, with control, formatting and unassigned characters replaced by U+FFFD."""
    joined = " ".join(text.split())
    if joined.isprintable():  # then nothing is to be replaced, and most text is
        return joined
    return "".join("\ufffd" if unicodedata.category(char).startswith("C") else char for char in joined)


def plain_lines(text: str) -> str:
    """Text as `plain` gives it, line by line."""
    return "\n".join(
        "".join("\ufffd" if unicodedata.category(c).startswith("C") and c != "\t" else c for c in line)
        for line in text.splitlines()
    )


def shown(value: Any) -> str:
    """A value of a record for people: text as it is, all else as JSON, in one line."""
    return plain(value if isinstance(value, str) else canonical_json(value))


def as_json(value: Any) -> str:
    """JSON for programs: keys sorted, one line, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def number(value: float, decimals: int = DECIMALS) -> str:
    """`54.3`, `−0.2`; nothing is printed as a negative zero."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, decimals: int = DECIMALS) -> str:
    """`+5.1`, `−0.2`, `0.0`."""
    text = number(value, decimals)
    return text if text.startswith(MINUS) or not float(text) else f"+{text}"


def spread(mean: float, std: float | None) -> str:
    """`54.3 ± 1.2`, or `54.3` for a single score."""
    return number(mean) if std is None else f"{number(mean)} ± {number(std)}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """`512 B`, `1.5 MiB`."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def file_stem(name: str) -> str:
    """A file name for any name: itself where it is short, lower-case and safe, and else with its hash.

    Different names have different stems, also where case does not count, and none is `index` or ends in a
    number after a dash, as the second page of another does.
    """
    if _SAFE_NAME.fullmatch(name) and not _TAKEN.fullmatch(name):
        return name
    clean = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-._")[:40]
    return f"{clean or 'name'}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}"


def web_address(text: str) -> str | None:
    """The address where it is one of the web, and None for any other scheme."""
    return text if _WEB.fullmatch(text) else None


def escape_markdown(value: Any) -> Markup | str:
    """Text that Markdown shows as it is: no markup, no HTML, no table cell, no link of its own."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", str(value))
    text = re.sub(r"[\\`*_{}\[\]|~#!]", r"\\\g<0>", text)
    text = re.sub(r"^(\d*)(?=[-+=.)])", r"\1\\", text) if re.match(r"[-+=]|\d+[.)](\s|$)", text) else text
    text = re.sub(r"[<>&]", lambda match: _ENTITIES[match[0]], text)
    return re.sub(r"(?i):(?=//)|(?<=www)\.|(?<=mailto):", r"\\\g<0>", text)
