"""The site's folder: files written where they changed, and those of an older build taken away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from pcbench.common.files import write_quickly, write_text
from pcbench.errors import DataError, UsageError

MANIFEST = ".pcbench-site.json"


class SiteFolder:
    """A folder that pcbench writes a site into; it remembers by hash what it wrote.

    UsageError for a folder that holds something and no site of pcbench.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.before = self._read()
        self.written: dict[str, str] = {}
        self.groups: dict[str, list[str]] = {}
        write_text(root / MANIFEST, self._manifest(self.before))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Of a build that did not end well, remember everything that may stand there."""
        if kind is not None:
            write_text(self.root / MANIFEST, self._manifest(self.before | self.written))

    def write(self, path: str, content: str | bytes) -> None:
        """Put a file there, unless it is there already."""
        data = content.encode() if isinstance(content, str) else content
        name = _confined(path)
        if name in self.written:
            raise DataError(f"two pages of the site are called {name}")
        digest = hashlib.sha256(data).hexdigest()
        file = self.root / name
        if not (self.before.get(name) == digest and file.is_file() and file.read_bytes() == data):
            write_quickly(file, data)
        self.written[name] = digest

    def put(self, group: str, files: Sequence[tuple[str, str | bytes]]) -> None:
        """Write the files of a group in the place of those that it had before."""
        for name in self.groups.get(group, ()):
            self.before[name] = self.written.pop(name)
        for path, content in files:
            self.write(path, content)
        self.groups[group] = [path for path, _ in files]

    def finish(self) -> list[str]:
        """Remove what an older build wrote and this one did not, if nobody changed it; the names removed."""
        removed = []
        for name in sorted(set(self.before) - set(self.written)):
            file = self.root / name
            if self._own(file) and hashlib.sha256(file.read_bytes()).hexdigest() == self.before[name]:
                file.unlink()
                removed.append(name)
                self._tidy(file.parent)
        write_text(self.root / MANIFEST, self._manifest(self.written))
        return removed

    def _own(self, file: Path) -> bool:
        """Whether it is a file inside the folder and no link to elsewhere."""
        inside = file.resolve().is_relative_to(self.root.resolve())
        return inside and file.is_file() and not file.is_symlink()

    def _tidy(self, folder: Path) -> None:
        while folder != self.root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _read(self) -> dict[str, str]:
        path = self.root / MANIFEST
        if not path.is_file():
            if self.root.is_dir() and any(self.root.iterdir()):
                raise UsageError(
                    f"{self.root} holds files and no site of pcbench: choose another folder, or empty it",
                    "output",
                )
            return {}
        try:
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
            return {_confined(name): str(digest) for name, digest in files.items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is damaged: remove {self.root} and build the site again") from error

    def _manifest(self, files: dict[str, str]) -> str:
        return json.dumps({"files": dict(sorted(files.items()))}, indent=0, ensure_ascii=False) + "\n"


def _confined(path: str) -> str:
    """The path as it was given; ValueError where it leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or path == MANIFEST:
        raise ValueError(f"{path!r} is no file of the site")
    return path
