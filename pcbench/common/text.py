"""Text from elsewhere, made safe to show on one line."""

from __future__ import annotations

import unicodedata

LONGEST_TEXT = 4000


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text that is safe to show: line ends and tabs become spaces, control and bidi characters U+FFFD; cut.

    The zero-width joiners, which some scripts need, stay.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_shown, text))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def counted(count: int, noun: str) -> str:
    """`1 cell`, `3 cells`: for nouns that take an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Zl", "Zp") or char in "\t\n\v\f\r\x85":
        return " "
    hidden = category in ("Cc", "Cf", "Cs") and char not in "\u200c\u200d"
    return "\ufffd" if hidden else char
