"""Archives are unpacked as a whole or not at all; hostile entries are refused before anything is written."""

import io
import stat
import zipfile

import pytest

from pcbench.datasets.archives import Limits, unpack
from pcbench.errors import DataError

SMALL = Limits(entries=5, file_bytes=3 << 20, total_bytes=4 << 20, ratio=100)


def zipped(path, *entries, compression=zipfile.ZIP_DEFLATED):
    """entries: (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for entry, data in entries:
            file.writestr(entry, data)
    return path


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.fixture
def attempt(tmp_path):
    """Unpack into `out` and give its files by name, or check that a refusal leaves nothing behind."""

    def call(archive, refusal=None, limits=SMALL):
        out = tmp_path / "deep" / "out"
        if refusal is None:
            told = []
            unpack(archive, out, limits, lambda *progress: told.append(progress))
            return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}, told
        with pytest.raises(DataError, match=refusal) as caught:
            unpack(archive, out, limits, lambda done, total: None)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.glob("deep/*"))
        assert not (tmp_path / "evil").exists()
        return None

    return call


def test_files_and_folders_come_out_as_they_went_in(tmp_path, attempt):
    path = zipped(tmp_path / "a.zip", ("top/", b""), ("top/a.txt", b"one"), ("top/low/b.bin", bytes(9)))
    found, told = attempt(path)
    assert found == {"top/a.txt": b"one", "top/low/b.bin": bytes(9)}
    assert told[-1] == (12, 12)


def test_executable_bits_are_dropped(tmp_path, attempt):
    attempt(zipped(tmp_path / "a.zip", (special("run.sh", stat.S_IFREG), b"#!")))
    assert not (tmp_path / "deep/out/run.sh").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "a/./b",
        "a//b",
        "/evil",
        "..\\evil",
        "C:evil",
        "a/..",
        "a\nb",
        "a\x1bb",
        "x" * 201,
    ],
)
def test_names_that_lead_elsewhere_or_hide_something(tmp_path, attempt, name):
    attempt(zipped(tmp_path / "a.zip", ("good.txt", b"x"), (name, b"evil")), "do not trust it")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(tmp_path, attempt, kind):
    attempt(zipped(tmp_path / "a.zip", (special("good", kind), b"/etc/passwd")), "a link, a device")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.txt", "A.TXT"),
        ("dir/a", "DIR/A"),
        ("stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("a", "a/b"),
        ("a/b", "A"),
    ],
)
def test_names_that_some_file_system_takes_for_one(tmp_path, attempt, first, second):
    attempt(zipped(tmp_path / "a.zip", (first, b"1"), (second, b"2")), "would overwrite another")


@pytest.mark.parametrize(
    ("entries", "refusal"),
    [
        ([(str(i), b"") for i in range(6)], "6 entries, more than 5"),
        ([("bomb", bytes(2 << 20))], "more than 100 times its size"),
        ([("big", bytes(4 << 20))], "unpacks to 4194304 bytes"),
    ],
)
def test_bombs(tmp_path, attempt, entries, refusal):
    attempt(zipped(tmp_path / "a.zip", *entries), refusal)


def test_many_small_bombs(tmp_path, attempt):
    path = zipped(tmp_path / "a.zip", *[(str(i), bytes(1 << 20)) for i in range(5)])
    attempt(path, "unpacks to 5242880 bytes, more than 4194304")


def test_a_file_larger_than_it_declares_stops_at_what_it_declares(tmp_path, attempt):
    path = zipped(tmp_path / "a.zip", ("a", bytes(1 << 20)))
    data = path.read_bytes()
    size = (1 << 20).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    attempt(path, "damaged")


def test_more_than_the_disk_holds(tmp_path, attempt, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    attempt(zipped(tmp_path / "a.zip", ("a", bytes(11))), "make room")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_nobody_uses(tmp_path, attempt, method):
    attempt(zipped(tmp_path / "a.zip", ("a", b"x"), compression=method), "neither by deflate nor plainly")


def test_an_encrypted_entry(tmp_path, attempt):
    path = zipped(tmp_path / "a.zip", ("a", b"x"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    attempt(path, "is encrypted")


@pytest.mark.parametrize("data", [b"", b"PK", b"<html>", b"PK\x05\x06" + bytes(17)])
def test_what_is_no_archive(tmp_path, attempt, data):
    (tmp_path / "a.zip").write_bytes(data)
    attempt(tmp_path / "a.zip", "no complete zip archive")


def test_a_directory_too_large_for_memory_is_not_read(tmp_path, attempt):
    path = zipped(tmp_path / "a.zip", ("a", b"x"))
    data = bytearray(path.read_bytes())
    data[-10:-6] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    attempt(path, "directory of more than")


def test_cut_or_changed_at_any_place(tmp_path, attempt):
    """Whatever byte is wrong: a refusal without a trace, or the files as they were."""
    buffer = io.BytesIO()
    zipped(buffer, ("top/a.txt", b"some words, some words"), ("b", b"more"))
    whole = buffer.getvalue()
    path = tmp_path / "a.zip"
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        attempt(path, "no complete zip archive")
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        out = tmp_path / f"out{place}"
        try:
            unpack(path, out, SMALL, lambda done, total: None)
        except DataError:
            assert not out.exists()
        else:
            kept = sorted(p.read_bytes() for p in out.rglob("*") if p.is_file())
            assert kept in ([b"more", b"some words, some words"], [b"more"], [b"some words, some words"], [])
        assert not list(tmp_path.glob(".*"))


def test_a_stop_in_the_middle_leaves_nothing(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a", b"x"), ("b", b"y"))

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(path, tmp_path / "out", SMALL, stop)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
