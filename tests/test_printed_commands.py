"""Every command that README.md and docs/ print works: page by page, in their order, as they stand there.

Data sets are small stand-ins, the standard protocols are tiny ones of the same names, and placeholders are
what the table below says. What would still take minutes is resolved to its plan, or parsed, and no more.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch
from built_in import CATALOGUE
from printed import commands, files, parse

from pcbench.catalogue import Catalogue, open_catalogue
from pcbench.common.places import data_root
from pcbench.datasets import modelnet
from pcbench.protocols.protocol import PROTOCOLS, Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

TRAIN = 10
"""Training clouds of each class of ModelNet: what methods draw at once."""
CARDS = (
    ("modelnet40", 40, TRAIN),
    ("modelnet10", 10, TRAIN),
    ("shapenet55", 55, 1),
    ("scanobjectnn", 15, 1),
    ("scanobjectnn:pb_t50_rs", 15, 1),
)
"""Data sets, their classes, and training clouds a class of the stand-ins, which have one test cloud each."""

REPLACED = {
    "modelnet40 PATH": "modelnet40 copies/modelnet40",
    "~/Downloads/modelnet40_normal_resampled": "copies/modelnet40",
    "~/Downloads/h5_files": "copies/h5_files",
    "~/scans": "copies/my-shapes",
    "submissions/NAME": "submissions/mine",
    "--artifacts DIR": "--artifacts mine/runs",
    "--device cuda": "--device cpu",
    "--ppc 1,3,10": "--ppc 1",
    "--sample 3": "--sample 1",
    "--fresh 10": "--fresh 2",
    "points=512": "points=32",
    "--jobs auto": "",
    "--jobs 2 --timeout 2h": "",
    "--jobs 2 --memory 8G": "",
}
"""What stands for placeholders, for a GPU that need not be there, and for what would take long.

Cells in processes of their own would not know the tiny protocols; tests/executors tries them."""

RESOLVED = {
    "--suite smoke": "a cell of every method: minutes",
    "--suite table1": "22 cells",
    "--suite table2": "students of five networks",
    "--method whole": "the recipe of a backbone has 250 epochs",
}
"""Commands of `run` that are resolved to their plan, by what they have in them, and why no more is done."""
ADDED = {"evaluate results": ["--snapshots", "last"]}
"""Words that are added where students of all runs of a page are trained."""
PARSED = {
    "evaluate results --test jitter": "as the line before it, with other tests",
    "bench": "measures for minutes; tests/benchmarks tries it",
    "run --suite table1 --protocol paper --slurm": "needs a cluster; tests/executors tries it",
    "retry --slurm": "needs a cluster; tests/executors tries it",
    "leaderboard serve": "ends by Ctrl-C; tests/report tries it",
}
"""Commands that are parsed alone."""
LEFT_TO_OTHERS = {
    "make": "tests/test_wheel.py installs; the targets are looked up here",
    "python -m pcbench.catalogue": "rewrites leaderboard/lineage.toml; tests/catalogue tries it",
}
"""What is no command of pcbench."""
MAY_END_WITH = {"verify": (0, 1)}
"""Exit codes other than 0 that are right: a verification of so few clouds may not be able to tell."""


def words_of(command: str) -> list[str]:
    """The words after `pcbench`, with what stands for placeholders."""
    for printed, meant in REPLACED.items():
        command = command.replace(printed, meant)
    return shlex.split(command)[1:]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of public data sets as users have them, of a few clouds."""
    folder = tmp_path_factory.mktemp("copies")
    classes, each = modelnet.CLASSES, {"train": TRAIN, "test": 1}
    for split, number in each.items():
        labels = np.repeat(np.arange(40), number)
        points = layouts.points(len(labels), number)
        layouts.write_h5(
            folder / "modelnet40" / f"ply_data_{split}0.h5", points, labels[:, None].astype(np.uint8)
        )
        (folder / "modelnet40" / f"{split}_files.txt").write_text(f"x/ply_data_{split}0.h5\n")
    (folder / "modelnet40" / "shape_names.txt").write_text("\n".join(classes) + "\n")
    layouts.scans(folder / "h5_files", "scanobjectnn:pb_t50_rs")
    layouts.shapenet_hdf5(folder / "shapenet55")
    for label, name in enumerate(("chair", "table")):
        for split, number in each.items():
            (folder / "my-shapes" / name / split).mkdir(parents=True)
            for place, points in enumerate(layouts.points(number, 100 * label + number)):
                np.save(folder / "my-shapes" / name / split / f"{place}.npy", points)
    return folder


