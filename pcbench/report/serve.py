"""The site on this machine alone, built again when records, templates or static files change."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pcbench.common.packaged import builtin
from pcbench.errors import PcbenchError, UsageError

HOST = "127.0.0.1"
NAMES = frozenset({"127.0.0.1", "localhost"})
PREFIX = "/_live/"
LIVE = builtin("leaderboard/templates") / "live.js"
TAG = b'<script defer src="/_live/live.js"></script>\n</body>'


class Server(ThreadingHTTPServer):
    """Serves a folder on the loopback interface; version counts the builds that it has seen."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, root: Path, port: int) -> None:
        self.version = 1
        try:
            super().__init__((HOST, port), partial(_Handler, directory=str(root)))
        except OSError as error:
            raise UsageError(
                f"port {port} of {HOST} cannot be used ({error.strerror}): choose another", "port"
            ) from error

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/index.html"

    def watch(self, paths: Iterable[Path], rebuild: Callable[[], None], tell: Callable[[str], None]) -> None:
        """Build again whenever a file below the paths is another one; an error is told, and waited out."""
        watched = tuple(paths)
        work = (watched, state(watched), rebuild, tell)
        threading.Thread(target=self._watch, args=work, daemon=True).start()

    def _watch(
        self,
        paths: tuple[Path, ...],
        before: frozenset[tuple[str, int, int]],
        rebuild: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        while True:
            time.sleep(0.5)
            now = state(paths)
            if now == before:
                continue
            before = now
            try:
                rebuild()
            except PcbenchError as error:
                tell(f"error: {error}")
            else:
                self.version += 1
                tell("built again")


def state(paths: Iterable[Path]) -> frozenset[tuple[str, int, int]]:
    """Name, time and size of every file below the paths."""
    found = set()
    for path in paths:
        for file in path.rglob("*"):
            try:
                about = file.stat()
            except OSError:  # gone since it was listed
                continue
            found.add((str(file), about.st_mtime_ns, about.st_size))
    return frozenset(found)


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, to programs of this machine that ask for it by its own name; pages reload."""

    server: Server

    def send_head(self) -> Any:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        path = self.path.partition("?")[0]
        if path.startswith(PREFIX):
            version = f"pcbenchLive({self.server.version});\n".encode()
            script = version if path == f"{PREFIX}version.js" else LIVE.read_bytes()
            return self._sent(script, "text/javascript; charset=utf-8")
        target = Path(self.translate_path(path))
        if target.is_dir() and not path.endswith("/"):
            return super().send_head()
        page = target / "index.html" if target.is_dir() else target
        if page.suffix == ".html" and page.is_file():
            text = page.read_bytes().replace(b"</body>", TAG, 1)
            return self._sent(text, "text/html; charset=utf-8")
        return super().send_head()

    def _sent(self, content: bytes, kind: str) -> Any:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        return io.BytesIO(content)

    def list_directory(self, path: Any) -> None:  # noqa: ARG002
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of requests."""
