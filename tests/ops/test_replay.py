"""On the CPU work is simply done; replaying is tried with a stand-in for the GPU."""

from __future__ import annotations

from collections import deque

import pytest
import torch

from pcbench.ops import replay
from pcbench.ops.replay import Recorder, Replayed, drawn, recording

CPU = torch.device("cpu")


def test_the_work_is_done_at_every_call_with_what_it_is_given():
    calls = []

    def work(name: str, x: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(name)
        return (2 * x,)

    step = Replayed(work, CPU)
    for number in range(6):
        (found,) = step("doubled", torch.full((2,), float(number)))
        assert found.tolist() == [2.0 * number] * 2
    assert calls == ["doubled"] * 6


def test_a_drawn_tensor_has_the_type_of_its_like_and_is_made_at_every_call():
    numbers = iter((1.0, 2.0))
    like = torch.zeros(3, dtype=torch.float64)
    found = [drawn(lambda: torch.full((3,), next(numbers)), like) for _ in range(2)]
    assert [x.tolist() for x in found] == [[1.0] * 3, [2.0] * 3]
    assert found[0].dtype == torch.float64


class Again:
    """In a GPU's place: a launch does the work again, on the tensors that it was recorded with."""

    def __init__(self) -> None:
        self.recorded = 0

    def aside(self, work, inputs):
        assert not recording()
        return work(*inputs)

    def record(self, work, inputs):
        assert recording()
        self.recorded += 1
        draws = list(replay._draws.coming)
        outputs = work(*inputs)

        def launch() -> None:
            with replay._following(replay._Draws(recording=True, coming=deque(draws))):
                for own, found in zip(outputs, work(*inputs), strict=True):
                    own.copy_(found)

        return outputs, launch


@pytest.fixture
def replayed():
    def make(work) -> Replayed:
        step = Replayed(work, CPU)
        step._graphs = Again()
        return step

    return make


def test_a_replay_sees_new_inputs_new_draws_and_what_the_work_changed_itself(replayed):
    count, numbers = torch.zeros(()), iter(range(100))

    def work(what: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert what == "a word"
        count.add_(1)
        first = drawn(lambda: torch.full((len(x),), float(next(numbers))), x)
        second = drawn(lambda: torch.full((len(x),), 0.5), x)
        return x * 2 + first * second, count.clone()

    step = replayed(work)
    for call, size in enumerate([2, 2, 2, 3, 2, 2, 3, 2, 3, 3, 3, 2]):
        recorded = step._graphs.recorded
        found, _ = step("a word", torch.full((size,), 10.0 * call))
        if step._graphs.recorded > recorded:
            count.sub_(1)  # a GPU only notes what the work does when it is recorded
        assert found.tolist() == [20.0 * call + call / 2] * size
        assert float(count) == call + 1
    assert step._graphs.recorded == 2


def test_a_draw_has_one_tensor_from_its_last_plain_call_on_and_none_of_the_recordings_own(replayed):
    seen = []

    def work(x: torch.Tensor) -> tuple[torch.Tensor]:
        seen.append(drawn(lambda: torch.rand(len(x), generator=torch.Generator().manual_seed(1)), x))
        return (x + seen[-1],)

    step = replayed(work)
    for _ in range(6):
        step(torch.ones(2))
    assert len({id(tensor) for tensor in seen}) == replay.EAGER_CALLS
    assert all(tensor is seen[replay.EAGER_CALLS - 1] for tensor in seen[replay.EAGER_CALLS :])


def test_preparing_does_the_work_until_it_is_recorded(replayed):
    step = replayed(lambda x: (x.clone(),))
    step.prepare(torch.ones(1))
    assert step._graphs.recorded == 1
    Replayed(pytest.fail, CPU).prepare(torch.ones(1))


def test_work_that_cannot_be_recorded_is_done_as_it_is_written_and_said_once(replayed):
    def work(x: torch.Tensor) -> tuple[torch.Tensor]:
        if recording():
            raise RuntimeError("operation not permitted when stream is capturing\nSearch for it in a manual")
        return (x + drawn(lambda: torch.ones(len(x)), x),)

    step = replayed(work)
    with pytest.warns(UserWarning, match="slower for it: operation not permitted when stream is capturing$"):
        found = [step(torch.full((2,), float(call)))[0].tolist() for call in range(7)]
    assert found == [[call + 1.0] * 2 for call in range(7)]
    assert step(torch.zeros(2))[0].tolist() == [1.0, 1.0]
    assert step._graphs.recorded == 1


def test_a_recorder_records_each_work_once_whichever_way_it_is_named(replayed, monkeypatch):
    """A bound method is another object every time that it is taken from its owner."""

    class Owner:
        def step(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (2 * x,)

        def other(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (3 * x,)

    made = []

    def stand_in(work, device: torch.device) -> Replayed:
        assert device == CPU
        made.append(replayed(work))
        return made[-1]

    monkeypatch.setattr(replay, "Replayed", stand_in)
    owner, recorder = Owner(), Recorder(CPU)
    for number in range(6):
        x = torch.full((2,), float(number))
        assert recorder(owner.step, x)[0].tolist() == [2.0 * number] * 2
        assert recorder(owner.other, x)[0].tolist() == [3.0 * number] * 2
    assert [step._graphs.recorded for step in made] == [1, 1]
