"""`pcbench data fetch` against a server on this machine that may be slow, broken or dishonest."""

import hashlib
import http.server
import io
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from built_in import CATALOGUE

from pcbench.datasets import fetch as fetching
from pcbench.datasets import store
from pcbench.datasets.modelnet import CLASSES

TOP = "modelnet40_ply_hdf5_2048"
NAME = f"{TOP}.zip"


def make_archive(extra=(), top=f"{TOP}/"):
    """A copy of forty training and forty test clouds in the owners' layout, as the bytes of a zip archive."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(f"{top}shape_names.txt", "\n".join(CLASSES) + "\n")
        for split in ("train", "test"):
            member = io.BytesIO()
            with h5py.File(member, "w") as copy:
                copy["data"] = rng.uniform(-1, 1, (40, 1024, 3)).astype(np.float32)
                copy["label"] = np.arange(40, dtype=np.uint8)[:, None]
            file.writestr(f"{top}ply_data_{split}0.h5", member.getvalue())
            file.writestr(f"{top}{split}_files.txt", f"data/{TOP}/ply_data_{split}0.h5\n")
        for entry, data in extra:
            file.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


GOOD = make_archive()


@dataclass
class Site:
    """What the server does at a path. breaks: after how many bytes each answer in turn stops."""

    body: bytes = GOOD
    status: int = 200
    headers: dict = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"one"'
    breaks: list = field(default_factory=list)
    claim: int = 0
    pause: float = 0.0
    asked: list = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        site = self.server.sites.get(self.path, Site(status=404, body=b"nothing here"))
        site.asked.append(dict(self.headers))
        body, status, first = site.body, site.status, 0
        asked = self.headers.get("Range")
        if asked and site.ranges and self.headers.get("If-Range") == site.etag:
            first, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) - first + site.claim))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        if site.etag:
            self.send_header("ETag", site.etag)
        for name, value in site.headers.items():
            self.send_header(name, value)
        self.end_headers()
        stop = site.breaks.pop(0) if site.breaks else None
        sent = body[first:] if stop is None else body[first : first + stop]
        for start in range(0, len(sent), 1 << 16):
            self.wfile.write(sent[start : start + (1 << 16)])
            time.sleep(site.pause)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that leaves early is no error."""


@pytest.fixture
def server():
    """A server whose `sites` map paths to what happens there; `url(path)` gives their addresses."""
    with Server(("127.0.0.1", 0), Handler) as running:
        running.sites = {}
        running.url = lambda path: f"http://127.0.0.1:{running.server_address[1]}{path}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PCBENCH_MIRRORS", raising=False)
    release(monkeypatch, (40, 40))
    monkeypatch.setattr(fetching, "_WAIT", 0.0)
    describe(monkeypatch, GOOD)


def release(monkeypatch, counts):
    """Let the plugins, which are modules of their own, take so many clouds for a complete copy."""
    for name in ("modelnet40", "modelnet10"):
        own = CATALOGUE.datasets.load(name).find.__globals__["ModelNet40"]
        monkeypatch.setattr(own, "releases", (counts,))


REAL = CATALOGUE.datasets.load("modelnet40").archive


def describe(monkeypatch, body, **changes):
    """Let the table hold the archive `body` in place of the real one."""
    checksum = f"md5:{hashlib.md5(body).hexdigest()}"
    for name in ("modelnet40", "modelnet10"):
        loaded = CATALOGUE.datasets.load(name)
        archive = replace(REAL, **{"checksum": checksum, **changes})
        monkeypatch.setattr(loaded, "archive", archive)


@pytest.fixture
def fetch(pcbench, server):
    """Run the command with mirrors of the server, given by their paths."""

    def call(*paths, name="modelnet40", options=()):
        chosen = [word for path in paths for word in ("--mirror", server.url(path))]
        return pcbench("data", "fetch", name, *chosen, *options)

    return call


def downloads():
    """What is left of a fetch, locks aside."""
    folder = store.data_root() / ".downloads"
    return sorted(path.name for path in folder.glob("*") if path.suffix != ".lock")


def refused(done, *words):
    assert done.code == 3
    for word in words:
        assert word in done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert not store.stored("modelnet40")


