"""`pcbench show`, `pcbench data show` and `pcbench export`: clouds as pictures and as files."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.complete import RUNS
from pcbench.cli.output import AsJson, PluginFolders, console, opened, progress_bars, say, show
from pcbench.errors import DataError, PcbenchError, UsageError, did_you_mean
from pcbench.records.named import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from pcbench.api import Dataset, Splits
    from pcbench.catalogue import Registry
    from pcbench.clouds import PointClouds
    from pcbench.look.pictures import Neighbour, Sheet
    from pcbench.records.models import DistillationRecord, SnapshotEntry


class Form(enum.StrEnum):
    """Formats of exported clouds."""

    ply = "ply"
    npz = "npz"
    h5 = "h5"
    xyz = "xyz"


RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        autocompletion=RUNS,
        help="A run's folder, the beginning of its name in results/, or 'latest'.",
    ),
]
Iteration = Annotated[
    int | None, typer.Option("--iteration", "-i", min=0, help="Which snapshot. Default: the last one.")
]
Classes = Annotated[
    list[str] | None, typer.Option("--class", metavar="CLASS", help="This class alone; may be repeated.")
]
Picture = Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE.png", help="Where it goes.")]
Dark = Annotated[bool, typer.Option("--dark", help="On a dark page instead of a white one.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]


def show_run(
    run: RunFolder,
    iteration: Iteration = None,
    initial: Annotated[
        bool, typer.Option("--initial", help="Each cloud's initialisation, too: iteration 0.")
    ] = False,
    classes: Classes = None,
    out: Picture = None,
    dark: Dark = False,
    force: Force = False,
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Draw a run's distilled clouds, class by class, each beside the nearest training cloud of its class.

    Nearest by the Chamfer distance, where this machine has the run's data set. The picture is RUN.png.
    """
    import statistics

    from pcbench.look import pictures

    run = named(run)
    record, entry = _opened(run, iteration)
    path = _picture_path(out, run.resolve().name, force)
    distilled = _clouds(run, entry)
    chosen = _chosen(distilled, classes)
    began = _clouds(run, _entry(run, record, 0)) if initial and entry.iteration else None
    if began is not None and began.labels.tolist() != distilled.labels.tolist():
        raise DataError(f"{run}: iteration 0 holds other classes than iteration {entry.iteration}")
    distilled, began = distilled.select(chosen), began.select(chosen) if began else None
    pictures.require_room(len(distilled) * (3 if began else 2))
    dataset, splits = _data_of(record, opened(folders).datasets)
    train = splits.train if splits else None
    neighbours: list[Neighbour] = []
    if train is not None:
        with progress_bars() as bar:
            task = bar.add_task("nearest training clouds", total=len(distilled))
            neighbours = pictures.nearest_clouds(
                distilled, train, lambda done, total: bar.update(task, completed=done, total=total)
            )
    title = _title(record, entry)
    legend = pictures.OF_NEAREST if neighbours else ""
    sheet = pictures.contact_sheet(
        title,
        pictures.run_sections(distilled, began, train, neighbours),
        dataset.up_axis if dataset else "y",
        pictures.DARK if dark else pictures.WHITE,
        legend,
    )
    pictures.save_sheet(path, sheet)
    if as_json:
        found = {
            "run": str(run),
            "key": record.key,
            "iteration": entry.iteration,
            "picture": str(path),
            "points_outside": sheet.outside,
            "distance": "chamfer, squared, mean over points, both directions" if neighbours else None,
            "clouds": _neighbour_rows(distilled, neighbours),
        }
        typer.echo(json.dumps(found, indent=1))
        return
    say(f"wrote {path}: {title}, {len(distilled)} clouds{_left_out(sheet)}")
    if neighbours:
        middle = statistics.median(each.distance for each in neighbours)
        say(f"Chamfer distance to the nearest training cloud: median {middle:.4f} (--json: all)")


