"""Every built-in plugin keeps its contract, and each way to break one is found and named."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from built_in import CATALOGUE

from pcbench.api import Task
from pcbench.catalogue import open_catalogue
from pcbench.conformance import Item, check, failures
from pcbench.conformance.clauses import small_clouds
from pcbench.conformance.methods import Bench
from pcbench.errors import UsageError

HEAD = """
import random

import numpy as np
import torch

from pcbench.api import Backbone, Dataset, Method, MethodParams, PointClouds, Snapshot, Splits, param
from pcbench.ops.batches import ClassIndex
from pcbench.ops.coreset import initial_clouds
from pcbench.ops.layers import BatchNorm, Dense, Linear, max_over_points, mlp


def start(task):
    return initial_clouds("random", task.train, task.ppc, task.streams, task.trained_network)

"""

METHOD = """
class Tried(Method):
    '''Noise on training clouds, more at every iteration.'''

    name = "tried"

    class Params(MethodParams):
        sigma: float = param(0.1, "standard deviation", source="a guess", gt=0)

    def distill(self, task):
        clouds = start(task)
        points = clouds.points

        def snapshot(iteration):
            return Snapshot(iteration, PointClouds(points, clouds.labels, clouds.class_names))

        yield snapshot(0)
        for iteration in task.steps():
            noise = torch.randn(points.shape, generator=task.streams.stream("noise", iteration=iteration))
            points = points + self.params.sigma * noise
            if iteration in task.snapshots:
                yield snapshot(iteration)
"""

BACKBONE = """
class Tried(Backbone):
    '''A shared MLP.'''

    name = "tried"

    def __init__(self, classes):
        super().__init__(classes)
        self.points = mlp(3, 16, 32)
        self.head = Dense(32, 16)
        self.classifier = Linear(16, classes)

    def point_features(self, xyz):
        return self.points(xyz)

    def global_feature(self, xyz):
        return max_over_points(self.point_features(xyz))

    def embed(self, xyz):
        return self.head(self.global_feature(xyz))

    def forward(self, xyz):
        return self.classifier(self.embed(xyz))
"""

DATASET = """
class Tried(Dataset):
    '''Normal clouds.'''

    name = "tried"
    variant = "drawn"
    up_axis = "none"
    classes, train_size, test_size = 2, 6, 4
    calls = 0

    def present(self):
        return True

    def how_to_get(self):
        return "It is drawn."

    def clouds(self, count, points, seed):
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(count, points, 3, generator=generator)
        return PointClouds(points, torch.arange(count) % 2, ("a", "b")).normalised()

    def load(self, points):
        train, test = self.clouds(6, points, 1), self.clouds(4, points, 2)
        return Splits(train, test, train.content_hash(), "drawn")
