"""Files that are either whole or not there, canonical JSON, and content hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LEFT_OVER = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Names of what `atomic_path` writes to; one that stays is of a writer that was killed."""
STALE = 3600.0
"""Seconds: what was not written to for so long has no writer any more."""


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """One text for one value: keys sorted, no white space, no NaN or infinity (they raise ValueError)."""
    return str(value) if type(value) is int else _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value in its canonical form, as 64 hexadecimal digits."""
    return text_digest(canonical_json(value))


def text_digest(text: str) -> str:
    """The SHA-256 of a text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """An OSError of the block that names no file names this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well and vanishes when not.

    The bytes reach the disk before the rename, so that a reader, or a machine that loses power, sees the old
    file or the new one and never a part. The price is one fsync for the file and one for its folder. An
    OSError names `path` where it names no file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # less what the umask takes
    try:
        with _about(path):
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def left_overs(folder: Path) -> list[Path]:
    """What killed writers left of files in a folder, and none writes just now."""
    return [
        path for path in sorted(folder.glob(".*.part")) if LEFT_OVER.fullmatch(path.name) and untouched(path)
    ]


def untouched(path: Path) -> bool:
    """Whether a file was not written to for so long that it has no writer any more, or is gone."""
    try:
        return time.time() - path.lstat().st_mtime > STALE
    except OSError:
        return True


def remove_left_overs(folder: Path) -> None:
    """Remove what killed writers left of files in a folder, not what another writes just now."""
    for path in left_overs(folder):
        with suppress(OSError):  # another tidies too
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, keys sorted, indented for people; NaN and infinity raise ValueError."""
    write_text(path, json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_quickly(path: Path, data: bytes) -> None:
    """Write a file that can be made again: readers see it whole, a power cut may lose it."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with _about(path):
            try:
                temporary.write_bytes(data)
            except FileNotFoundError:  # the first of its folder
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(data)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
