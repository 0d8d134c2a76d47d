"""Unpacks zip archives into a folder of their own, and nowhere else."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from pcbench.errors import DataError


def unpack(archive: Path, target: Path, max_bytes: int, progress: Callable[[int, int], None]) -> None:
    """Unpack a zip archive into the new folder `target`, which appears only once it is complete.

    max_bytes: what all files may have together, unpacked. progress: called with the bytes written so far and
    their total. Raises DataError for an archive that is damaged, encrypted or larger, and for an entry that
    is a link or that would leave the folder; nothing is left behind then. Times and modes are dropped.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            total = sum(entry.file_size for entry in entries)
            if total > max_bytes:
                raise DataError(f"{archive} unpacks to {total} bytes, more than {max_bytes}: do not trust it")
            for entry in entries:
                _check(archive, entry)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                done = 0
                for entry in entries:
                    file.extract(entry, temporary)  # no more bytes than the entry declares; its CRC is tested
                    done += entry.file_size
                    progress(done, total)
                temporary.chmod(0o755)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged ({error}): fetch it again") from error
    except RuntimeError as error:  # what zipfile raises for an encrypted entry
        raise DataError(f"{archive} cannot be unpacked ({error}): fetch it again") from error


def _check(archive: Path, entry: zipfile.ZipInfo) -> None:
    """DataError for an entry that may not be unpacked. Its name counts, not what zipfile made of it."""
    name = entry.orig_filename
    flaw = ""
    if name.startswith("/") or "\\" in name or ":" in name or not name.isprintable():
        flaw = "has a name that is absolute, or of another system"
    elif any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        flaw = "leaves its folder"
    elif stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        flaw = "is a link, a device or the like"
    if flaw:
        raise DataError(f"{archive}: entry {name[:200]!r} {flaw}: do not trust it")
