"""The site's folder: files written where they changed, and those of an older build taken away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from pcbench.common.files import write_quickly, write_text
from pcbench.errors import DataError, UsageError

MANIFEST = ".pcbench-site.json"


@dataclass(frozen=True)
class Group:
    """Files that are made of the same."""

    made_of: str
    """A hash of all that they are made of."""
    files: tuple[str, ...]
    """Their paths."""


class SiteFolder:
    """A folder that pcbench writes a site into; it remembers by hash what it wrote.

    UsageError for a folder that holds something and no site of pcbench.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.before, self.groups_before = self._read()
        self.written: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        write_text(root / MANIFEST, self._manifest(self.before, {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Of a build that did not end well, remember everything that may stand there."""
        if kind is not None:
            write_text(self.root / MANIFEST, self._manifest(self.before | self.written, self.groups))

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

    def put(self, group: str, made_of: str, files: Sequence[tuple[str, str | bytes]]) -> None:
        """Write the files of a group in the place of those that it had before.

        made_of: a hash of all that they are made of.
        """
        for name in self.groups[group].files if group in self.groups else ():
            self.before[name] = self.written.pop(name)
        for path, content in files:
            self.write(path, content)
        self.groups[group] = Group(made_of, tuple(path for path, _ in files))

    def intact(self) -> frozenset[str]:
        """What groups are made of whose files an older build wrote and nobody changed."""
        return frozenset(
            group.made_of
            for group in self.groups_before.values()
            if all(self._unchanged(name) for name in group.files)
        )

    def keep(self, group: str, made_of: str) -> bool:
        """Leave the files of a group as they are; whether they are those of `made_of`, and still there."""
        known = self.groups_before.get(group)
        if known is None or known.made_of != made_of or group in self.groups:
            return False
        self.written |= {name: self.before[name] for name in known.files}
        self.groups[group] = known
        return True

    def _unchanged(self, name: str) -> bool:
        """Whether a file is there as an older build wrote it."""
        file = self.root / name
        return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == self.before.get(name)

    def finish(self) -> list[str]:
        """Remove what an older build wrote and this one did not, if nobody changed it; the names removed."""
        removed = []
        for name in sorted(set(self.before) - set(self.written)):
            file = self.root / name
            if self._own(file) and self._unchanged(name):
                file.unlink()
                removed.append(name)
                self._tidy(file.parent)
        write_text(self.root / MANIFEST, self._manifest(self.written, self.groups))
        return removed

    def _own(self, file: Path) -> bool:
        """Whether it is a file inside the folder and no link to elsewhere."""
        inside = file.resolve().is_relative_to(self.root.resolve())
        return inside and file.is_file() and not file.is_symlink()

    def _tidy(self, folder: Path) -> None:
        while folder != self.root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _read(self) -> tuple[dict[str, str], dict[str, Group]]:
        path = self.root / MANIFEST
        if not path.is_file():
            if self.root.is_dir() and any(self.root.iterdir()):
                raise UsageError(
                    f"{self.root} holds files and no site of pcbench: choose another folder, or empty it",
                    "output",
                )
            return {}, {}
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            files = {_confined(name): str(digest) for name, digest in manifest["files"].items()}
            groups = {
                str(name): Group(str(made_of), tuple(map(_confined, paths)))
                for name, (made_of, paths) in manifest.get("groups", {}).items()
            }
            return files, {name: each for name, each in groups.items() if files.keys() >= set(each.files)}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is damaged: remove {self.root} and build the site again") from error

    def _manifest(self, files: Mapping[str, str], groups: Mapping[str, Group]) -> str:
        of_groups = {name: [each.made_of, list(each.files)] for name, each in sorted(groups.items())}
        manifest = {"files": dict(sorted(files.items())), "groups": of_groups}
        return json.dumps(manifest, indent=0, ensure_ascii=False) + "\n"


def _confined(path: str) -> str:
    """The path as it was given; ValueError where it leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or path == MANIFEST:
        raise ValueError(f"{path!r} is no file of the site")
    return path
