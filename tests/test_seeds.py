"""Random streams from named axes."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcbench.seeds import Streams, seed_of

axes = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=5)


@given(axes)
def test_the_order_of_the_axes_does_not_matter(values):
    assert seed_of(values) == seed_of(dict(reversed(values.items())))


@given(axes, axes)
def test_distinct_axes_give_distinct_seeds(one, other):
    assert (seed_of(one) == seed_of(other)) == (one == other)


@given(axes)
def test_a_seed_fits_a_generator(values):
    assert 0 <= seed_of(values) < 2**63
    torch.Generator().manual_seed(seed_of(values))


def test_a_number_and_its_text_differ():
    assert seed_of({"ppc": 1}) != seed_of({"ppc": "1"})


def test_the_seed_is_the_documented_hash():
    text = '{"dataset":"shapes10","ppc":1}'
    expected = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2
    assert seed_of({"ppc": 1, "dataset": "shapes10"}) == expected


def test_a_stream_starts_anew_at_every_call():
    streams = Streams({"dataset": "shapes10"})
    first, again = (torch.rand(4, generator=streams.stream("init")) for _ in range(2))
    assert torch.equal(first, again)
    other = torch.rand(4, generator=streams.stream("shuffle"))
    assert not torch.equal(first, other)


def test_further_axes_make_another_family():
    streams = Streams({"dataset": "shapes10"})
    within = streams.within(ppc=1, repetition=0)
    assert dict(within.axes) == {"dataset": "shapes10", "ppc": 1, "repetition": 0}
    assert dict(streams.axes) == {"dataset": "shapes10"}
    direct = streams.stream("init", ppc=1, repetition=0)
    assert direct.initial_seed() == within.stream("init").initial_seed()
    assert direct.initial_seed() != streams.stream("init").initial_seed()


def test_a_fixed_axis_cannot_be_changed():
    streams = Streams({"ppc": 1})
    with pytest.raises(ValueError, match="'ppc' is already fixed to 1"):
        streams.within(ppc=1)
    with pytest.raises(ValueError, match="'purpose' is already fixed"):
        streams.within(purpose="a").stream("b")


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=Streams({"ppc": 1}).stream("init"))
    assert torch.equal(torch.get_rng_state(), before)
