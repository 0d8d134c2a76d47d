"""Makes a submission of finished runs: a folder that a pull request can carry; sends nothing anywhere."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import pcbench
from pcbench.api import Dataset
from pcbench.catalogue import Catalogue, Registry
from pcbench.catalogue.loading import Plugin
from pcbench.catalogue.registry import redistributable
from pcbench.common.files import file_digest, write_json
from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.models import Run
from pcbench.records.store import read_run, read_runs, write_distillation, write_evaluation
from pcbench.submission.manifest import (
    MANIFEST,
    MAX_FILE_BYTES,
    PLUGINS,
    RUNS,
    Artifact,
    FileEntry,
    Manifest,
    PluginKind,
    PluginSource,
    checked_address,
    inventory,
    licence_option,
    used,
)
from pcbench.submission.validate import validate


@dataclass(frozen=True)
class Submitted:
    """A submission that was made."""

    folder: Path
    """Where."""
    manifest: Manifest
    """What it holds."""
    elsewhere: tuple[str, ...]
    """The folders of runs whose clouds it does not hold."""
    left_out: tuple[str, ...] = ()
    """The runs that were given and are not in it, each with the reason, a line each."""


def found(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs that are, or stand below, some folders; and a line for all else of runs that is there.

    DataError where a folder is no run's, and holds none.
    """
    runs: list[Run] = []
    left_out: list[str] = []
    for folder in folders:
        if layout.is_run_folder(folder):
            run, problems = read_run(folder)
            runs.append(run)
        else:
            below, problems = read_runs(folder)
            begun = layout.begun_folders(folder)
            if not below and not begun:
                raise DataError(f"{folder} is no run's folder and has no run in it: do 'pcbench run' first")
            runs += below
            left_out += [f"{each}: is not finished" for each in begun]
        left_out += problems
    return runs, left_out


def unfinished(run: Run) -> str:
    """Why a run cannot be submitted yet, in a line; empty where it can."""
    made = run.distillation
    if made.status != "ok":
        return f"{run.folder}: {made.status}: {made.reason}"
    if not run.evaluations:
        return f"{run.folder}: has no evaluation"
    if not any(run.complete(record) for record in run.evaluations):
        return f"{run.folder}: has no evaluation of its last snapshot"
    return ""


def submit(
    catalogue: Catalogue,
    runs: Sequence[Run],
    out: Path,
    licence: str,
    address: str | None = None,
    predictions: bool = False,
) -> Submitted:
    """Write a submission of the finished runs into the new folder `out`; check it as a maintainer would.

    Runs that failed, or are not evaluated, are left out and named; UsageError where none is left.
    Clouds go in where their data set may be passed on and `address` is None; else by hash alone, and by
    ADDRESS/RUN/clouds.h5 where there is an address. predictions: what students took each test cloud for goes
    in too, where it was kept. UsageError for what cannot be submitted, DataError where
    the records or clouds are not what they should be; nothing is left behind then.
    """
    licence = licence_option(licence)
    if address is not None:
        try:
            address = checked_address(address.rstrip("/"))
        except ValueError as error:
            raise UsageError(f"the address of the clouds: {error}", "address of clouds") from error
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: name a new folder", "output")
    out.parent.mkdir(parents=True, exist_ok=True)
    left_out = tuple(filter(None, map(unfinished, runs)))
    runs = [run for run in runs if not unfinished(run)]
    if not runs:
        raise UsageError("there is no finished run to submit:\n" + "\n".join(left_out or ("none was given",)))
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        artifacts = [_add_run(run, temporary, address, catalogue.datasets) for run in runs]
        if predictions:
            for run in runs:
                _add_predictions(run, temporary)
        sources = _add_sources(catalogue, runs, temporary)
        manifest = _manifest(temporary, licence, [each for each in artifacts if each], sources)
        write_json(temporary / MANIFEST, manifest.model_dump(mode="json"))
        problems = validate(catalogue, temporary)
        if problems:
            raise DataError("cannot be submitted:\n" + "\n".join(map(str, problems)))
        temporary.chmod(0o755)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    held = {entry.path for entry in manifest.files}
    elsewhere = [each.run for each in manifest.artifacts if f"{RUNS}/{each.run}/{layout.CLOUDS}" not in held]
    return Submitted(out, manifest, tuple(elsewhere), left_out)


