"""`pcbench bench`: plain loops and pcbench agree, figures have their shape, and disagreement is a failure."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from pcbench.cli import bench

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def measure():
    return bench._modules()[1]


def cases(line: str, points: int = 24, classes: int = 2, backbone: str = "pointnet") -> list:
    return bench._cases(bench.Point(line, "random", classes, 2, points, backbone, 2), CPU)[0]


@pytest.mark.parametrize("line", list(bench.Line))
def test_the_plain_loop_and_pcbench_agree(line, measure):
    for case in cases(line.value):
        one, other = (measure.once(case.sides[side], CPU) for side in ("plain", "pcbench"))
        assert min(one[0].seconds, one[0].processor, other[0].seconds, other[0].processor) > 0
        gaps = measure.differences(one[1], other[1])
        assert gaps.keys() == case.tolerances.keys()
        for name, gap in gaps.items():
            assert gap <= case.tolerances[name], f"{case.name}: {name}"


def test_a_backbone_without_a_plain_twin_is_its_own(measure):
    for case in cases("students", backbone="pct"):
        one, other = (measure.once(case.sides[side], CPU)[1] for side in ("plain", "pcbench"))
        gaps = measure.differences(one, other)
        assert all(gap <= case.tolerances[name] for name, gap in gaps.items()), gaps


def test_products_are_counted_in_place_ones_and_second_derivatives_included(measure):
    a, b, c = torch.rand(3, 4), torch.rand(4, 5), torch.zeros(3, 5)
    weight = torch.rand(5, 4, requires_grad=True)
    with measure.Products() as counter:
        c.addmm_(a, b)
        torch.zeros(2, 3, 5).baddbmm_(a.expand(2, 3, 4), b.expand(2, 4, 5))
        with torch.inference_mode():
            torch.nn.functional.linear(a, weight.detach())
    assert counter.flop == 2 * 3 * 4 * 5 * (1 + 2 + 1)
    with measure.Products() as counter:
        (gradient,) = torch.autograd.grad((a @ weight.T).square().sum(), weight, create_graph=True)
        gradient.square().sum().backward()
    assert counter.flop >= 2 * 3 * 4 * 5 * 4


def test_differences_are_relative_and_need_the_same_names(measure):
    one, other = {"x": torch.tensor([3.0, 4.0])}, {"x": torch.tensor([3.0, 4.5])}
    assert measure.differences(one, other) == pytest.approx({"x": 0.1})
    assert measure.differences({"x": torch.zeros(2)}, {"x": torch.ones(2)}) == pytest.approx({"x": 2**0.5})
    with pytest.raises(ValueError):
        measure.differences(one, {"y": torch.ones(2)})


def test_the_floor_is_the_longer_of_products_and_bytes(measure):
    (case,) = cases("dm")
    case = replace(case, bytes=100)
    memory = {side: {"peak_bytes": 7, "flop": 50 + n} for n, side in enumerate(case.sides)}
    seconds = {"plain": [9.0, 8.0, 4.0], "pcbench": [2.0, 3.0, 2.0]}
    times = {side: [measure.Watch(CPU, s, 1.5 * s) for s in known] for side, known in seconds.items()}
    found = measure.report(
        case, CPU, times, {"losses": 1e-9, "gradient of points": 0.0}, memory, (10.0, 1000.0)
    )
    assert (found["floor_seconds"], found["ratio"], found["to_floor"], found["agrees"]) == (5, 4, 0.4, True)
    assert measure.report(case, CPU, times, {"losses": 1.0}, memory, (1e9, 50.0))["floor_seconds"] == 2
    assert measure.report(case, CPU, times, {"losses": 1.0}, memory, (1.0, 1.0))["agrees"] is False


@pytest.fixture
def quick(measure, monkeypatch):
    """Neither rates nor memory are measured: both take seconds."""
    monkeypatch.setattr(measure, "matrix_rate", lambda _: 1e11)
    monkeypatch.setattr(measure, "memory_rate", lambda _: 1e10)
    monkeypatch.setattr(measure, "in_a_process", lambda words: {"peak_bytes": len(words), "flop": 1000})


TINY = ("--dataset", "random", "--classes", "2", "--points", "16", "--seconds", "0", "--students", "2")


@pytest.mark.usefixtures("quick")
def test_json_is_one_object_a_line(pcbench):
    done = pcbench("bench", "dm", "neighbours", *TINY, "--ppc", "1,2", "--json")
    assert done.code == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    searches = ["farthest-points", "nearest", "ball-query"]
    assert [figures["line"] for figures in found] == ["dm", "dm", *searches, *searches]
    assert [figures["ppc"] for figures in found[:2]] == [1, 2]
    for figures in found:
        assert figures["agrees"] is True
        assert figures["classes"] == 2
        for side in ("plain", "pcbench"):
            assert len(figures[side]["runs"]) == 2
            assert figures[side]["seconds"] > 0
            assert figures[side]["flop"] == 1000
        assert figures["ratio"] == figures["plain"]["seconds"] / figures["pcbench"]["seconds"]


@pytest.mark.usefixtures("quick")
def test_a_table_for_people_without_the_plain_loop(pcbench):
    done = pcbench("bench", "coreset", *TINY, "--no-plain")
    assert done.code == 0
    assert "herding  random, 2 classes, PPC 1, 16 points" in done.out
    assert "GFLOP/s" in done.out


@pytest.mark.usefixtures("quick")
def test_disagreement_is_told_and_exits_with_1(pcbench, measure, monkeypatch):
    monkeypatch.setattr(measure, "differences", lambda one, _: dict.fromkeys(one, 0.5))
    done = pcbench("bench", "dm", *TINY)
    assert done.code == 1
    assert "NO" in done.out
    assert "dm differs from the plain loop: losses 5.0e-01 (at most 1e-04)" in done.err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dm", "--ppc", "one"), "--ppc one: whole numbers from 1"),
        (("dm", "--classes", "11"), "--dataset random has as many"),
        (("dm", "--device", "tpu"), "unknown device"),
        (("students", *TINY, "--backbone", "pointnett"), "Did you mean pointnet"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(pcbench, words, message):
    done = pcbench("bench", *words)
    assert done.code == 2
    assert message in done.err


def test_memory_and_flop_come_from_a_process_of_its_own(measure):
    words = ("bench", "sadm", *TINY, "--memory-of", "plain:sadm")
    found = measure.in_a_process(words)
    assert found["flop"] > 1e6
    assert found["peak_bytes"] > 0


def test_growth_is_the_exponent_in_the_classes_by_line_and_ppc():
    def figures(line, ppc, classes, seconds):
        return {"line": line, "ppc": ppc, "classes": classes, "pcbench": {"seconds": seconds}}

    found = [figures("sadm", 1, k, 0.3 * k) for k in (10, 20, 40)]
    found += [figures("dm", 3, k, 0.1 * k**0.5) for k in (10, 40)] + [figures("dm", 1, 10, 1.0)]
    assert bench.growth(found) == [("sadm, PPC 1", pytest.approx(1)), ("dm, PPC 3", pytest.approx(0.5))]