def complete(done):
    assert done.code == 0, done.err
    assert done.out.startswith("imported modelnet40: 40 training and 40 test clouds of 1024 points")
    assert store.stored("modelnet40")
    assert downloads() == []


class TestDownload:
    def test_fetches_imports_and_cleans_up(self, fetch, server):
        server.sites["/m.zip"] = Site()
        done = fetch("/m.zip")
        complete(done)
        assert "MB" in done.err
        assert fetch("/m.zip").out.startswith("modelnet40 is already in ")
        assert len(server.sites["/m.zip"].asked) == 1

    def test_of_the_ten_classes_imports_the_forty(self, fetch, server):
        server.sites["/m.zip"] = Site()
        complete(fetch("/m.zip", name="modelnet10"))

    def test_an_archive_without_its_folder(self, fetch, server, monkeypatch):
        body = make_archive(top="")
        describe(monkeypatch, body)
        server.sites["/m.zip"] = Site(body)
        complete(fetch("/m.zip"))

    def test_keeps_the_archive_if_asked_to_and_uses_it_again(self, fetch, server):
        server.sites["/m.zip"] = Site()
        done = fetch("/m.zip", options=["--keep"])
        assert done.code == 0
        assert f"kept {store.data_root() / '.downloads' / NAME}" in done.err
        assert downloads() == [NAME]
        (store.data_root() / "modelnet40" / "manifest.json").unlink()
        complete(fetch("/m.zip"))
        assert len(server.sites["/m.zip"].asked) == 1

    def test_a_kept_archive_that_was_changed_is_fetched_again(self, fetch, server):
        server.sites["/m.zip"] = Site()
        folder = store.data_root() / ".downloads"
        folder.mkdir(parents=True)
        (folder / NAME).write_bytes(GOOD[:-1] + b"x")
        complete(fetch("/m.zip"))

    def test_a_slow_server(self, fetch, server):
        server.sites["/m.zip"] = Site(pause=0.02)
        complete(fetch("/m.zip"))

    def test_a_silent_server_is_left_for_the_next(self, fetch, server, monkeypatch):
        monkeypatch.setattr(fetching, "_TIMEOUT", (0.1, 0.1))
        monkeypatch.setattr(fetching, "_TRIES", 2)
        server.sites |= {"/silent.zip": Site(pause=1.0), "/m.zip": Site()}
        done = fetch("/silent.zip", "/m.zip")
        complete(done)
        assert "127.0.0.1: it broke off after" in done.err

    def test_no_server_at_all(self, pcbench):
        refused(
            pcbench("data", "fetch", "modelnet40", "--mirror", "http://127.0.0.1:9/m.zip"),
            "it cannot be reached",
            "pcbench data import",
            "browser",
        )

    def test_without_a_public_checksum_it_says_so(self, fetch, server, monkeypatch):
        describe(monkeypatch, GOOD, checksum=None)
        server.sites["/m.zip"] = Site()
        done = fetch("/m.zip")
        complete(done)
        assert (
            f"no checksum of {NAME} is public; this one has sha256 {hashlib.sha256(GOOD).hexdigest()}"
            in done.err
        )


PLUGIN = '''"""A data set of my own."""

from pcbench.api import Archive, Dataset
from pcbench.datasets.modelnet import ModelNet40


class Mine(ModelNet40, Dataset):
    """Forty classes that I publish myself."""

    name = "mine40"
    releases = ((40, 40),)
    archive = Archive("mine.zip", ("URL",), "md5:SUM", "modelnet40_ply_hdf5_2048")
'''


def test_a_data_set_of_ones_own_is_fetched_from_where_it_says(pcbench, server, tmp_path):
    server.sites["/mine.zip"] = Site()
    folder = tmp_path / "mine"
    folder.mkdir()
    text = PLUGIN.replace("URL", server.url("/mine.zip")).replace("SUM", hashlib.md5(GOOD).hexdigest())
    (folder / "mine.py").write_text(text)
    done = pcbench("data", "fetch", "mine40", "--plugins", folder)
    assert done.code == 0, done.err
    assert done.out.startswith("imported mine40: 40 training and 40 test clouds of 1024 points")
    assert len(server.sites["/mine.zip"].asked) == 1
    assert downloads() == []


