"""How seldom Python looks for cycles of garbage is as before when the work is done."""

from __future__ import annotations

import gc

import pytest

from pcbench.common.garbage import SELDOM, seldom_searched


def test_the_thresholds_are_put_back_however_the_work_ends() -> None:
    before = gc.get_threshold()
    with seldom_searched():
        assert gc.get_threshold() == SELDOM
    assert gc.get_threshold() == before != SELDOM
    with pytest.raises(KeyError), seldom_searched():
        raise KeyError
    assert gc.get_threshold() == before
