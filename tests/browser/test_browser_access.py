"""Every page for everybody: axe finds nothing in either theme, and 360 px are wide enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

# axe would read the style sheets by XMLHttpRequest, which the pages forbid.
WITHOUT_PRELOAD = {"preload": False}
PAGES = ["index.html", "runs/3f9c0a12be.html"]


def violations(page: Page) -> list[str]:
    """What axe finds, with the elements concerned."""
    found = Axe().run(page, options=WITHOUT_PRELOAD).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit: Callable, pages: Path, path: str, theme: str):
    page = visit(pages, color_scheme=theme).open(path)
    if path != "index.html":
        expect(page.locator("canvas")).to_be_visible()
    assert violations(page) == []
    for menu in page.locator("summary").all()[:2]:
        menu.click()
        assert violations(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_narrow_screen_does_not_scroll_sideways(visit: Callable, pages: Path, path: str):
    page = visit(pages, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).open(path)
    if path != "index.html":
        expect(page.locator("canvas")).to_be_visible()
    width = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    assert page.evaluate(width) == 360
    for menu in page.locator("summary").all():
        menu.click()
        assert page.evaluate(width) == 360
    assert violations(page) == []