class TestResume:
    def test_goes_on_where_it_broke_off(self, fetch, server):
        site = server.sites["/m.zip"] = Site(breaks=[300_000, 200_000])
        complete(fetch("/m.zip"))
        first, second, third = site.asked
        assert "Range" not in first
        assert second["If-Range"] == '"one"'
        starts = [int(each["Range"].removeprefix("bytes=").removesuffix("-")) for each in (second, third)]
        assert 250_000 < starts[0] <= 300_000
        assert starts[0] + 150_000 < starts[1] <= 500_000

    def test_goes_on_in_another_run(self, fetch, server, monkeypatch):
        monkeypatch.setattr(fetching, "_TRIES", 1)
        site = server.sites["/m.zip"] = Site(breaks=[300_000])
        refused(fetch("/m.zip"), "it broke off after")
        assert downloads() == [f"{NAME}.part", f"{NAME}.part.json"]
        complete(fetch("/m.zip"))
        assert "Range" in site.asked[1]

    def test_begins_again_if_the_file_has_changed(self, fetch, server, monkeypatch):
        monkeypatch.setattr(fetching, "_TRIES", 1)
        server.sites["/m.zip"] = Site(b"PK" + bytes(len(GOOD)), breaks=[300_000])
        refused(fetch("/m.zip"))
        server.sites["/m.zip"] = Site(etag='"two"')
        complete(fetch("/m.zip"))

    def test_begins_again_at_a_server_without_ranges(self, fetch, server):
        site = server.sites["/m.zip"] = Site(ranges=False, breaks=[300_000])
        complete(fetch("/m.zip"))
        assert len(site.asked) == 2

    @pytest.mark.parametrize("etag", [None, 'W/"weak"'])
    def test_begins_again_if_the_file_cannot_be_known_again(self, fetch, server, etag):
        site = server.sites["/m.zip"] = Site(etag=etag, breaks=[300_000])
        complete(fetch("/m.zip"))
        assert "Range" not in site.asked[1]

    def test_begins_again_if_the_part_was_damaged(self, fetch, server, monkeypatch):
        monkeypatch.setattr(fetching, "_TRIES", 2)
        server.sites["/m.zip"] = Site(breaks=[300_000, 0])
        refused(fetch("/m.zip"))
        part = store.data_root() / ".downloads" / f"{NAME}.part"
        part.write_bytes(bytes(part.stat().st_size))
        complete(fetch("/m.zip"))

    @pytest.mark.parametrize("text", ["", "{}", '{"url": 3}', '{"url": "x", "validator": "y", "total": 9}'])
    def test_begins_again_if_nothing_is_known_of_the_part(self, fetch, server, text):
        folder = store.data_root() / ".downloads"
        folder.mkdir(parents=True)
        (folder / f"{NAME}.part").write_bytes(bytes(1000))
        (folder / f"{NAME}.part.json").write_text(text)
        site = server.sites["/m.zip"] = Site()
        complete(fetch("/m.zip"))
        assert "Range" not in site.asked[0]

    def test_goes_on_after_a_kill(self, fetch, server):
        site = server.sites["/m.zip"] = Site(pause=0.2)
        code = (
            "from pcbench.datasets import fetch as f; from pcbench.datasets.modelnet import ModelNet40;"
            f"f.fetch(ModelNet40(), ModelNet40.archive, [{server.url('/m.zip')!r}], False, lambda *_: None, "
            "print)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ.copy(), cwd=Path(__file__).parents[2]
        )
        part = store.data_root() / ".downloads" / f"{NAME}.part"
        end = time.monotonic() + 300  # a torch with CUDA takes half a minute to import the first time
        while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < end:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert {f"{NAME}.part", f"{NAME}.part.json"} <= set(downloads())
        assert NAME not in downloads()
        (part.parent / f"{NAME}.unpacked").mkdir()
        (part.parent / f".{NAME}.unpacked.abc").mkdir()
        site.pause = 0
        complete(fetch("/m.zip"))
        assert "Range" in site.asked[1]
        assert not list(part.parent.glob(".*.unpacked*"))


