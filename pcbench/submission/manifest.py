"""What a submission is: a folder of records, clouds and plugin sources under a manifest with their hashes.

    SUBMISSION/
        manifest.json                   licence; every other file with its hash; clouds that are elsewhere
        runs/RUN/distillation.json      and evaluation-….json, clouds.h5, where they were asked for
                                        predictions-….h5: as pcbench wrote them
        plugins/methods/NAME/…          the source of what is not built in; also plugins/backbones

The manifest is the only list of files: a file that it does not name, or one with another hash, is refused.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, Field

from pcbench.catalogue.tree_hash import joint_digest
from pcbench.common.files import LEFT_OVER
from pcbench.common.schema import Model, Sha256
from pcbench.common.text import one_line
from pcbench.errors import UsageError
from pcbench.records import layout
from pcbench.records.inputs import Network
from pcbench.records.models import Run
from pcbench.records.values import Count, Name

MANIFEST = "manifest.json"
RUNS = "runs"
PLUGINS = "plugins"

MAX_FILES = 5000
MAX_DEPTH = 8
MAX_FILE_BYTES = 100 << 20
MAX_TOTAL_BYTES = 1 << 30
MAX_SOURCE_BYTES = 4 << 20
"""Of all sources of plugins together, which are parsed to be compared with the records' hashes."""

PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}"
PATH = rf"^{PART}(/{PART}){{0,{MAX_DEPTH - 1}}}$"

Relative: TypeAlias = Annotated[str, Field(pattern=PATH)]
PluginKind: TypeAlias = Literal["method", "backbone"]


def checked_address(url: str) -> str:
    """An address from which a maintainer may fetch a file; ValueError unless it is plain https."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        plain = False
    if not plain or len(url) > 2000 or not re.fullmatch(r"[A-Za-z0-9._~:/?#!$&*+,;=%\[\]-]+", url):
        raise ValueError("an address begins with https:// and holds no space, quote or password")
    return url


def checked_licence(licence: str) -> str:
    """An SPDX licence expression in its canonical form; ValueError for anything else."""
    try:
        return str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression as error:
        shown = one_line(licence, 60)
        raise ValueError(f"{shown!r} is no SPDX licence id, as MIT, Apache-2.0 or CC-BY-4.0 are") from error


class FileEntry(Model):
    """A file of the submission, by its path in it."""

    path: Relative
    sha256: Sha256
    bytes: Count


class Artifact(Model):
    """The clouds of a run, by the name of its folder. url: where they are, if not in the submission."""

    run: Annotated[str, Field(pattern=rf"^{PART}$")]
    sha256: Sha256
    bytes: Count
    url: Annotated[str, AfterValidator(checked_address)] | None = None


class PluginSource(Model):
    """The source of a method or backbone."""

    kind: PluginKind
    """Which of the two."""
    name: Name
    """What it is called."""
    source: Sha256
    """The hash of its source that the records carry."""
    entry: Relative
    """The file that defines it, by its path in the submission."""
    files: list[Relative] = Field(min_length=1, max_length=1000)
    """That file and the local modules that it imports."""
    data: list[Relative] = Field([], max_length=1000)
    """The data files beside it that it declares."""

    def computed(self, digests: Mapping[str, str]) -> str | None:
        """The hash that `pcbench.catalogue` gives these files; None where one is missing or out of place.

        digests: by path, what `source_digest` says of each source, and the hash of each data file.
        """
        if self.entry not in self.files or any(path not in digests for path in (*self.files, *self.data)):
            return None
        beside = posixpath.dirname(self.entry)
        if any(posixpath.dirname(path) != beside for path in self.data):
            return None
        others = {posixpath.relpath(path, beside): digests[path] for path in self.files if path != self.entry}
        others |= {f"data {posixpath.basename(path)}": digests[path] for path in self.data}
        return joint_digest(digests[self.entry], others)


class Manifest(Model):
    """All that a submission holds. license: of its records, clouds and plugins, an SPDX expression."""

    schema_version: Literal[1] = 1
    kind: Literal["submission"] = "submission"
    pcbench: Name
    license: Annotated[str, Field(max_length=500), AfterValidator(checked_licence)]
    files: list[FileEntry] = Field(max_length=MAX_FILES)
    artifacts: list[Artifact] = Field(max_length=MAX_FILES)
    plugins: list[PluginSource] = Field(max_length=MAX_FILES)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. code: its name; file: where; told: what; remedy: what to do about it."""

    code: str
    file: str
    told: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: {self.file}: {self.told}. {self.remedy}"


