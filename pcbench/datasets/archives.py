"""Unpacks zip archives that nobody vouches for: every entry is judged before the first byte is written."""

from __future__ import annotations

import shutil
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pcbench.errors import DataError

_CHUNK = 1 << 20
_TAIL = 22 + 0xFFFF
"""Bytes at the end of an archive within which its directory is announced (APPNOTE 4.3.16, 4.4.12)."""
_DIRECTORY_BYTES = 4 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LONGEST_PART = 200
_LONGEST_NAME = 1000
_UNJUDGED = 1 << 20
"""Files up to this size may be packed as tightly as they like: a few of them are no bomb."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold: entries, bytes of one file and of all, bytes a packed byte may become."""

    entries: int = 20_000
    file_bytes: int = 1 << 30
    total_bytes: int = 4 << 30
    ratio: int = 200


def unpack(archive: Path, target: Path, limits: Limits, progress: Callable[[int, int], None]) -> None:
    """Unpack a zip archive into the new folder `target`, which appears only once it is complete.

    progress: called with the bytes written so far and their total. Raises DataError for an archive that is
    damaged, encrypted or larger than the limits, and for an entry that is a link or a device, that would
    leave the folder, or that another one would overwrite; nothing is left behind then. Times and modes are
    dropped.
    """
    _check_directory(archive)
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            _judge(archive, entries, limits)
            total = sum(entry.file_size for entry in entries)
            target.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(target.parent).free
            if total > free:
                raise DataError(
                    f"{archive.name} unpacks to {total} bytes, but {target.parent} has {free} left: make room"
                )
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                _write(file, entries, temporary, lambda done: progress(done, total))
                temporary.chmod(0o755)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged ({error}): fetch it again") from error


def _check_directory(archive: Path) -> None:
    """DataError unless the archive ends in a directory of a size that can be read into memory."""
    with archive.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL))
        tail = stream.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise DataError(f"{archive} is no complete zip archive: fetch it again")
    bulk = int.from_bytes(tail[end + 12 : end + 16], "little")
    if b"PK\x06\x07" in tail or bulk > _DIRECTORY_BYTES:
        raise DataError(
            f"{archive} has a directory of more than {_DIRECTORY_BYTES} bytes, or is a Zip64 archive: "
            "it is not what it should be"
        )


def _judge(archive: Path, entries: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
    """DataError for the first entry that may not be unpacked, or for all of them together."""
    if len(entries) > limits.entries:
        raise DataError(
            f"{archive} holds {len(entries)} entries, more than {limits.entries}: do not trust it"
        )
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        flaw = _flaw(entry, limits)
        path = PurePosixPath(_same(entry.filename))
        above = {str(parent) for parent in path.parents} - {"."}
        if flaw is None and (
            str(path) in files or above & files or (not entry.is_dir() and str(path) in folders)
        ):
            flaw = "would overwrite another"
        if flaw is not None:
            raise DataError(f"{archive}: entry {entry.filename[:_LONGEST_PART]!r} {flaw}: do not trust it")
        folders |= above
        (folders if entry.is_dir() else files).add(str(path))
    total = sum(entry.file_size for entry in entries)
    if total > limits.total_bytes:
        raise DataError(
            f"{archive} unpacks to {total} bytes, more than {limits.total_bytes}: do not trust it"
        )


def _flaw(entry: zipfile.ZipInfo, limits: Limits) -> str | None:
    """Why an entry may not be unpacked, or None. Its name counts, not what zipfile made of it."""
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name:
        return "is an absolute path, or one of another system"
    if any(part in ("", ".", "..") for part in parts):
        return "leaves its folder"
    if not name.isprintable() or len(name) > _LONGEST_NAME:
        return "has a name that cannot be used"
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        return "has a name that cannot be used"
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        return "is a link, a device or the like"
    if entry.header_offset < 0:
        return "stands before the archive's first byte"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in _METHODS:
        return "is packed neither by deflate nor plainly"
    if entry.file_size > limits.file_bytes:
        return f"unpacks to {entry.file_size} bytes, more than {limits.file_bytes}"
    if entry.file_size > max(_UNJUDGED, limits.ratio * entry.compress_size):
        return f"unpacks to more than {limits.ratio} times its size"
    return None


def _same(name: str) -> str:
    """The name as a file system may see it that tells neither case nor Unicode forms apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _write(
    file: zipfile.ZipFile,
    entries: Sequence[zipfile.ZipInfo],
    folder: Path,
    progress: Callable[[int], None],
) -> None:
    done = 0
    for entry in entries:
        path = folder.joinpath(*PurePosixPath(entry.filename).parts)
        if entry.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # zipfile reads no more than the size that the entry declares, and compares its CRC at the end.
        with file.open(entry) as source, path.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
                done += len(chunk)
                progress(done)
        if path.stat().st_size != entry.file_size:
            raise zipfile.BadZipFile(f"{entry.filename!r} is shorter than it says")