class TestDishonestServers:
    @pytest.mark.parametrize(
        ("site", "words"),
        [
            (Site(claim=50_000, ranges=False), "it broke off after"),
            (Site(claim=-50_000), "does not have the checksum"),
            (Site(body=GOOD[:-1] + b"x"), "does not have the checksum"),
            (Site(body=b"\n <!DOCTYPE html><title>Sign in</title>"), "a web page instead of a zip archive"),
            (Site(body=b"\x1f\x8b something"), "something else instead of a zip archive"),
            (Site(body=b""), "checksum"),
            (Site(status=404), "HTTP 404"),
            (Site(status=403), "HTTP 403"),
            (Site(status=503), "HTTP 503"),
            (Site(status=206), "another part than was asked for"),
            (Site(status=302, headers={"Location": "file:///etc/passwd"}), "no web address"),
            (Site(status=302, headers={"Location": "ftp://127.0.0.1/m.zip"}), "no web address"),
            (Site(status=302, headers={"Location": "/bad.zip"}), "redirects more than 5 times"),
            (Site(status=302), "HTTP 302"),
        ],
    )
    def test_are_left_for_the_next(self, fetch, server, site, words):
        server.sites |= {"/bad.zip": site, "/m.zip": Site()}
        done = fetch("/bad.zip", "/m.zip")
        complete(done)
        assert words in done.err

    def test_alone_they_are_refused(self, fetch, server):
        server.sites["/bad.zip"] = Site(body=GOOD[:-1] + b"x")
        done = fetch("/bad.zip", "/none.zip")
        refused(
            done,
            "2 mirrors",
            "does not have the checksum",
            "HTTP 404",
            "name a mirror",
            "(--mirror)",
            "browser",
        )
        assert downloads() == []

    def test_a_redirection_is_followed(self, fetch, server):
        server.sites |= {"/old.zip": Site(status=301, headers={"Location": "/m.zip"}), "/m.zip": Site()}
        complete(fetch("/old.zip"))

    def test_a_redirection_away_from_encryption_is_not(self):
        class Answer:
            status_code, headers = 302, {"Location": "http://example.org/m.zip"}

            def close(self):
                pass

        class Session:
            def get(self, *_, **__):
                return Answer()

        with pytest.raises(fetching._Refused, match="without encryption"):
            fetching._get(Session(), "https://example.org/m.zip", {})

    @pytest.mark.parametrize("claim", [0, None])
    def test_more_than_is_allowed(self, fetch, server, monkeypatch, claim):
        describe(monkeypatch, GOOD, max_bytes=200_000)
        if claim is None:
            monkeypatch.setattr(fetching, "_length", lambda response: None)
        server.sites["/m.zip"] = Site()
        refused(fetch("/m.zip"), "more than the 200000")
        assert downloads() == []

    def test_an_invalid_certificate(self, pcbench, server, tmp_path):
        (tmp_path / "both.pem").write_text(CERTIFICATE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "both.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.sites["/m.zip"] = Site()
        url = server.url("/m.zip").replace("http:", "https:")
        refused(
            pcbench("data", "fetch", "modelnet40", "--mirror", url), "its certificate is not valid", "browser"
        )
        assert server.sites["/m.zip"].asked == []


class TestHostileArchives:
    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            ([("../evil.txt", b"x")], "leaves its folder"),
            ([("/evil.txt", b"x")], "absolute"),
        ],
    )
    def test_are_refused(self, fetch, server, monkeypatch, extra, words, known):
        body = make_archive(extra)
        describe(monkeypatch, body, **({} if known else {"checksum": None}))
        server.sites["/m.zip"] = Site(body)
        refused(fetch("/m.zip"), words)
        assert downloads() == ([NAME] if known else [])
        assert not list(store.data_root().parent.rglob("evil*"))

    def test_a_link(self, fetch, server, monkeypatch):
        link = zipfile.ZipInfo(f"{TOP}/more.h5")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        body = make_archive([(link, b"/etc/passwd")])
        describe(monkeypatch, body)
        server.sites["/m.zip"] = Site(body)
        refused(fetch("/m.zip"), "a link, a device")

    def test_the_data_set_says_how_much_it_unpacks_to(self, fetch, server, monkeypatch):
        describe(monkeypatch, GOOD, max_unpacked=1000)
        server.sites["/m.zip"] = Site()
        refused(fetch("/m.zip"), "bytes, more than 1000")

    def test_an_incomplete_copy_is_not_imported(self, fetch, server, monkeypatch):
        release(monkeypatch, (41, 40))
        server.sites["/m.zip"] = Site()
        refused(fetch("/m.zip"), "incomplete")
        assert downloads() == [NAME]


