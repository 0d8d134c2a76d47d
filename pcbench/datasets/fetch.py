"""Downloads the archives of data sets whose owners publish them freely: checked, resumed, from mirrors."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urljoin, urlsplit

import filelock
import pooch
import requests
import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError

from pcbench.api import Archive, Dataset, Terms
from pcbench.common.files import file_digest, write_json
from pcbench.datasets.archives import unpack
from pcbench.datasets.store import Importable, Manifest, data_root
from pcbench.errors import DataError, UsageError

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told of what is being done, how much of it is done, and the total, if it is known."""
Tell: TypeAlias = Callable[[str], None]
"""Given a sentence for the user."""

_CHUNK = 1 << 14
_TRIES = 4
_WAIT = 1.0
"""Seconds before the second try; twice as many before each further one."""
_TIMEOUT = (15.0, 30.0)
"""Seconds until a server must have answered, and until it must have sent something more."""
_REDIRECTS = 5


def archive_of(dataset: Dataset) -> Archive | None:
    """The archive to download for a data set, None if there is none; DataError where terms come first."""
    source = dataset.archive
    if isinstance(source, Terms):
        raise DataError(
            f"{dataset.name} is not downloaded: accept its owners' terms at {source.page}, download it from "
            f"there, and run 'pcbench data import {dataset.name} PATH' with PATH {source.then}"
        )
    return source


def mirrors(archive: Archive, chosen: Sequence[str]) -> tuple[str, ...]:
    """The URLs to try in turn: the chosen ones, else those in PCBENCH_MIRRORS, else the owners'.

    One that ends in a slash is a folder with the archive in it. Raises UsageError for any but http and https.
    """
    wanted = list(chosen) or os.environ.get("PCBENCH_MIRRORS", "").replace(",", " ").split()
    for url in wanted:
        if not _web(url):
            raise UsageError(
                f"mirror {url!r} is no http:// or https:// URL of an archive or of a folder with /"
            )
    return tuple(url + archive.name if url.endswith("/") else url for url in wanted) or archive.urls


def fetch(
    dataset: Importable, archive: Archive, urls: Sequence[str], keep: bool, progress: Progress, tell: Tell
) -> Manifest:
    """Download the archive unless it is there, unpack it, and import the data set from it.

    keep: leave the archive in the folder of downloads. An interrupted download is kept as a `.part` file and
    goes on where it stopped; nothing else stays. Raises DataError that names every mirror and why it failed.
    """
    folder = data_root() / ".downloads"
    path, copy = folder / archive.name, folder / f"{archive.name}.unpacked"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "fetch.lock", timeout=0):
            _remove_leftovers(folder, archive.name)
            _download(archive, urls, path, progress, tell)
            try:
                unpack(
                    path,
                    copy,
                    archive.max_unpacked,
                    lambda done, total: progress("unpacking, MB", done, total),
                )
                inner = copy / archive.folder if archive.folder else copy
                manifest = dataset.import_from(
                    inner if inner.is_dir() else copy,
                    lambda done, total: progress("reading clouds", done, total),
                )
            except DataError:
                # Without a checksum nothing says that it would be better next time.
                if archive.checksum is None:
                    path.unlink()
                raise
            finally:
                shutil.rmtree(copy, ignore_errors=True)
            if keep:
                tell(f"kept {path}")
            else:
                path.unlink()
            return manifest
    except filelock.Timeout as error:
        raise DataError(f"{archive.name} has to wait: another process is fetching into {folder}") from error
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {error.strerror or error}") from error