REMEDIES = {
    "wrong-data": "Submit what pcbench wrote, on the data set that it names.",
    "wrong-parameters": "Submit what pcbench wrote: the method says which parameters it has.",
    "unknown-preset": "Submit what pcbench wrote, with the source of the backbone that has this preset.",
    "impossible-times": "Submit what pcbench wrote; where its clock went wrong, run it again.",
    "odd-provenance": "Submit what pcbench wrote; set the machine's clock, and update pcbench.",
    "repeated-students": "Students of different seeds differ: 'pcbench check' says what ties them.",
    "untrained-scores": "Submit beside it the run whose students these are, or evaluate it by itself.",
    "unfit-clouds": "Distil again, and submit the clouds that pcbench wrote.",
    "test-clouds": "A method sees the training clouds alone: distil from these.",
    "reserved-name": "Give the method, the backbone or the data set a name of its own, and run it again.",
    "undeclared-import": "Take from pcbench its public face alone: 'pcbench check' shows it; then run again.",
    "loose-file": "submissions/ holds folders of 'pcbench submit' and nothing else: move it or remove it.",
    "foreign-run": "What is submitted goes to submissions/, made by 'pcbench submit'.",
    "forged-verification": "A maintainer verifies, and commits it: leave it out.",
    "altered-score": "Scores follow from counts: run 'pcbench evaluate' again and submit what it writes.",
    "altered-inputs": "Records are not edited: submit what pcbench wrote.",
    "altered-file": "Run 'pcbench submit' again.",
    "altered-predictions": "Submit the predictions that pcbench wrote beside the record, or leave them out.",
    "altered-artifact": "Submit the clouds that pcbench wrote beside the record.",
    "altered-plugin": "Submit the source that the run was made with, or run it again.",
    "repeated-seeds": "Every student has a seed of its own: evaluate again.",
    "changed-protocol": "Departures make a protocol custom: ask pcbench for them, and the record says so.",
    "changed-published": "A published number stays; a correction is named by its key.",
    "removed-published": "A published record stays; a removal is named by its key.",
    "duplicate": "Leave one out.",
    "missing-file": "Run 'pcbench submit' again.",
    "unreadable-plugin": "Submit the source that the run was made with: small files of Python.",
    "unexpected-file": "Remove it, or run 'pcbench submit' again.",
    "missing-plugin": "Name the folder of the plugin, and submit from the pcbench that made the run.",
    "missing-repetition": "Submit all repetitions from 0 on, not a choice of them.",
    "misplaced-record": "Leave the records where pcbench wrote them.",
    "failed-run": "Submit finished runs.",
    "no-evaluation": "Run 'pcbench evaluate' first.",
    "odd-name": "Names hold letters, digits and _ . + -.",
    "forbidden-artifact": "Submit without the clouds; name the address where they are.",
    "invalid-record": "Submit what this version of pcbench writes.",
    "invalid-manifest": "Run 'pcbench submit' again.",
    "odd-file": "Put plain files there, or remove it.",
    "too-large": "Split it, or name the address where the clouds are.",
    "too-many": "Split it.",
}
"""What to do about each kind of problem."""


def problem(code: str, file: str, told: str) -> Problem:
    """A problem with the remedy of its kind, its texts safe to show."""
    return Problem(code, one_line(file, 300), one_line(told, 1000), REMEDIES[code])


def inventory(folder: Path) -> tuple[dict[str, int], list[Problem]]:
    """The sizes of all files below a folder by relative path, and what may not be there; opens nothing.

    What a killed writer left, a file whose name says so, is not counted: nothing ever reads it. Nor is what a
    plain folder of runs has beside them of who works at what.
    """
    sizes: dict[str, int] = {}
    problems: list[Problem] = []
    plain_folder = not is_submission(folder)
    for number, (path, entry) in enumerate(_below(folder)):
        if is_left_over(entry) or (plain_folder and path.partition("/")[0] == layout.WORK):
            continue
        if number >= MAX_FILES:
            problems.append(problem("too-many", path, f"more than {MAX_FILES} files and folders"))
            break
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) and path.count("/") < MAX_DEPTH - 1 and re.fullmatch(PATH, path):
            continue
        size = entry.stat(follow_symlinks=False).st_size
        if not stat.S_ISREG(mode):
            told = "a link" if stat.S_ISLNK(mode) else "no regular file, or folders too deep or oddly named"
            problems.append(problem("odd-file", path, told))
        elif not re.fullmatch(PATH, path):
            told = "a path holds letters, digits and _ . + -, and no hidden file"
            problems.append(problem("odd-file", path, told))
        elif size > MAX_FILE_BYTES:
            told = f"{size} bytes, more than the {MAX_FILE_BYTES} of one file"
            problems.append(problem("too-large", path, told))
        else:
            sizes[path] = size
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        told = f"{sum(sizes.values())} bytes, more than the {MAX_TOTAL_BYTES} of a submission"
        problems.append(problem("too-large", ".", told))
    return sizes, problems


def is_left_over(entry: os.DirEntry[str]) -> bool:
    """Whether a file is what a killed writer left of another: of `files.atomic_path`."""
    return bool(LEFT_OVER.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)


def _below(folder: Path, above: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder, sorted, with its relative path; links are not followed."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = above + entry.name
        yield path, entry
        if entry.is_dir(follow_symlinks=False) and path.count("/") < MAX_DEPTH:
            yield from _below(Path(entry.path), f"{path}/")


def used(run: Run) -> list[tuple[PluginKind, str, str]]:
    """The method and the backbones that a run's records name: kind, name and hash of the source."""
    made = run.distillation.inputs
    networks: list[Network] = [made.network, *(record.inputs.network for record in run.evaluations)]
    found: list[tuple[PluginKind, str, str]] = [("method", made.method, made.source)]
    found += [("backbone", network.name, network.source) for network in networks]
    return list(dict.fromkeys(found))


def run_folders(folder: Path) -> list[Path]:
    """The folders of runs of a submission, or of a folder of runs."""
    return layout.run_folders(folder / RUNS if is_submission(folder) else folder)


def is_submission(folder: Path) -> bool:
    """Whether a folder is one that `pcbench submit` made, and not a plain folder of runs."""
    return (folder / MANIFEST).exists()


def licence_option(text: str) -> str:
    """A licence as it is asked for; UsageError where it is none."""
    try:
        return checked_licence(text)
    except ValueError as error:
        raise UsageError(
            f"licence {one_line(text, 60)}: {error}; the list is at spdx.org/licenses", "licence"
        ) from error
