"""The viewer of clouds: what it draws, how it turns, and what stays when it cannot."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browser_clouds import clouds_file
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

KEY = "3f9c0a12be"
RUN = f"runs/{KEY}.html"


def picture(page: Page) -> NDArray[np.int16]:
    """The canvas as it stands on the screen, (height, width, 3)."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shot = page.locator("canvas").screenshot(animations="disabled")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(np.int16)


def inked(image: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Where an image is not its ground, away from the edge of the focus ring."""
    inside = image[8:-8, 8:-8]
    return np.abs(inside - inside[0, 0]).max(-1) > 12


def extent(mask: NDArray[np.bool_]) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    return int(np.ptp(columns)), int(np.ptp(rows))


@pytest.fixture
def page(visit: Callable, pages: Path) -> Page:
    page = visit(pages).open(RUN)
    expect(page.locator("canvas")).to_be_visible()
    return page


def status(page: Page) -> str:
    return page.locator(".viewer [role=status]").inner_text()


def test_three_clouds_are_drawn_side_by_side_and_named(page):
    mask = inked(picture(page))
    parts = np.array_split(mask, 3, axis=1)
    assert all(part.mean() > 0.02 for part in parts)
    wide, tall, flat = (extent(part) for part in parts)
    assert tall[1] > tall[0]
    assert flat[0] > flat[1]
    assert abs(wide[0] - wide[1]) < 0.5 * wide[0]
    assert page.locator(".names li").all_inner_texts() == ["initial", "distilled", "nearest real cloud"]
    assert status(page).startswith("chair, cloud 1 of 2: initial, distilled, nearest real cloud. 256 points")
    expect(page.locator(".viewer img")).to_be_hidden()


def test_height_is_colour(page):
    image = picture(page)
    column = np.array_split(image[8:-8, 8:-8], 3, axis=1)[1]
    mask = np.abs(column - column[0, 0]).max(-1) > 12
    rows = np.nonzero(mask.any(1))[0]
    top, bottom = column[rows[8]][mask[rows[8]]].mean(0), column[rows[-8]][mask[rows[-8]]].mean(0)
    assert top[1] > bottom[1] + 40
    assert top[1] > top[2]
    assert bottom[2] > bottom[1]


@pytest.mark.parametrize("key", ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "+", "-"])
def test_the_keyboard_turns_and_zooms_and_0_brings_the_view_back(page, key):
    page.locator("canvas").focus()
    before = picture(page)
    for _ in range(4):
        page.keyboard.press(key)
    moved = picture(page)
    assert (inked(before) != inked(moved)).mean() > 0.01
    if key in "+-":
        assert (inked(moved).sum() > inked(before).sum()) == (key == "+")
    page.keyboard.press("0")
    assert np.array_equal(picture(page), before)


def test_tab_leaves_the_canvas(page):
    page.locator("canvas").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Turn left")).to_be_focused()


def test_the_mouse_turns_and_buttons_do_what_dragging_does(page):
    before = picture(page)
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 130, steps=4)
    page.mouse.up()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    dragged = picture(page)
    assert not np.array_equal(dragged, before)
    page.get_by_role("button", name="Reset the view").click()
    assert np.array_equal(picture(page), before)
    for name in ("Turn left", "Turn right", "Tilt up", "Tilt down", "Nearer", "Farther"):
        page.get_by_role("button", name=name).click()
        assert not np.array_equal(picture(page), before)
        page.get_by_role("button", name="Reset the view").click()


def test_a_finger_turns(visit, pages):
    page = visit(pages, has_touch=True, viewport={"width": 360, "height": 740}).open(RUN)
    expect(page.locator("canvas")).to_be_visible()
    before = picture(page)
    box = page.locator("canvas").bounding_box()
    session = page.context.new_cdp_session(page)

    def finger(kind: str, *places: tuple[float, float]) -> None:
        points = [
            {"x": box["x"] + x, "y": box["y"] + y, "id": number} for number, (x, y) in enumerate(places)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", (100, 60))
    for x in range(110, 190, 10):
        finger("touchMove", (x, 60))
    finger("touchEnd")
    turned = picture(page)
    assert not np.array_equal(turned, before)
    page.get_by_role("button", name="Reset the view").click()
    finger("touchStart", (140, 60), (180, 60))
    for spread in range(0, 60, 10):
        finger("touchMove", (140 - spread, 60), (180 + spread, 60))
    finger("touchEnd")
    assert inked(picture(page)).sum() > inked(before).sum()


def test_all_classes_and_all_clouds_make_a_gallery(page):
    page.get_by_role("combobox", name="Class").select_option("all classes")
    names = page.locator(".names li")
    sets = ["initial", "distilled", "nearest real cloud"]
    assert names.all_inner_texts() == [f"{label}, {words}" for label in ("chair", "table") for words in sets]
    assert status(page).startswith("all classes, cloud 1 of 2: initial, distilled")
    parts = np.array_split(inked(picture(page)), 6, axis=1)
    assert all(part.mean() > 0.02 for part in parts)
    page.get_by_role("combobox", name="Cloud").select_option("all 2")
    page.get_by_role("button", name="Show over time").click()
    assert names.all_inner_texts() == [f"{label}, cloud {n}" for label in ("chair", "table") for n in (1, 2)]
    assert status(page).startswith(
        "all classes, all 2 clouds: iteration 60. 256 points each, coloured by how far"
    )


def test_class_cloud_and_set_are_chosen_and_said(page):
    first = picture(page)
    page.get_by_role("combobox", name="Class").select_option("table")
    page.get_by_role("combobox", name="Cloud").select_option("2 of 2")
    assert status(page).startswith("table, cloud 2 of 2: ")
    assert not np.array_equal(picture(page), first)
    button = page.get_by_role("button", name="Show distilled")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Show side by side")).to_have_attribute("aria-pressed", "false")
    assert page.locator(".names li").all_inner_texts() == ["distilled"]
    assert status(page).startswith("table, cloud 2 of 2: distilled.")
    assert "table, cloud 2 of 2: distilled" in page.locator("canvas").get_attribute("aria-label")
    columns = np.nonzero(inked(picture(page)).any(0))[0]
    assert abs(columns.mean() - page.locator("canvas").bounding_box()["width"] / 2) < 30


def test_the_slider_goes_from_the_beginning_to_the_end(page):
    page.get_by_role("button", name="Show over time").click()
    slider = page.get_by_role("slider", name="Distillation")
    assert page.locator(".names li").all_inner_texts() == ["iteration 60", "nearest real cloud"]
    assert "coloured by how far each has moved" in status(page)
    last = picture(page)
    slider.fill("0")
    assert page.locator(".names li").all_inner_texts() == ["iteration 0", "nearest real cloud"]
    began = picture(page)
    slider.fill("0.5")
    between = picture(page)
    assert status(page).startswith("chair, cloud 1 of 2: iteration 30, nearest real cloud.")
    for one, other in ((last, began), (began, between), (between, last)):
        assert not np.array_equal(one, other)
    half = inked(began).shape[1] // 2
    assert np.array_equal(began[:, half + 20 :], last[:, half + 20 :])
    slider.focus()
    page.keyboard.press("End")
    assert np.array_equal(picture(page), last) or slider.evaluate("e => e === document.activeElement")


def test_many_sets_stand_in_rows_each_with_its_name(visit, pages):
    one = json.loads(clouds_file(KEY).split(", ", 1)[1].strip().removesuffix(")"))["sets"][1]
    sets = [{**one, "words": f"method {number}", "iteration": None} for number in range(7)]
    (pages / "clouds" / f"{KEY}.js").write_text(clouds_file(KEY, sets=sets))
    page = visit(pages, viewport={"width": 500, "height": 900}).open(RUN)
    expect(page.locator("canvas")).to_be_visible()
    mask = inked(picture(page))
    tops = {round(box["y"]) for li in page.locator(".names li").all() if (box := li.bounding_box())}
    assert len(tops) == 3
    assert page.locator(".names li").count() == 7
    for part in np.array_split(mask, 3)[:2]:
        assert part.mean() > 0.02
    assert page.get_by_role("button", name="Show").count() == 0


def test_nothing_moves_by_itself_where_the_reader_asked_for_less_motion(page):
    assert page.get_by_role("button", name="Turn slowly").count() == 0
    assert np.array_equal(picture(page), picture(page))


def test_turning_starts_and_stops_by_its_button(visit, pages):
    page = visit(pages, reduced_motion="no-preference").open(RUN)
    button = page.get_by_role("button", name="Turn slowly")
    still = picture(page)
    assert np.array_equal(still, picture(page))
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert not np.array_equal(picture(page), still)
    button.click()
    page.mouse.move(0, 0)
    assert np.array_equal(picture(page), picture(page))


def test_a_fine_screen_gets_fine_pixels(visit, pages):
    page = visit(pages, device_scale_factor=2).open(RUN)
    expect(page.locator("canvas")).to_be_visible()
    picture(page)
    assert page.locator("canvas").evaluate("c => [c.width / c.clientWidth, c.height / c.clientHeight]") == [
        2,
        2,
    ]


def test_the_ground_follows_the_theme(page):
    light = picture(page)[20, 20].sum()
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert picture(page)[20, 20].sum() < light - 300


NO_WEBGL = "HTMLCanvasElement.prototype.getContext = () => null;"


def test_the_picture_stays_where_there_is_no_webgl(visit, pages):
    seen = visit(pages)
    seen.context.add_init_script(NO_WEBGL)
    page = seen.open(RUN)
    expect(page.locator(".viewer [role=status]")).to_contain_text("no WebGL")
    expect(page.get_by_alt_text("Clouds of every class")).to_be_visible()
    assert page.locator("canvas").count() == 0


def test_the_picture_stays_where_there_is_no_javascript(visit, pages):
    page = visit(pages, java_script_enabled=False).open(RUN)
    expect(page.get_by_alt_text("Clouds of every class")).to_be_visible()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ppc": 3}, "wrong length"),
        ({"sets": [{"words": "x", "points": 0, "values": ""}]}, "counts out of range"),
        ({"sets": [{"words": "x", "points": 1e9, "values": ""}]}, "too many points"),
        ({"sets": [{"words": "x", "points": 200000, "values": ""}]}, "counts out of range"),
        ({"sets": [{"words": 7, "points": 8, "values": ""}]}, "clouds without a name"),
        ({"sets": [{"words": "x", "points": 8, "values": "", "iteration": "1"}]}, "clouds without a name"),
        ({"ppc": "2"}, "counts out of range"),
        ({"classes": ["chair", 7]}, "no list of classes"),
        ({"classes": ["c"] * 999, "ppc": 999}, "too many points"),
        ({"scale": 0}, "no scale"),
        ({"scale": None}, "no scale"),
        ({"up": "xy"}, "no such axis"),
        ({"sets": {}}, "no clouds"),
        ({"sets": [{"words": "x", "points": 256, "values": "!" * 8192}]}, "cannot be shown"),
        ({"sets": None}, "no clouds"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_by_name(visit, pages, changes, reason):
    (pages / "clouds" / f"{KEY}.js").write_text(clouds_file(KEY, **changes))
    page = visit(pages).open(RUN)
    expect(page.locator(".viewer [role=status]")).to_contain_text(reason)
    expect(page.get_by_alt_text("Clouds of every class")).to_be_visible()
    assert page.locator("canvas").count() == 0


def test_the_viewer_works_over_http_too(visit, pages):
    page = visit(pages, "http").open(RUN)
    expect(page.locator("canvas")).to_be_visible()
    assert inked(picture(page)).mean() > 0.02


def test_names_of_classes_are_text(visit, pages):
    name = "<img src=x onerror=alert(1)>"
    (pages / "clouds" / f"{KEY}.js").write_text(clouds_file(KEY, classes=[name, "table"]))
    page = visit(pages).open(RUN)
    expect(page.locator(".viewer [role=status]")).to_contain_text(name)
    assert page.locator("img").count() == 1


def test_one_set_alone_is_shown_without_choices(visit, pages):
    sets = json.loads(clouds_file(KEY).split(", ", 1)[1].strip().removesuffix(")"))["sets"]
    (pages / "clouds" / f"{KEY}.js").write_text(clouds_file(KEY, sets=[sets[1]], up="z"))
    page = visit(pages).open(RUN)
    expect(page.locator("canvas")).to_be_visible()
    assert page.get_by_role("button", name="Show").count() == 0
    mask = inked(picture(page))
    assert mask.mean() > 0.01
    assert extent(mask)[0] > extent(mask)[1]


def test_a_missing_file_is_said(visit, pages):
    (pages / "clouds" / f"{KEY}.js").unlink()
    seen = visit(pages)
    page = seen.open(RUN)
    expect(page.locator(".viewer [role=status]")).to_contain_text("missing")
    expect(page.get_by_alt_text("Clouds of every class")).to_be_visible()
    assert seen.wrong
    assert all(f"clouds/{KEY}.js" in words or "Failed to load resource" in words for words in seen.wrong)
    seen.wrong.clear()