def show_data(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    classes: Classes = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Training clouds of each class.")] = 2,
    points: Annotated[int, typer.Option("--points", min=1, help="Points of each cloud.")] = 1024,
    out: Picture = None,
    dark: Dark = False,
    force: Force = False,
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Draw some training clouds of every class of a data set, and list its classes, counts and extents.

    The clouds are drawn at random, the same ones every time. The picture is NAME.png.
    """
    from pcbench.look import pictures
    from pcbench.look.export import file_names
    from pcbench.seeds import Streams

    dataset = opened(folders).datasets.load(name)()
    path = _picture_path(out, file_names([name])[0], force)
    splits = dataset.load(points)
    labels = _labels(splits.train, classes)
    pictures.require_room(len(labels) * count)
    sections = pictures.drawn_sections(splits.train, labels, count, Streams({"dataset": dataset.name}))
    title = f"{dataset.name} · training clouds of {points} points"
    theme = pictures.DARK if dark else pictures.WHITE
    sheet = pictures.contact_sheet(title, sections, dataset.up_axis, theme)
    pictures.save_sheet(path, sheet)
    rows = _class_rows(splits, labels)
    if as_json:
        about = {
            "name": dataset.name,
            "variant": dataset.variant,
            "up_axis": dataset.up_axis,
            "points": points,
            "sampling": splits.sampling,
            "content_hash": splits.content_hash,
            "standard": splits.standard,
            "picture": str(path),
            "classes": rows,
        }
        typer.echo(json.dumps(about, indent=1))
        return
    _print_classes(dataset, splits, rows)
    say(f"wrote {path}{_left_out(sheet)}")


def export(
    run: RunFolder,
    form: Annotated[Form, typer.Option("--format", "-f", help="ply and xyz: one file a cloud.")],
    iteration: Iteration = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Default: export/RUN-ITERATION.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's distilled clouds as files for other programs.

    ply (binary) and xyz (text): CLASS_00, CLASS_01, … for MeshLab, CloudCompare, Open3D. npz (numpy) and h5:
    one file with points, labels and class_names.
    """
    from dataclasses import asdict

    from pcbench.look.export import export_clouds

    run = named(run)
    _, entry = _opened(run, iteration)
    folder = out or Path("export") / f"{run.resolve().name}-{entry.iteration}"
    clouds = _clouds(run, entry)
    if not len(clouds):
        raise DataError(f"{run} holds no cloud at iteration {entry.iteration}: distil it again")
    files = export_clouds(clouds, folder, form.value, force)
    if as_json:
        written = [asdict(file) | {"path": str(file.path)} for file in files]
        typer.echo(json.dumps({"run": str(run), "iteration": entry.iteration, "files": written}, indent=1))
        return
    last = f" to {files[-1].path.name}" if len(files) > 1 else ""
    say(f"wrote {len(files)} file{'s' * (len(files) > 1)} into {folder}: {files[0].path.name}{last}")


def _opened(folder: Path, iteration: int | None) -> tuple[DistillationRecord, SnapshotEntry]:
    """The record of a run that has clouds of its own, and the snapshot that is asked for."""
    from pcbench.records import layout
    from pcbench.records.store import read_distillation

    path = layout.distillation(folder)
    if not path.is_file():
        raise DataError(
            f"{folder} is no run's folder, for it lacks {path.name}: give one that 'pcbench run' made"
        )
    record = read_distillation(path)
    if record.inputs.is_whole:
        raise UsageError(
            f"{folder} is the whole training split and has no distilled clouds: "
            f"'pcbench data show {record.inputs.data.name}' shows the data set"
        )
    if not record.snapshots:
        raise DataError(f"{folder} has no clouds: {record.status}: {record.reason}")
    entry = record.snapshots[-1] if iteration is None else _entry(folder, record, iteration)
    if record.status != "ok":
        say(f"warning: {folder} did not finish: {record.status}: {record.reason}", err=True)
    return record, entry


def _entry(folder: Path, record: DistillationRecord, iteration: int) -> SnapshotEntry:
    for entry in record.snapshots:
        if entry.iteration == iteration:
            return entry
    there = ", ".join(str(entry.iteration) for entry in record.snapshots)
    raise UsageError(f"{folder} has no clouds of iteration {iteration}: it has those of {there}")


def _clouds(folder: Path, entry: SnapshotEntry) -> PointClouds:
    from pcbench.engine.artifacts import load_snapshots
    from pcbench.records import layout

    (snapshot,) = load_snapshots(layout.clouds(folder), [entry])
    return snapshot.clouds


def _data_of(record: DistillationRecord, datasets: Registry[Dataset]) -> tuple[Dataset | None, Splits | None]:
    """The data set of a run and its splits, as far as they are here; a warning says what is missing."""
    from pcbench.datasets import sampled

    inputs = record.inputs.data
    dataset = None
    try:
        dataset = datasets.load(inputs.name)()
        splits = sampled.load(dataset, inputs.points, inputs.sampling)
        if splits.content_hash == inputs.hash:
            return dataset, splits
        why = (
            f"{inputs.name} on this machine is not the data of the run: it was sampled or imported otherwise"
        )
    except PcbenchError as error:
        why = str(error)
    say(f"warning: no training clouds are shown: {why}", err=True)
    return dataset, None


def _picture_path(out: Path | None, name: str, force: bool) -> Path:
    path = out or Path(f"{name}.png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {path}: pictures are PNG files, as in --out {path.stem or 'clouds'}.png")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: choose another --out, or replace it by --force")
    return path


def _labels(clouds: PointClouds, wanted: Sequence[str] | None) -> list[int]:
    """The labels of the classes named, in the order of the data set; all where none is named."""
    names = clouds.class_names
    for name in wanted or ():
        if name not in names:
            raise UsageError(f"there is no class {name!r}. {did_you_mean(name, names)}")
    return [label for label, name in enumerate(names) if not wanted or name in wanted]


def _chosen(clouds: PointClouds, wanted: Sequence[str] | None) -> torch.Tensor:
    """Which clouds are of the classes named, (B,) bool."""
    import torch

    return torch.isin(clouds.labels, torch.tensor(_labels(clouds, wanted)))


def _title(record: DistillationRecord, entry: SnapshotEntry) -> str:
    from pcbench.records.labels import title

    return f"{title(record.inputs)}, iteration {entry.iteration}"


def _left_out(sheet: Sheet) -> str:
    return f" ({sheet.outside} points lie outside the tiles)" if sheet.outside else ""


def _neighbour_rows(clouds: PointClouds, neighbours: Sequence[Neighbour]) -> list[dict[str, Any]]:
    rows = []
    for place, label in enumerate(clouds.labels.tolist()):
        nearest = neighbours[place] if neighbours else None
        rows.append(
            {
                "class": clouds.class_names[label],
                "nearest_training_cloud": nearest.row if nearest else None,
                "distance": nearest.distance if nearest else None,
            }
        )
    return rows


def _class_rows(splits: Splits, labels: Sequence[int]) -> list[dict[str, Any]]:
    """Of each class: counts, mean extents of its training clouds, mean distance of their points from 0."""
    train, test = splits.train.counts().tolist(), splits.test.counts().tolist()
    rows = []
    for label in labels:
        points = splits.train.points[splits.train.labels == label]
        extents = (points.amax(1) - points.amin(1)).mean(0).tolist() if len(points) else None
        radius = float(points.norm(dim=-1).mean()) if len(points) else None
        rows.append(
            {
                "class": splits.train.class_names[label],
                "train": train[label],
                "test": test[label],
                "extents": extents,
                "mean_radius": radius,
            }
        )
    return rows


def _print_classes(dataset: Dataset, splits: Splits, rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console().print(
        f"{dataset.name} ({dataset.variant}), up axis {dataset.up_axis}. Training clouds in the unit sphere: "
        "mean extent along x, y and z, mean distance of the points from the centre",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("class", no_wrap=True)
    for column in ("train", "test", "x", "y", "z", "radius"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        sizes = [*(row["extents"] or [None] * 3), row["mean_radius"]]
        shown = ["" if size is None else f"{size:.2f}" for size in sizes]
        table.add_row(Text(row["class"]), str(row["train"]), str(row["test"]), *shown)
    table.add_row("all", str(len(splits.train)), str(len(splits.test)), style="bold")
    show(table)