def _add_run(run: Run, folder: Path, address: str | None, datasets: Registry[Dataset]) -> Artifact | None:
    """Write the records of a run and, where they may be passed on, its clouds."""
    made = run.distillation
    target = layout.run_folder(folder / RUNS, made.inputs)
    if target.exists():
        raise UsageError(f"{run.folder}: the same distillation is named twice")
    write_distillation(target, made)
    for record in run.evaluations:
        write_evaluation(target, record)
    if made.inputs.is_whole:
        return None  # the whole training split, which everybody has who has the data set
    clouds = layout.clouds(run.folder)
    if not clouds.is_file():
        raise DataError(f"{clouds} is not there: distil again, or submit where the clouds are")
    size = clouds.stat().st_size
    if address is None and redistributable(made.inputs.data.name, datasets):
        if size > MAX_FILE_BYTES:
            raise UsageError(
                f"{clouds}: {size} bytes, more than the {MAX_FILE_BYTES} of one file: put the clouds on a "
                "server and name its address",
                "address of clouds",
            )
        shutil.copyfile(clouds, layout.clouds(target))
    url = None if address is None else f"{address}/{target.name}/{layout.CLOUDS}"
    return Artifact(run=target.name, sha256=file_digest(clouds), bytes=size, url=url)


def _add_predictions(run: Run, folder: Path) -> None:
    """Copy what students answered, of every evaluation that has it."""
    target = layout.run_folder(folder / RUNS, run.distillation.inputs)
    for record in run.evaluations:
        path = layout.predictions(run.folder, record.key)
        if record.predictions is not None and path.is_file():
            shutil.copyfile(path, target / path.name)


def _add_sources(catalogue: Catalogue, runs: Sequence[Run], folder: Path) -> list[PluginSource]:
    """Copy the source of every method and backbone of the records that is not built in."""
    found: dict[tuple[PluginKind, str, str], Path] = {}
    for run in runs:
        for kind, name, source in used(run):
            found.setdefault((kind, name, source), run.folder)
    sources = []
    for (kind, name, source), origin in sorted(found.items(), key=lambda item: item[0]):
        plugin = _plugin(catalogue.registries()[kind], name, source, origin)
        if not plugin.built_in:
            sources.append(_copied(plugin, kind, source, folder))
    return sources


def _plugin(registry: Registry[Any], name: str, source: str, origin: Path) -> Plugin[Any]:
    if name not in registry:
        raise UsageError(f"{origin}: {registry.kind} {name!r} is not here: name its folder", "plugins")
    plugin = registry.get(name)
    if plugin.source_hash() != source:
        raise UsageError(
            f"{origin}: was made with another source of {registry.kind} {name!r} than {plugin.path}: "
            "run it again, or bring that source back"
        )
    return plugin


def _copied(plugin: Plugin[Any], kind: PluginKind, source: str, folder: Path) -> PluginSource:
    files = plugin.source_files()
    root = Path(os.path.commonpath([file.parent for file in files]))
    home = f"{PLUGINS}/{kind}s/{plugin.name}-{layout.short(source)}"
    places = [f"{home}/{file.relative_to(root).as_posix()}" for file in files]
    data = {file: f"{posixpath.dirname(places[0])}/{file.name}" for file in plugin.data_files()}
    for file, place in [*zip(files, places, strict=True), *data.items()]:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / place)
    try:
        return PluginSource(
            kind=kind,
            name=plugin.name,
            source=source,
            entry=places[0],
            files=sorted(places),
            data=sorted(data.values()),
        )
    except ValidationError as error:
        raise UsageError(
            f"{plugin.path}: a file of its source has a name that a submission may not hold: "
            "letters, digits and _ . + -"
        ) from error


def _manifest(folder: Path, licence: str, artifacts: list[Artifact], sources: list[PluginSource]) -> Manifest:
    sizes, problems = inventory(folder)
    if problems:
        raise UsageError("cannot be submitted:\n" + "\n".join(map(str, problems)))
    return Manifest(
        pcbench=pcbench.__version__,
        license=licence,
        files=[
            FileEntry(path=path, sha256=file_digest(folder / path), bytes=size)
            for path, size in sorted(sizes.items())
        ],
        artifacts=sorted(artifacts, key=lambda artifact: artifact.run),
        plugins=sources,
    )
