"""`--set lr=1,5` and `--repetition 0-4` are several cells; what means none is an error."""

from __future__ import annotations

import pytest

from pcbench.cli.spans import combinations, repetitions
from pcbench.errors import UsageError


def test_settings_span_all_their_combinations_in_order() -> None:
    assert combinations({"lr": "0.1,1", "rotate": "false", "k": "2, 3"}) == [
        {"lr": "0.1", "rotate": "false", "k": "2"},
        {"lr": "0.1", "rotate": "false", "k": "3"},
        {"lr": "1", "rotate": "false", "k": "2"},
        {"lr": "1", "rotate": "false", "k": "3"},
    ]


def test_no_setting_is_one_cell_and_a_literal_list_one_value() -> None:
    assert combinations({}) == [{}]
    assert combinations({"widths": "[8,16]"}) == [{"widths": "[8,16]"}]


@pytest.mark.parametrize("text", ["1,", ",1", "1,1", ","])
def test_values_that_are_empty_or_stand_twice_are_errors(text: str) -> None:
    with pytest.raises(UsageError, match=f"--set lr={text}"):
        combinations({"lr": text})


def test_repetitions_are_numbers_and_ranges() -> None:
    assert repetitions(["0"]) == [0]
    assert repetitions(["0-3", "7", "2"]) == [0, 1, 2, 3, 7]


@pytest.mark.parametrize("text", ["", "-1", "3-1", "a", "1-", "0-99999", "٣"])
def test_what_is_no_repetition_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="whole numbers or a range"):
        repetitions([text])