"""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("method", name) for name in CATALOGUE.methods.names()),
        *(("backbone", name) for name in CATALOGUE.backbones.names()),
        *(("dataset", name) for name in ("shapes10", "shapes10_rotated")),
    ],
)
def test_built_in_plugins_keep_their_contract(kind: str, name: str) -> None:
    reports = [report for report in check(name, CATALOGUE) if report.kind == kind]
    assert len(reports) == 1
    assert [item for item in reports[0].items if item.result in ("failed", "warning")] == []
    assert reports[0].passed


def items(folder: Path, text: str) -> dict[str, Item]:
    path = folder / str(len(list(folder.iterdir()))) / "tried.py"  # a module of its own
    path.parent.mkdir()
    path.write_text(HEAD + text)
    (report,) = check(str(path), CATALOGUE)
    return {item.clause: item for item in report.items}


def broken(folder: Path, text: str, old: str, new: str) -> dict[str, str]:
    """The clauses that fail once `old` is replaced, with their details."""
    assert old in text
    found = items(folder, text.replace(old, new))
    return {clause: item.detail for clause, item in found.items() if item.result == "failed"}


@pytest.mark.parametrize("text", [METHOD, BACKBONE, DATASET])
def test_what_the_broken_plugins_are_made_from_is_sound(tmp_path: Path, text: str) -> None:
    assert {item.result for item in items(tmp_path, text).values()} <= {"ok", "not applicable"}
    assert failures(tmp_path / "0" / "tried.py") == []


@pytest.mark.parametrize(
    ("old", "new", "clause", "words"),
    [
        ("'''Noise on training clouds, more at every iteration.'''", "", "docstring", "no docstring"),
        ('name = "tried"', 'name = "dm"', "name", "methods/dm.py"),
        ('source="a guess"', 'source=""', "parameters", "sigma lacks"),
        ('"standard deviation"', '""', "parameters", "sigma lacks"),
        (
            "sigma: float = param(0.1,",
            "sigma: object = param(torch.ones(1),",
            "parameters",
            "",
        ),
        ("(MethodParams):", "(MethodParams, extra='allow'):", "parameters", "unknown names"),
        (
            "clouds = start(task)",
            "import pcbench.engine; clouds = start(task)",
            "imports",
            "tried.py:26 imports pcbench.engine",
        ),
        (
            "clouds = start(task)",
            "from pcbench import datasets; clouds = start(task)",
            "imports",
            "imports pcbench.datasets",
        ),
        (
            "clouds = start(task)",
            "from pcbench.datasets.shapes import Shapes10; Shapes10().load(16); clouds = start(task)",
            "training clouds alone",
            "a method sees the training clouds alone",
        ),
        ("clouds = start(task)", "clouds = task.nothing", "snapshots at PPC 1", "tried.py:26)"),
        (
            "clouds.labels,",
            "clouds.labels.flip(0) * 0,",
            "snapshots at PPC 1",
            "clouds per class instead of 1",
        ),
        ("PointClouds(points,", "PointClouds(points / 0,", "snapshots at PPC 1", "not finite"),
        ("PointClouds(points,", "PointClouds(points.double(),", "snapshots at PPC 1", "float32"),
        ("PointClouds(points,", "PointClouds(points[:, 1:],", "snapshots at PPC 1", "15 points a cloud"),
        ("clouds.class_names)", "('x', 'y', 'z'))", "snapshots at PPC 1", "other classes"),
        ("in task.snapshots", "in (3,)", "snapshots at PPC 1", "gave snapshots [0, 3]"),
        ("in task.snapshots", "in (1, 2, 3)", "snapshots at PPC 1", "snapshot 1 was not asked for"),
        (
            "clouds = start(task)",
            "clouds = start(task).select(torch.arange(3))",
            "snapshots at PPC 2",
            "instead of 2 of each",
        ),
        ("Snapshot(iteration,", "(iteration,", "snapshots at PPC 1", "gave a tuple"),
        ("self.params.sigma * noise", "torch.rand(1)", "same seeds, same clouds", "task.streams"),
        ("self.params.sigma * noise", "torch.rand(1)", "global state", "torch's global generator"),
        ("self.params.sigma * noise", "np.random.rand()", "global state", "numpy's global generator"),
        ("self.params.sigma * noise", "random.random()", "global state", "the module random"),
        (
            "self.params.sigma * noise",
            "np.random.default_rng().random()",
            "same seeds, same clouds",
            "two runs differ",
        ),
        (
            "        yield snapshot(0)\n",
            "        with torch.no_grad():\n            yield snapshot(0)\n",
            "global state",
            "torch's grad mode",
        ),
        (
            "points = clouds.points",
            "points = torch.zeros_like(clouds.points)",
            "other repetition, other clouds",
            "",
        ),
        (
            "clouds = start(task)",
            "clouds = start(task); task.train.points.mul_(2)",
            "clouds left as given",
            "clone",
        ),
        ("in task.steps()", "in range(1, task.iterations + 1)", "cancellation", "it reported []"),
        (
            "task.steps()",
            "task.steps(torch.optim.SGD([clouds.points], 1.0))",
            "resumption",
            "let the optimiser hold all",
        ),
        (
            "        yield snapshot(0)\n",
            "        yield snapshot(0)\n        try:\n            task.report(1)\n"
            "        except BaseException:\n            pass\n",
            "cancellation",
            "",
        ),
        (
            "        yield snapshot(0)\n",
            "        try:\n            yield snapshot(0)\n"
            "        except GeneratorExit:\n            yield None\n",
            "cancellation",
            "GeneratorExit",
        ),
        (
            "points = clouds.points",
            "task.cached({}, lambda *_: {'x': torch.ones(1).double()})\n        points = clouds.points",
            "snapshots at PPC 1",
            "task.cached keeps float32",
        ),
    ],
)
def test_a_method_that_breaks_a_clause_is_told_which(
    tmp_path: Path, old: str, new: str, clause: str, words: str
) -> None:
    text = METHOD
    if clause == "other repetition, other clouds":
        text = text.replace("self.params.sigma * noise", "0")
    found = broken(tmp_path, text, old, new)
    assert words in found[clause]
    assert failures(tmp_path / "0" / "tried.py")


def test_an_interruption_that_a_method_keeps_is_found(tmp_path: Path) -> None:
    loop = "        for iteration in task.steps():\n"
    own_loop = (
        "        for iteration in range(1, task.iterations + 1):\n"
        "            try:\n                task.report(iteration)\n"
        "            except {what}:\n                {then}\n"
    )
    swallowed = broken(tmp_path, METHOD, loop, own_loop.format(what="BaseException", then="pass"))
    assert "went on after an interruption" in swallowed["cancellation"]
    turned = own_loop.format(what="KeyboardInterrupt", then="raise RuntimeError('stopped')")
    assert "into RuntimeError" in broken(tmp_path, METHOD, loop, turned)["cancellation"]


def test_a_method_that_cannot_run_is_not_asked_for_more(tmp_path: Path) -> None:
    found = items(tmp_path, METHOD.replace("clouds = start(task)", "raise RuntimeError('no')"))
    results = {clause: item.result for clause, item in found.items()}
    assert results["snapshots at PPC 1"] == "failed"
    assert [results[clause] for clause in ("snapshots at PPC 2", "cancellation")] == ["not applicable"] * 2


def test_a_method_of_the_whole_split_gives_just_that(tmp_path: Path) -> None:
    whole = METHOD.replace('name = "tried"', 'name = "tried"\n    whole = True')
    assert "not the training split" in broken(tmp_path, whole, "sigma", "sigma")["snapshots at PPC 1"]
    text = """