def _remove_leftovers(folder: Path, name: str) -> None:
    """What a killed process left: an archive half unpacked, pooch's temporary file; not the `.part` file."""
    for pattern in (f"{name}.unpacked", f".{name}.unpacked.*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("tmp*"):
        path.unlink()


def _download(archive: Archive, urls: Sequence[str], path: Path, progress: Progress, tell: Tell) -> None:
    """The archive at `path`, from the first URL that gives what its checksum asks for."""
    pooch.get_logger().setLevel(logging.ERROR)
    failures = []
    for url in urls:
        host = urlsplit(url).hostname or url
        download = _Download(archive, path, progress)
        try:
            # pooch takes a file that is there already, compares checksums, and renames what is whole.
            pooch.retrieve(url, archive.checksum, path.name, path.parent, downloader=download)
        except _Refused as error:
            failures.append(f"{host}: {error}")
            tell(failures[-1])
        else:
            if archive.checksum is None:
                tell(f"no checksum of {archive.name} is public; this one has sha256 {file_digest(path)}")
            return
    by_hand = f" and compare its {archive.checksum}" if archive.checksum else ""
    raise DataError(
        f"{archive.name} could not be fetched from {len(urls)} mirror{'s' * (len(urls) != 1)} "
        f"({'; '.join(failures)}). Run this again later, or name a mirror, or download it with a browser"
        f"{by_hand}, unpack it and run 'pcbench data import'",
        "mirror",
    )


class _Refused(Exception):
    """This URL will not do; the next one may."""


class _Broken(_Refused):
    """The transfer broke off; another try may go on."""


class _State(BaseModel):
    """What a `.part` file is a part of."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: str
    validator: str
    total: int


class _Download:
    """pooch's downloader of one archive, which goes on where an earlier one stopped."""

    def __init__(self, archive: Archive, path: Path, progress: Progress) -> None:
        self._archive = archive
        self._part = path.with_name(f"{path.name}.part")
        self._about = path.with_name(f"{path.name}.part.json")
        self._progress = progress

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        """Put the archive at `url` into a file of pooch's; raises _Refused if that cannot be done."""
        for wait in (*(_WAIT * 2**i for i in range(_TRIES - 1)), None):
            try:
                resumed = self._transfer(url)
            except _Broken:
                if wait is None:
                    raise
                time.sleep(wait)
                continue
            if self._right():
                self._part.replace(output_file)
                self._about.unlink(missing_ok=True)
                return
            self._forget()
            if not resumed:
                break
        raise _Refused(f"what it sends does not have the checksum {self._archive.checksum}")

    def _transfer(self, url: str) -> bool:
        """Complete the `.part` file by one request; tells whether it went on with an earlier one."""
        state = self._state(url)
        have = self._part.stat().st_size if state else 0
        if state and have == state.total:
            return True
        headers = {"Accept-Encoding": "identity", "User-Agent": "pcbench"}
        if state:
            headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
        try:
            with requests.Session() as session, _get(session, url, headers) as response:
                if response.status_code == 206 and state and _range(response) == (have, state.total):
                    self._receive(url, response, have, state.total)
                    return True
                if response.status_code in (206, 416):
                    self._forget()
                    raise _Broken("it sends another part than was asked for")
                self._forget()
                total = _length(response)
                self._begin(url, response, total)
                self._receive(url, response, 0, total)
                return False
        except requests.exceptions.SSLError as error:
            raise _Refused(
                f"its certificate is not valid, and pcbench does not go on without ({_why(error)})"
            ) from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            raise _Broken("it cannot be reached") from error
        except requests.exceptions.RequestException as error:
            raise _Refused(f"the request failed ({type(error).__name__})") from error

    def _begin(self, url: str, response: requests.Response, total: int | None) -> None:
        """Note what the `.part` file will be a part of, if it can be known again; it may not be too long."""
        most = self._archive.max_bytes
        if total is not None and total > most:
            raise _Refused(f"it sends {total} bytes, more than the {most} that are allowed")
        etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        validator = modified if etag.startswith("W/") or not etag else etag
        if validator and total is not None and response.headers.get("Accept-Ranges") != "none":
            write_json(self._about, {"url": url, "validator": validator, "total": total})

    def _receive(self, url: str, response: requests.Response, have: int, total: int | None) -> None:
        """Append what is sent to the `.part` file; raises _Broken if it is less than `total`."""
        most = self._archive.max_bytes
        what = f"{urlsplit(url).hostname}, MB"
        with self._part.open("ab") as sink:
            try:
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    if have == 0 and not chunk.startswith(b"PK"):
                        page = chunk.lstrip()[:1] == b"<"
                        raise _Refused(
                            f"it sends {'a web page' if page else 'something else'} instead of a zip archive"
                        )
                    sink.write(chunk)
                    have += len(chunk)
                    if have > most:
                        raise _Refused(f"it sends more than the {most} bytes that are allowed")
                    self._progress(what, have, total)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if (
                    isinstance(error, OSError)
                    and error.errno is not None
                    and not isinstance(error, ConnectionError | TimeoutError)
                ):
                    raise
                raise _Broken(f"it broke off after {have} bytes") from error
            except _Refused:
                self._forget()
                raise
        if total is not None and have != total:
            raise _Broken(f"it broke off after {have} of {total} bytes")

    def _state(self, url: str) -> _State | None:
        """What is known of the `.part` file, if this URL can complete it; if not, it is removed."""
        try:
            state = _State.model_validate_json(self._about.read_bytes())
            if state.url == url and 0 < self._part.stat().st_size <= state.total:
                return state
        except (FileNotFoundError, ValidationError):
            pass
        self._forget()
        return None

    def _right(self) -> bool:
        checksum = self._archive.checksum
        if checksum is None:
            return True
        algorithm, _, expected = checksum.partition(":")
        return bool(pooch.file_hash(str(self._part), algorithm) == expected)

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """The answer to a request, after redirections that stay on the web and do not fall back from https.

    requests would follow them itself, but reads whatever body comes with one into memory.
    """
    for _ in range(_REDIRECTS + 1):
        response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=False)
        status = response.status_code
        if status in (200, 206, 416):
            return response
        response.close()
        if status >= 500 or status == 429:
            raise _Broken(f"it answers HTTP {status}")
        location = response.headers.get("Location")
        if status not in (301, 302, 303, 307, 308) or location is None:
            raise _Refused(f"it answers HTTP {status}")
        before, url = url, urljoin(url, location)
        if not _web(url) or (before.startswith("https:") and not url.startswith("https:")):
            raise _Refused("it redirects to something that is no web address, or to one without encryption")
    raise _Refused(f"it redirects more than {_REDIRECTS} times")


def _web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None


def _range(response: requests.Response) -> tuple[int, int] | None:
    """First byte and total of a partial answer, which must go on to the end."""
    match = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", response.headers.get("Content-Range", ""))
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return (first, total) if last == total - 1 else None


def _why(error: Exception) -> str:
    """What OpenSSL found wrong with a certificate."""
    found = re.search(r"certificate verify failed: ([\w' ,.-]+)", str(error))
    return found[1].strip() if found else "the encrypted connection failed"
