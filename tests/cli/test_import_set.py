"""Sets that other programs distilled become runs of the open division, whatever file they come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pcbench.datasets.formats.sets import read_set
from pcbench.errors import DataError
from pcbench.records.division import division
from pcbench.records.store import read_runs

TINY = ("--dataset", "shapes10", "--protocol", "quick", "--seeds", "2", "--set", "points=16")
TINY = (*TINY, "--set", "recipe.epochs=1")
POINTS = torch.randn(10, 16, 3, generator=torch.Generator().manual_seed(1)).numpy()
LABELS = np.arange(10)[::-1].copy()
CLASSES = ("bed", "bench", "bookshelf", "cabinet", "chair", "desk", "lamp", "sofa", "stool", "table")
Write = Callable[[Path], tuple[str | Path, ...]]


def npz(folder: Path) -> tuple[str | Path, ...]:
    np.savez(folder / "set.npz", clouds=POINTS, labels=LABELS)
    return (folder / "set.npz",)


def two_npy(folder: Path) -> tuple[str | Path, ...]:
    np.save(folder / "x.npy", POINTS)
    np.save(folder / "y.npy", LABELS.astype(np.float32)[:, None])
    return folder / "x.npy", "--labels", folder / "y.npy"


def by_class(folder: Path) -> tuple[str | Path, ...]:
    np.save(folder / "x.npy", POINTS[LABELS][:, None])
    return (folder / "x.npy",)


def dc(folder: Path) -> tuple[str | Path, ...]:
    """As DC, DM and SADM save: experiments of [clouds, labels], beside accuracies."""
    clouds = torch.from_numpy(POINTS)
    kept = {"data": [[clouds, torch.from_numpy(LABELS)]], "accs_all_exps": {"PointNet": [0.5, 0.25]}}
    torch.save(kept, folder / "res.pt")
    return (folder / "res.pt",)


def hdf5(folder: Path) -> tuple[str | Path, ...]:
    with h5py.File(folder / "set.h5", "w") as file:
        file["data"], file["label"] = POINTS, LABELS[:, None].astype(np.uint8)
    return (folder / "set.h5",)


def texts(folder: Path) -> tuple[str | Path, ...]:
    for label, cloud in zip(LABELS, POINTS, strict=True):
        inner = folder / "set" / CLASSES[label]
        inner.mkdir(parents=True)
        np.savetxt(inner / "0.txt", cloud, "%.9g")
    return (folder / "set",)


@pytest.mark.parametrize("write", [npz, two_npy, by_class, dc, hdf5, texts])
def test_every_form_is_the_same_set(tmp_path: Path, write: Write) -> None:
    path, *rest = write(tmp_path)
    found = read_set(Path(path), Path(rest[1]) if rest else None)
    order = found.labels.argsort()
    assert found.labels[order].tolist() == [*range(10)]
    assert np.allclose(found.points[order], POINTS[LABELS])


@pytest.mark.parametrize("write", [dc, texts])
def test_students_of_a_foreign_set_and_its_record(pcbench, tmp_path: Path, write: Write) -> None:
    words = ("--method", "dc-authors", "--param", "lr=0.1", "--source", "https://example.org/dc", *TINY)
    done = pcbench("import-set", *write(tmp_path), *words, "--json")
    assert done.code == 0, done.err
    assert "open division" in done.err
    ((run,), problems) = read_runs(Path("results"))
    assert problems == []
    record = run.distillation
    assert (record.isolation, record.origin, record.timed) == ("external", "https://example.org/dc", False)
    assert (record.inputs.method, record.inputs.params, record.inputs.ppc) == ("dc-authors", {"lr": "0.1"}, 1)
    assert len(run.evaluations[0].headline.oa) == 2
    (shown,) = json.loads(done.out)["runs"]
    assert shown["distillation"]["inputs"]["method"] == "dc-authors"
    again = pcbench("import-set", *again_of(tmp_path, write), *words)
    assert again.code == 0
    assert "done already" in again.err
    built = pcbench("leaderboard", "build", "--results", "results", "--out", "site")
    assert built.code == 0, built.err
    page = (Path("site/runs") / f"{record.key[:10]}.html").read_text(encoding="utf-8")
    assert "another program distilled it" in page
    assert "https://example.org/dc" in page
    assert pcbench("evaluate", run.folder, "--test", "so3").code == 0
    rows = json.loads(pcbench("results", "list", "--json").out)
    assert {(row["division"], row["seconds"]) for row in rows} == {("open", None)}


def again_of(folder: Path, write: Write) -> tuple[str | Path, ...]:
    return (folder / "set",) if write is texts else (folder / "res.pt",)


def test_an_imported_set_is_open_whatever_its_protocol(pcbench, tmp_path: Path) -> None:
    assert pcbench("import-set", *npz(tmp_path), "-m", "mine", *TINY).code == 0
    ((run,), _) = read_runs(Path("results"))
    assert division(run) == "open"


def test_labels_may_have_another_order(pcbench, tmp_path: Path) -> None:
    names = ",".join(reversed(CLASSES))
    assert pcbench("import-set", *npz(tmp_path), "-m", "mine", "--class-names", names, *TINY).code == 0
    assert pcbench("import-set", *npz(tmp_path), "-m", "mine", *TINY).code == 0
    runs, _ = read_runs(Path("results"))
    assert len(runs) == 2
    kept = []
    for run in runs:
        with h5py.File(run.folder / "clouds.h5") as file:
            kept.append(file["000000/points"][()])
    assert np.array_equal(kept[0], kept[1][::-1])


class Runs:
    """Would run code where a file is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("make", "words", "told"),
    [
        (lambda f: np.save(f, POINTS), (), "clouds (B, N, 3) with labels (B,) are needed"),
        (lambda f: np.save(f, POINTS[:, None, :5]), (), "clouds have 5 points, and this protocol has 16"),
        (lambda f: np.save(f, POINTS[:9, None]), (), "clouds per class"),
        (
            lambda f: np.save(f, np.full((10, 1, 16, 3), np.nan)),
            (),
            "cloud 0 has a coordinate that is not finite",
        ),
        (lambda f: np.save(f, np.array([Runs()]), allow_pickle=True), (), "cannot be read"),
        (lambda f: torch.save({"data": Runs()}, f.with_suffix(".pt")), (), "holds more than numbers"),
        (lambda f: f.write_bytes(b"PK\x03\x04"), (), "is damaged"),
        (lambda f: np.save(f, POINTS[:, None]), ("-m", "sadm"), "name this one otherwise, as sadm-authors"),
        (lambda f: np.save(f, POINTS[:, None]), ("--class-names", "bed,cat"), "bench, bookshelf"),
    ],
)
def test_what_cannot_be_used_is_an_error_and_leaves_nothing(pcbench, tmp_path, make, words, told) -> None:
    path = tmp_path / "set.npy"
    make(path)
    named = () if "-m" in words else ("-m", "mine")
    (path,) = tmp_path.glob("set.*")
    refused = pcbench("import-set", path, *named, *words, *TINY)
    assert refused.code in (2, 3)
    assert told in refused.err
    assert not Path("results").exists()
    assert not Path("ran").exists()


def test_uneven_classes_are_refused(tmp_path: Path, pcbench) -> None:
    np.savez(tmp_path / "set.npz", clouds=POINTS, labels=np.minimum(LABELS, 8))
    refused = pcbench("import-set", tmp_path / "set.npz", "-m", "mine", *TINY)
    assert refused.code == 3
    assert "its classes have 1 to 2 clouds: all need as many" in refused.err


def test_an_array_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, clouds=np.zeros((1, 1 << 27, 5), np.uint8))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_set(path)


def test_an_array_whose_header_lies_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "set.npy"
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 30, 1 << 20, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(24))
    with pytest.raises(DataError, match="24 bytes do not fit its shape"):
        read_set(path)