class Whole(Method):
    '''The training split.'''
    name = "everything"
    whole = True
    def distill(self, task):
        yield Snapshot(0, task.train)
"""
    found = items(tmp_path, text)
    assert {item.result for item in found.values()} == {"ok", "not applicable"}
    assert found["snapshots at PPC 2"].result == found["cancellation"].result == "not applicable"


def test_a_method_that_draws_nothing_may_be_the_same_in_every_repetition(tmp_path: Path) -> None:
    found = items(
        tmp_path,
        METHOD.replace(
            "start(task)", "task.train.select(ClassIndex(task.train).table()[:, : task.ppc].flatten())"
        ).replace(
            'torch.randn(points.shape, generator=task.streams.stream("noise", iteration=iteration))', "1"
        ),
    )
    assert found["other repetition, other clouds"].result == "not applicable"
    assert all(item.result != "failed" for item in found.values())


def test_a_plugin_that_cannot_be_imported_fails(tmp_path: Path) -> None:
    assert (
        "No module named 'absent_module'"
        in items(tmp_path, "import absent_module\n" + METHOD)["import"].detail
    )


@pytest.mark.parametrize(
    ("old", "new", "clause", "words"),
    [
        ("mlp(3, 16, 32)", "torch.nn.Linear(3, 32)", "built from a generator", "pcbench.ops.layers"),
        ("self.classifier = ", "self.extra = Linear(2, 2); self.classifier = ", "gradients", "extra.weight"),
        (
            "return self.classifier(self.embed(xyz))",
            "return self.embed(xyz)",
            "shapes",
            "(4, 16) instead of (4, 5)",
        ),
        (
            "return max_over_points(self.point_features(xyz))",
            "return self.point_features(xyz)",
            "shapes",
            "global_feature",
        ),
        ("return self.points(xyz)", "return self.points(xyz).mT", "shapes", ""),
        (
            "return max_over_points(self.point_features(xyz))",
            "return self.point_features(xyz).amax(1)",
            "stacked as alone",
            "",
        ),
        (
            "return self.points(xyz)",
            "return self.points(xyz - xyz.mean(0))",
            "same clouds, same logits",
            "other clouds",
        ),
        (
            "return self.points(xyz)",
            "return self.points(xyz.mul_(2))",
            "same clouds, same logits",
            "two forwards",
        ),
        ("return self.points(xyz)", "return self.points(xyz.detach())", "gradients", "the points"),
        (
            "return self.head(self.global_feature(xyz))",
            "f = self.global_feature(xyz)\n        centred = f - f.mean(-2, True)\n"
            "        return self.head(centred / f.std(-2, correction=0, keepdim=True))",
            "a batch of one",
            "finite",
        ),
        (
            "return self.points(xyz)",
            "return self.points(xyz + 0 * torch.rand(1))",
            "global state",
            "torch's global generator",
        ),
    ],
)
def test_a_backbone_that_breaks_a_clause_is_told_which(
    tmp_path: Path, old: str, new: str, clause: str, words: str
) -> None:
    assert words in broken(tmp_path, BACKBONE, old, new)[clause]


def test_a_backbone_that_looks_at_the_order_of_points_is_warned_only(tmp_path: Path) -> None:
    first = BACKBONE.replace(
        "max_over_points(self.point_features(xyz))", "self.point_features(xyz)[..., 0, :]"
    )
    found = items(tmp_path, first)
    assert found["order of the points"].result == "warning"
    assert "order of the points" in found["order of the points"].detail


@pytest.mark.parametrize(
    ("old", "new", "clause", "words"),
    [
        ("= 2, 6, 4", "= 2, 7, 4", "counts and classes", "its card says (2, 7, 4)"),
        (
            "torch.arange(count) % 2",
            "torch.zeros(count).long()",
            "counts and classes",
            "'b' has no training cloud",
        ),
        (".normalised()", "", "unit sphere", "training cloud"),
        ("self.clouds(4, points, 2)", "self.clouds(4, 8, 2)", "points", "asked for 16 points"),
        (
            "train, test = ",
            "Tried.calls += 1; train, test = self.clouds(6, points, Tried.calls), ",
            "content hash",
            "",
        ),
        ("train.content_hash(), ", "'always the same', ", "content hash", "another number of points"),
        ('"It is drawn."', '""', "card", "how_to_get"),
    ],
)
def test_a_data_set_that_breaks_a_clause_is_told_which(
    tmp_path: Path, old: str, new: str, clause: str, words: str
) -> None:
    text = DATASET
    if "calls" in new:
        new = "Tried.calls += 1; train, test = self.clouds(6, points, Tried.calls), self.clouds(4, points, 2)"
        old = "train, test = self.clouds(6, points, 1), self.clouds(4, points, 2)"
        words = "two content hashes"
    assert words in broken(tmp_path, text, old, new)[clause]


def test_an_absent_data_set_is_not_tried(tmp_path: Path) -> None:
    found = items(tmp_path, DATASET.replace("return True", "return False"))
    assert found["card"].result == "ok"
    assert found["content hash"].result == "not applicable"
    assert "It is drawn." in found["content hash"].detail


@pytest.mark.parametrize(
    ("target", "words"),
    [("sadn", "Did you mean sadm"), ("absent.py", "is not there"), ("empty.py", "defines no plugin")],
)
def test_a_target_that_is_no_plugin_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, words: str
) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        check(target, CATALOGUE)


def test_a_name_is_found_in_the_folders_given(tmp_path: Path) -> None:
    items(tmp_path, METHOD)
    (report,) = check("tried", open_catalogue([tmp_path / "0"]))
    assert (report.kind, report.name, report.passed) == ("method", "tried", True)


def test_a_check_leaves_the_global_generators_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = (torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate())  # noqa: NPY002
    items(tmp_path, METHOD.replace("self.params.sigma * noise", "torch.rand(1) + random.random()"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]
    assert torch.is_grad_enabled()


def test_the_small_task_is_hard_on_assumptions() -> None:
    """Classes of different sizes, not in order; a repetition has streams of its own."""
    clouds = small_clouds()
    assert clouds.counts().tolist() == [10, 11, 12]
    assert clouds.labels.tolist() != sorted(clouds.labels.tolist())
    tasks: list[Task] = [Bench().task(repetition=repetition) for repetition in (0, 1)]
    draws = [torch.rand(3, generator=task.streams.stream("x")) for task in tasks]
    assert not torch.equal(*draws)


def test_a_method_that_leaves_the_process_is_told(tmp_path: Path) -> None:
    told = broken(tmp_path, METHOD, "points = clouds.points", "raise SystemExit(0)\n        points = 0")
    assert "SystemExit" in told["snapshots at PPC 1"]


def test_a_method_made_for_three_classes_is_told(tmp_path: Path) -> None:
    new = "clouds = PointClouds(start(task).points[:3], torch.arange(3), task.train.class_names[:3])"
    told = broken(tmp_path, METHOD, "clouds = start(task)", new)
    assert "snapshots at PPC 2" in told