class TestChoice:
    @pytest.mark.parametrize("name", ["shapenet55", "scanobjectnn", "scanobjectnn:obj_bg"])
    def test_terms_come_first(self, fetch, server, name):
        site = server.sites["/m.zip"] = Site()
        refused(
            fetch("/m.zip", name=name),
            "accept its owners' terms at https://",
            f"pcbench data import {name} PATH",
        )
        assert site.asked == []

    @pytest.mark.parametrize(
        ("name", "words"),
        [("shapes10", "shapes10 is not fetched"), ("modelnet44", "Did you mean modelnet40")],
    )
    def test_names_that_cannot_be_fetched(self, pcbench, name, words):
        done = pcbench("data", "fetch", name)
        assert done.code == 2
        assert words in done.err

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "m.zip", "http://", "http://[/"])
    def test_a_mirror_is_on_the_web(self, pcbench, url):
        done = pcbench("data", "fetch", "modelnet40", "--mirror", url)
        assert done.code == 2
        assert "no http:// or https:// URL" in done.err

    def test_the_owners_come_last(self, monkeypatch):
        archive = REAL
        assert fetching.mirrors(archive, ()) == archive.urls
        monkeypatch.setenv("PCBENCH_MIRRORS", "http://a/x.zip, https://b/data/")
        assert fetching.mirrors(archive, ()) == ("http://a/x.zip", f"https://b/data/{NAME}")
        assert fetching.mirrors(archive, ["http://c/"]) == (f"http://c/{NAME}",)

    def test_the_table_holds_what_the_card_says(self):
        archive = REAL
        assert archive.checksum == "md5:c9ab8e6dfb16f67afdab25e155c79e59"
        assert archive.urls[0] == f"https://shapenet.cs.stanford.edu/media/{NAME}"

    def test_two_at_once(self, fetch, server):
        import filelock

        server.sites["/m.zip"] = Site()
        folder = store.data_root() / ".downloads"
        folder.mkdir(parents=True)
        with filelock.FileLock(folder / "fetch.lock"):
            refused(fetch("/m.zip"), "another process is fetching")

    def test_a_folder_that_cannot_be_made(self, fetch, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "file"))
        refused(fetch("/m.zip"), "file")


# For the tests alone: self-signed, and expired.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBajCCARCgAwIBAgIUS9b1sB/zKULEV4COp+QxOf30dSIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMB4XDTI2MTEyNDE1MzkwMVoXDTI2MTEyMzE1
MzkwMVowFDESMBAGA1UEAwwJMTI3LjAuMC4xMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEJ/g8Hdu2ZXz6/c6Ggjtr3MfJN9/vTYl4kXSrpOd83Tz3XBOjqQb3JGTN
7HlTAo8YwL00Emqzm7o0quFNaX8196NAMD4wDwYDVR0RBAgwBocEfwAAATAMBgNV
HRMEBTADAQH/MB0GA1UdDgQWBBRRD1Cp+cUH7PNtY1dybdeh0TYX5jAKBggqhkjO
PQQDAgNIADBFAiA5ai/iIR2DHX/bstHCIifncCco2ldFL2BxlSGctL7DlwIhAJJZ
Fg9IvHGYOqwa9r8dJn3j4En9ANxxVtOc9Hpwd3W5
-----END CERTIFICATE-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIKxErI1usVw1suUH+B2f5UjuLQ2lQj5q5S5aVvGXZrMBoAoGCCqGSM49
AwEHoUQDQgAEJ/g8Hdu2ZXz6/c6Ggjtr3MfJN9/vTYl4kXSrpOd83Tz3XBOjqQb3
JGTN7HlTAo8YwL00Emqzm7o0quFNaX819w==
-----END EC PRIVATE KEY-----
"""
