"""A real Chromium, opened on pages from a folder or over loopback; it notes whatever a page does wrong."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser_clouds import clouds_file
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from pcbench.common.packaged import builtin

PAGES = Path(__file__).parent / "pages"
# WebGL is drawn by SwiftShader, on the CPU; the rest keeps Chromium from looking for its maker's hosts.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Visit:
    """Pages of one site in one browser window, with everything that a page must not do."""

    context: BrowserContext
    address: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        page.on("pageerror", lambda error: self._note(True, f"exception: {error}"))
        page.on("dialog", lambda dialog: (self._note(True, f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("requestfailed", lambda request: self._note(True, f"failed: {request.url}"))
        page.goto(self.address + path)
        return page

    def watch(self) -> None:
        inside = (self.address, "data:", "blob:")
        self.context.on(
            "request", lambda request: self._note(not request.url.startswith(inside), request.url)
        )

    def _note(self, wrong: bool, words: str) -> None:
        if wrong:
            self.wrong.append(words)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder on loopback; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def visit(chromium: Browser, serve: Callable[[Path], str]) -> Iterator[Callable[..., Visit]]:
    """Open a site in a window of its own; afterwards nothing wrong may have happened in it.

    over: "file", as from a folder on the disk, or "http", as from a server.
    """
    visits: list[Visit] = []

    def start(folder: Path, over: str = "file", **options: Any) -> Visit:
        window = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
        address = serve(folder) if over == "http" else folder.resolve().as_uri() + "/"
        visits.append(Visit(chromium.new_context(**(window | options)), address))
        visits[-1].watch()
        return visits[-1]

    yield start
    for each in visits:
        each.context.close()
    assert [each.wrong for each in visits] == [[] for _ in visits]


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Two pages as the contract between site and browser asks for, with hard cases in their tables."""
    folder = tmp_path / "pages"
    for inner in ("static", "runs", "clouds", "pictures"):
        (folder / inner).mkdir(parents=True)
    shutil.copytree(builtin("leaderboard/static"), folder / "static", dirs_exist_ok=True)
    shutil.copy(PAGES / "index.html", folder / "index.html")
    shutil.copy(PAGES / "run.html", folder / "runs" / "3f9c0a12be.html")
    (folder / "clouds" / "3f9c0a12be.js").write_text(clouds_file("3f9c0a12be"))
    Image.new("RGB", (300, 200), (200, 210, 220)).save(folder / "pictures" / "3f9c0a12be.png")
    return folder
