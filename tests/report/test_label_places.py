"""Words beside points cover nothing; dots stand in their tiers, and heat maps say how large a value is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pcbench.report.dots import Dot, Line, dots
from pcbench.report.heat import Heat, HeatRow, HeatValue
from pcbench.report.placing import Box, places, width_of
from pcbench.report.svg import NARROW, WIDE, PlotData, PlotPoint, pareto

FIELD = Box(44, 6, 340, 254)
POINTS = st.lists(st.tuples(st.integers(50, 330), st.integers(15, 245)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(1, 12))
def test_no_words_cover_others_a_point_or_the_edge(points: list[tuple[int, int]], letters: int) -> None:
    found = places([(float(x), float(y)) for x, y in points], ["x" * letters] * len(points), FIELD)
    boxes = [each.box for each in found if each is not None]
    assert len(boxes) >= min(len(points), 8)
    for number, box in enumerate(boxes):
        assert box.within(FIELD)
        assert abs(box.right - box.left - width_of("x" * letters)) < 1e-6
        assert not any(box.meets(other) for other in boxes[number + 1 :])
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in points)


def test_words_that_stand_far_off_are_led_to_and_what_has_none_gets_none() -> None:
    found = places([(100.0, 100.0)] * 12, ["method"] * 11 + [""], FIELD)
    assert found[-1] is None
    placed = [each for each in found if each is not None]
    assert len(placed) == 11
    assert placed[0].leader == ""
    assert any(each.leader.startswith("M100 100 L") for each in placed)


def test_the_front_goes_through_the_points_that_none_beats() -> None:
    points = tuple(
        PlotPoint(seconds, accuracy, label=f"{seconds:g}", page="methods/m")
        for seconds, accuracy in ((1.0, 50.0), (10.0, 40.0), (20.0, 60.0), (90.0, 55.0), (100.0, 70.0))
    )
    plot = pareto("n", "t", "d", "x", "y", [PlotData("methods", points)])
    for layout, frame in ((plot.wide, WIDE), (plot.narrow, NARROW)):
        assert layout.frame == frame
        (series,) = layout.series
        on = {mark.label for mark in series.marks if f"{mark.y:g}" in layout.front.replace("V", "").split()}
        assert {"20", "100"} <= on
        assert not {"10", "90"} & on
        assert layout.front.startswith(f"M{series.marks[0].x:g} {series.marks[0].y:g} ")
        assert all(mark.words is not None and mark.page == "methods/m" for mark in series.marks)


def test_dots_stand_in_bands_of_tiers_within_the_field() -> None:
    rows = [
        Dot("first", "methods/a", 80.0, 78.0, 82.0, "80.0", "t", 1),
        Dot(
            "a method with a name that is far too long for its room",
            "methods/b",
            79.0,
            None,
            None,
            "",
            "t",
            1,
        ),
        Dot("third", "methods/c", 60.0, 50.0, 70.0, "60.0", "t", 2, ((90.0, "reported"),)),
        Dot("fourth", "methods/d", 95.0, 90.0, 100.0, "95.0", "t"),
    ]
    chart = dots("n", "t", "d", "x", rows, [Line("random 40.0", 40.0)])
    for layout in (chart.wide, chart.narrow):
        assert [(band.label, band.height) for band in layout.bands] == [
            ("tier 1", 50), ("tier 2", 25), ("not ranked", 25),
        ]  # fmt: skip
        assert layout.rows[1].label.endswith("…")
        assert layout.rows[1].low == layout.rows[1].x == layout.rows[1].high
        ends = [x for row in layout.rows for x in (row.low, row.x, row.high, *(at for at, _ in row.reported))]
        assert all(layout.left <= x <= layout.right for x in [*ends, layout.lines[0].x])
        assert layout.rows[0].x > layout.rows[2].x
        assert layout.lines[0].x < layout.rows[2].low
        assert layout.rows[-1].y < layout.bottom


def test_the_ground_of_a_heat_map_says_how_large_a_value_is() -> None:
    def heat(values: list[float | None], diverging: bool) -> list[str]:
        row = HeatRow("r", "", tuple(HeatValue(value, "", "") for value in values))
        chart = Heat("n", "t", "d", tuple("abcde"), (row,), diverging)
        return [chart.ground(value) for value in values]

    assert heat([10.0, 55.0, 100.0, None], False) == ["shade-0", "shade-4", "shade-9", "shade-none"]
    assert heat([-40.0, -10.0, 0.0, 20.0, None], True) == [
        "less-4",
        "less-1",
        "shade-none",
        "more-2",
        "shade-none",
    ]
    assert heat([7.0, 7.0], False) == ["shade-4", "shade-4"]


def test_a_heat_map_is_as_wide_as_its_words_ask_for() -> None:
    def chart(row: str, column: str) -> Heat:
        value = HeatValue(1.0, "1", "")
        return Heat("n", "t", "d", ("a", column), (HeatRow(row, "", (value, value)),), False)

    short, long = chart("dm", "b"), chart("x" * 200, "y" * 200)
    assert short.left < 40 < 140 < long.left <= 150
    assert short.above < 40 < 90 < long.above
    assert long.heads[1] == "y" * 17 + "…"
    for each in (short, long):
        width, height = each.size
        left, top = each.corner(0, 1)
        assert left + 52 < width
        assert top + 24 < height
