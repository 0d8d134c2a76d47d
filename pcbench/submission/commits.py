"""The published records that a user names: those of a folder, or of one at a commit of a git repository."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pcbench.common.text import one_line
from pcbench.errors import UsageError
from pcbench.records.store import MAX_RECORD_BYTES


@contextmanager
def published_at(text: str, folder: Path) -> Iterator[Path]:
    """The published records that a text names: a folder, or REF or REF:PATH in the repository of `folder`.

    REF alone means the folder itself, as it was then. A path that the commit does not have holds nothing yet:
    an empty folder. The records are put into a folder that lasts as long as the block. UsageError where there
    is no such folder and no such commit.
    """
    if not text.strip():
        raise UsageError("nothing is named to compare with: name a folder or a commit", "published")
    if Path(text).is_dir():
        yield Path(text)
        return
    with tempfile.TemporaryDirectory() as temporary:
        _checkout(text, folder, Path(temporary))
        yield Path(temporary)


def _checkout(text: str, folder: Path, target: Path) -> None:
    """The records of a folder at a commit, as git stores them: no attribute of the repository hides one."""
    shown = one_line(text, 200)

    def git(*words: str, given: bytes = b"") -> bytes:
        command = ["git", "-C", str(folder), *words]
        done = subprocess.run(command, input=given, capture_output=True, check=False)
        if done.returncode:
            raise UsageError(
                f"{shown} is no folder, and git knows no such commit: name one as origin/main:submissions",
                "published",
            )
        return done.stdout

    reference, colon, path = text.partition(":")
    if not reference or reference.startswith("-"):
        raise UsageError(f"{shown} is no folder and no commit", "published")
    within = git("rev-parse", "--show-prefix").decode().rstrip("\n")
    place = within if not colon else path.replace("./", within, 1) if path.startswith("./") else path
    place = place.strip("/")
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    listed = git("ls-tree", "-r", "-z", "--full-tree", "--long", commit.decode().strip())
    records = dict(_records(listed, place))
    contents = git("cat-file", "--batch", given="".join(f"{blob}\n" for blob in records.values()).encode())
    for name, content in zip(records, _blobs(contents), strict=True):
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _records(listed: bytes, place: str) -> Iterator[tuple[str, str]]:
    """Path below `place`, and blob, of every JSON file of a listed tree that is not too large."""
    above = f"{place}/" if place else ""
    for line in filter(None, listed.split(b"\0")):
        about, _, raw = line.partition(b"\t")
        mode, kind, blob, size = about.split()
        name = raw.decode(errors="surrogateescape")
        plain = mode in (b"100644", b"100755") and kind == b"blob" and int(size) <= MAX_RECORD_BYTES
        if plain and name.startswith(above) and name.endswith(".json") and ".." not in name.split("/"):
            yield name.removeprefix(above), blob.decode()


def _blobs(batch: bytes) -> Iterator[bytes]:
    """The contents in what `git cat-file --batch` says: a line with a size, the content, a line end, each."""
    place = 0
    while place < len(batch):
        end = batch.index(b"\n", place)
        size = int(batch[place:end].split()[-1])
        place = end + 1
        yield batch[place : place + size]
        place += size + 1
