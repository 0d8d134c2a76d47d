"""Archives are unpacked as a whole or not at all, into a folder of their own and nowhere else."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from pcbench.datasets.archives import unpack
from pcbench.errors import DataError

ROOM = 4 << 20


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, data in entries:
            file.writestr(entry, data)
    return path


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def refused(tmp_path: Path, archive: Path, words: str) -> None:
    """A refusal in one line that leaves nothing behind."""
    with pytest.raises(DataError, match=words) as caught:
        unpack(archive, tmp_path / "deep" / "out", ROOM, lambda *_: None)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("deep/*"))
    assert not list(tmp_path.rglob("evil*"))


def test_files_and_folders_come_out_as_they_went_in(tmp_path):
    path = zipped(tmp_path / "a.zip", ("top/", b""), ("top/a.txt", b"one"), ("top/low/b.bin", bytes(9)))
    told: list[tuple[int, int]] = []
    unpack(path, tmp_path / "out", ROOM, lambda *progress: told.append(progress))
    files = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in tmp_path.rglob("out/**/*.*")}
    assert files == {"top/a.txt": b"one", "top/low/b.bin": bytes(9)}
    assert told[-1] == (12, 12)


def test_executable_bits_are_dropped(tmp_path):
    path = zipped(tmp_path / "a.zip", (special("run.sh", stat.S_IFREG), b"#!"))
    unpack(path, tmp_path / "out", ROOM, lambda *_: None)
    assert not (tmp_path / "out/run.sh").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/evil",
        "//evil",
        "..",
        "a//evil",
        "./evil",
        "..\\evil",
        "C:evil",
        "evil\x1b[31m",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    path = zipped(tmp_path / "a.zip", ("good.txt", b"x"), (name, b"x"))
    refused(tmp_path, path, "leaves its folder|absolute, or of another system")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = zipped(tmp_path / "a.zip", (special("link", kind), b"/etc/passwd"))
    refused(tmp_path, path, "a link, a device")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path):
    path = zipped(tmp_path / "a.zip", ("one", bytes(ROOM)), ("two", b"x"))
    assert path.stat().st_size < ROOM // 100
    refused(tmp_path, path, f"unpacks to {ROOM + 1} bytes, more than {ROOM}")


def test_a_file_larger_than_it_declares_is_damaged(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a", bytes(1000)))
    data = path.read_bytes()
    path.write_bytes(data.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(tmp_path, path, "damaged")


@pytest.mark.parametrize("data", [b"", b"PK", b"<html>", b"PK\x05\x06" + bytes(17)])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path, tmp_path / "a.zip", "damaged")


def test_an_encrypted_entry_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a", b"secret"))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    refused(tmp_path, path, "cannot be unpacked")


def test_an_archive_that_is_cut_short_is_refused(tmp_path):
    whole = zipped(tmp_path / "a.zip", ("a", bytes(range(256)) * 40)).read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "a.zip").write_bytes(whole[:length])
        refused(tmp_path, tmp_path / "a.zip", "damaged")


def test_a_stop_in_the_middle_leaves_nothing(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a", b"x"), ("b", b"y"))

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(path, tmp_path / "deep" / "out", ROOM, stop)
    assert not list(tmp_path.glob("deep/*"))