def _is(value: object, name: str) -> bool:
    return isinstance(value, type) and getattr(value, "name", "") == name


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """The cards of data sets and the standard protocols, made small."""
    with pytest.MonkeyPatch.context() as patch:
        for name, classes, train in CARDS:
            loaded = CATALOGUE.datasets.load(name)
            for kind in {
                each for each in vars(sys.modules[loaded.__module__]).values() if _is(each, loaded.name)
            }:
                patch.setattr(kind, "releases", ((train * classes, classes),))
                patch.setattr(kind, "train_size", train * classes)
                patch.setattr(kind, "test_size", classes)
        one = Recipe(epochs=1, drop_after=0, batch=64)
        tiny = {
            "points": 16,
            "iterations": 1,
            "snapshot_every": 1,
            "students": 2,
            "recipe": one,
            "whole": one,
        }
        for name in ("paper", "lite", "quick"):
            patch.setitem(PROTOCOLS, name, PROTOCOLS[name].model_copy(update=tiny))
        yield


@pytest.fixture(scope="module")
def stored(copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the data sets of the pages."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCBENCH_DATA", str(folder))
        for name in ("modelnet40", "shapenet55"):
            CATALOGUE.datasets.load(name)().import_from(copies / name, lambda *_: None)
    return folder


def once_opened(folders: Sequence[Path] = ()) -> Catalogue:
    """The catalogue; that of the built-in plugins alone is the one of all tests."""
    own = {path.name for path in data_root().iterdir()} - {*CATALOGUE.datasets.names()}
    return open_catalogue(folders) if folders or own else CATALOGUE


@pytest.fixture
def workplace(
    tmp_path: Path,
    copies: Path,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Where the commands of a page are given: a checkout's folder of a user with a method and data."""
    shutil.copytree(stored, tmp_path / "data")
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("pcbench.catalogue.open_catalogue", once_opened)
    (tmp_path / "copies").symlink_to(copies)
    (tmp_path / "my_methods").mkdir()
    jitter = files(PAGES[0])["my_methods/jitter.py"]
    for name in ("jitter", "mine"):
        (tmp_path / "my_methods" / f"{name}.py").write_text(jitter.replace('"jitter"', f'"{name}"'))
    (tmp_path / "my_networks").mkdir()
    plain = (ROOT / "tests" / "backbones" / "plain_networks.py").read_text(encoding="utf-8")
    network = plain.replace('"plain_pointnet"', '"tutorial_pointnet"')
    (tmp_path / "my_networks" / "tutorial.py").write_text(network)
    (tmp_path / "leaderboard" / "results").mkdir(parents=True)
    (tmp_path / "submissions").mkdir()
    distilled = [layouts.points(10, 0, 16), np.arange(10)]
    torch.save({"data": [[torch.from_numpy(each) for each in distilled]]}, tmp_path / "res_DC.pt")
    for line in ("init -q", "commit -q --allow-empty -m x", "update-ref refs/remotes/origin/main HEAD"):
        git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run([*git, *line.split()], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work_in_their_order(
    page: Path, pcbench, workplace: Path, stored: Path
) -> None:
    for name, text in files(page).items():
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        (workplace / name).write_text(text, encoding="utf-8")
    for command in commands(page):
        if any(command.startswith(each) for each in LEFT_TO_OTHERS):
            target = command.split()[1]
            assert command.startswith("python") or f"\n{target}:" in (ROOT / "Makefile").read_text()
            if command == "make run":
                assert pcbench("run").code == 0
            continue
        words = words_of(command)
        prepare(words, workplace, stored)
        if any(" ".join(words).startswith(each) for each in PARSED):
            parse(words)
            continue
        if any(each in command for each in RESOLVED):
            words += ["--dry-run"] if "--dry-run" not in words else []
        words += [word for part, more in ADDED.items() if part in command for word in more]
        done = pcbench(*words)
        assert done.code in MAY_END_WITH.get(words[0], (0,)), f"{command}\n{done.out}\n{done.err}"


def prepare(words: Sequence[str], folder: Path, stored: Path) -> None:
    """What a reader has done before a command, and no page prints: copied a submission, published a table."""
    if words[:2] == ["data", "remove"] or words[0] == "run":  # the next section finds the data there again
        shutil.copytree(stored, folder / "data", dirs_exist_ok=True)
    if words[0] == "submit":  # with stand-ins as they are, runs of ModelNet are refused, and rightly
        for run in (folder / "results").glob("*-modelnet*"):
            shutil.rmtree(run)
        shutil.rmtree(folder / "mine", ignore_errors=True)
    if "submissions" in words:
        shutil.copytree(folder / "mine", folder / "submissions" / "mine")
    if words[:2] == ["leaderboard", "check"]:
        shutil.rmtree(folder / "leaderboard" / "results")
        (folder / "leaderboard" / "results").symlink_to(folder / "results")
        shutil.copy(folder / "site" / "leaderboard.md", folder / "leaderboard")


def test_what_is_only_resolved_or_parsed_is_on_some_page() -> None:
    lines = [command for page in PAGES for command in commands(page)]
    assert len([line for line in lines if line.startswith("pcbench ")]) > 50
    for part in (*REPLACED, *RESOLVED, *ADDED, *PARSED, *LEFT_TO_OTHERS, *MAY_END_WITH):
        assert any(part in line for line in lines), part
    with pytest.raises(Exception, match="No such option"):
        parse(["leaderboard", "serve", "--prot", "1"])
