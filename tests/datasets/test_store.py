"""The store is never corrupt: several writers, kills, a full disk, folders without permission."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from functools import partial
from pathlib import Path

import h5py
import layouts
import numpy as np
import pytest

from pcbench.datasets import copies, importing, store
from pcbench.datasets.folder import Folder
from pcbench.datasets.store import Manifest
from pcbench.errors import DataError

NOBODY = 65534
REPLACE = store.ImportOptions(replace=True)

PREPARED = """
import os, signal, sys
from pathlib import Path
from pcbench.datasets import importing, store
from pcbench.datasets.folder import Folder
source = Path(sys.argv[1])
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def quiet(done, total): pass
REPLACE = store.ImportOptions(replace=True)
"""

PROCESSES = multiprocessing.get_context("forkserver")
# A process then has in milliseconds what takes seconds to import.
PROCESSES.set_forkserver_preload(["pcbench.cli.main", "pcbench.datasets.folder", "trimesh.exchange.ply"])


class Started:
    """A process of its own that runs some code after PREPARED; `out` and `err` are what it prints."""

    def __init__(self, code, words, environment):
        self.out, out = PROCESSES.Pipe(duplex=False)
        self.err, err = PROCESSES.Pipe(duplex=False)
        arguments = (out, err, PREPARED + textwrap.dedent(code), list(map(str, words)), environment)
        self.process = PROCESSES.Process(target=run, args=arguments)
        self.process.start()
        out.close()
        err.close()

    def says(self):
        """Wait for its first line."""
        return os.read(self.out.fileno(), 1)

    def running(self):
        return self.process.is_alive()

    def kill(self):
        self.process.kill()
        self.process.join()

    def finished(self):
        """Exit code, output and errors, once it has ended."""
        texts = [b"".join(iter(partial(os.read, end.fileno(), 1 << 16), b"")) for end in (self.out, self.err)]
        self.process.join()
        return self.process.exitcode, *(text.decode() for text in texts)


def run(out, err, code, words, environment):
    """In a process of its own: some code, with arguments and environment, and pipes for what it prints."""
    os.environ.update(environment)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.argv = ["-c", *words]
    exec(code, {"__name__": "__main__"})


def start(code, *words, **environment):
    return Started(code, words, {"PCBENCH_DATA": os.environ["PCBENCH_DATA"], **environment})


def quiet(done, total):
    pass


def write(path, seed, clouds=8):
    with h5py.File(path, "w") as file:
        file["points"] = layouts.points(clouds, seed)
        file["label"] = np.arange(clouds) // 2 % 2
        file["split"] = np.array([b"train", b"test"] * (clouds // 2))
        file["class_names"] = ["long", "round"]
    return path


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def old(tmp_path):
    """What is in the store before anything happens."""
    return Folder().import_from(write(tmp_path / "old.h5", seed=0), quiet, REPLACE)


@pytest.fixture
def new(tmp_path):
    return write(tmp_path / "new.h5", seed=1)


@pytest.fixture
def new_hash(new, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCBENCH_DATA", str(tmp_path / "elsewhere"))
        return Folder().import_from(new, quiet, REPLACE).content_hash


def left(root):
    return sorted(path.name for path in (root / "folder").iterdir())


DEATHS = {
    "while it reads": "Folder().import_from(source, lambda done, total: die() if done else None, REPLACE)",
    "while it hashes": "store._stored_hash = die\nFolder().import_from(source, quiet, REPLACE)",
    "before the clouds have their name": "Path.replace = die\nFolder().import_from(source, quiet, REPLACE)",
    "before the manifest": "store.write_json = die\nFolder().import_from(source, quiet, REPLACE)",
    "before the old clouds go": """
        written = store.write_json
        store.write_json = lambda *words: (written(*words), die())
        Folder().import_from(source, quiet, REPLACE)
    """,
    "while it removes": """
        unlink = Path.unlink
        Path.unlink = lambda path, **how: (unlink(path, **how), die())
        store.remove("folder")
    """,
}


class TestKilled:
    @pytest.mark.parametrize("when", DEATHS)
    def test_leaves_the_old_or_the_new(self, root, old, new, new_hash, when):
        code, _, err = start(DEATHS[when], new).finished()
        assert code == -signal.SIGKILL, err
        if when == "while it removes":
            assert not store.stored("folder")
        else:
            expected = new_hash if when == "before the old clouds go" else old.content_hash
            assert store.verify("folder").content_hash == expected
            assert store.load_stored("folder")[2].content_hash == expected
            assert len(left(root)) > 2 or when == "while it reads"
        assert Folder().import_from(new, quiet, REPLACE).content_hash == new_hash
        assert left(root) == [store.read_manifest("folder").file, "manifest.json"]

    def test_in_the_first_import_leaves_nothing_that_counts(self, root, new):
        code, _, _ = start(DEATHS["before the manifest"], new).finished()
        assert code == -signal.SIGKILL
        assert not store.stored("folder")
        assert not Folder().present()
        assert store.stored_names() == []
        Folder().import_from(new, quiet, REPLACE)
        assert len(left(root)) == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1])
    def test_at_any_moment(self, old, new, new_hash, delay):
        process = start("print(flush=True)\nwhile True: Folder().import_from(source, quiet, REPLACE)", new)
        process.says()
        time.sleep(delay)
        process.kill()
        assert store.verify("folder").content_hash in (old.content_hash, new_hash)

    @pytest.mark.slow
    def test_with_processes_of_its_own_takes_them_along(self, tmp_path):
        layouts.meshes(tmp_path / "in")
        code = """
            import multiprocessing
            def told(done, total):
                if done:
                    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
                    die()
            if __name__ == "__main__":
                importing._WORTH_PROCESSES = 1
                Folder().import_from(source, told)
        """
        script = tmp_path / "import.py"
        script.write_text(PREPARED + textwrap.dedent(code))
        command = [sys.executable, str(script), str(tmp_path / "in")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        returned, out, err = done.returncode, done.stdout, done.stderr
        assert returned == -signal.SIGKILL, err
        children = [int(pid) for pid in out.split()]
        assert children
        for _ in range(100):
            children = [pid for pid in children if alive(pid)]
            if not children:
                return
            time.sleep(0.1)
        pytest.fail(f"processes {children} outlived their parent")

    @pytest.mark.slow
    def test_of_one_of_its_processes_it_tells(self, tmp_path, monkeypatch):
        monkeypatch.setattr(importing, "_WORTH_PROCESSES", 1)
        monkeypatch.setattr(copies, "_FILES_AT_ONCE", 1)
        layouts.meshes(tmp_path / "in")

        def told(done, _):
            if done == 1:
                multiprocessing.active_children()[0].kill()

        with pytest.raises(DataError, match="was killed"):
            Folder().import_from(tmp_path / "in", told)
        assert not store.stored("folder")


def alive(pid):
    """A process that has ended but that nobody waited for counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestInterrupted:
    @pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
    def test_leaves_the_old_and_says_so(self, root, old, new, sign):
        code = f"""
            from pcbench.cli.main import main
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has none
            def interrupted(*_): signal.raise_signal(signal.{sign})
            store._stored_hash = interrupted
            sys.argv = ["pcbench", "data", "import", "folder", str(source), "--replace"]
            main()
        """
        code, _, err = start(code, new).finished()
        assert code == 130, err
        assert err.splitlines()[-1] == "error: interrupted; the store is as it was"
        assert store.verify("folder") == old
        assert len(left(root)) == 2


class TestTwoWriters:
    def test_and_a_reader(self, root, old, new, new_hash):
        """Each imports its own copy again and again; every reader sees one of the two, whole."""
        code = "for _ in range(5): Folder().import_from(source, quiet, REPLACE)"
        both = [start(code, source) for source in (new.with_name("old.h5"), new)]
        seen = set()
        while any(process.running() for process in both):
            seen.add(store.load_stored("folder")[2].content_hash)
            seen.add(store.verify("folder").content_hash)
        assert [process.finished()[0] for process in both] == [0, 0]
        assert seen <= {old.content_hash, new_hash}
        assert len(left(root)) == 2

    def test_the_second_waits_and_says_so(self, old, new):
        with store.writing("folder"):
            process = start("Folder().import_from(source, quiet, REPLACE)", new)
            said = os.read(process.err.fileno(), 1 << 16).decode()
            assert process.running()
            assert store.verify("folder") == old
        assert "waiting for another process that writes folder" in said
        assert process.finished()[0] == 0
        assert store.verify("folder") != old

    def test_a_killed_writer_holds_up_nobody(self, new):
        code = "import time\nwith store.writing('folder'):\n    print(flush=True)\n    time.sleep(100)"
        process = start(code, new)
        process.says()
        process.kill()
        assert Folder().import_from(new, quiet, REPLACE).name == "folder"


class TestFullDisk:
    @pytest.mark.parametrize("room", [0, 1, 1000, 60_000, 98_000])
    def test_leaves_the_old(self, root, old, new, room):
        code = f"""
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
            sys.argv = ["pcbench", "data", "import", "folder", str(source), "--replace"]
            from pcbench.cli.main import main
            main()
        """
        returned, _, err = start(code, new).finished()
        assert returned == 3, err
        message = err.strip().splitlines()[-1]
        assert "cannot be written" in message
        assert "PCBENCH_DATA" in message
        assert store.verify("folder") == old
        assert len(left(root)) == 2

    def test_of_a_real_file_system(self, monkeypatch, tmp_path, new):
        place = tmp_path / "small"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            mounted = False
        if not mounted:
            pytest.skip("no file system may be mounted here")
        try:
            monkeypatch.setenv("PCBENCH_DATA", str(place))
            with pytest.raises(DataError, match="cannot be written"):
                Folder().import_from(new, quiet, REPLACE)
            assert store.stored_names() == []
            assert not list(place.rglob("*.h5"))
        finally:
            subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def public():
    """A folder that an unprivileged user may enter: pytest's own may not be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


REPORT = """
from pcbench.errors import DataError
if os.geteuid() == 0:  # whom no permission binds; all that is imported later would have to be readable
    os.setgroups([])
    os.setgid({nobody})
    os.setuid({nobody})
try:
    {work}
except DataError as error:
    print(error)
"""


class TestPermissions:
    def outcome(self, work, source, place):
        words = {"PCBENCH_DATA": str(place), "HOME": str(place)}
        code, out, err = start(REPORT.format(work=work, nobody=NOBODY), source, **words).finished()
        assert code == 0, err
        return out

    def test_a_store_that_is_only_readable(self, public, monkeypatch):
        place = public / "data"
        monkeypatch.setenv("PCBENCH_DATA", str(place))
        source = write(public / "new.h5", seed=1)
        Folder().import_from(source, quiet, REPLACE)
        for path in (source, *place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o444)
        (place / "folder").chmod(0o555)
        place.chmod(0o555)
        work = "print(len(Folder().load(16).train))\n    Folder().import_from(source, quiet, REPLACE)"
        read, refusal = self.outcome(work, source, place).splitlines()
        assert read == "4"
        assert refusal.startswith(str(place))
        assert "cannot be written" in refusal
        assert "PCBENCH_DATA" in refusal
        assert store.verify("folder").name == "folder"
        place.chmod(0o755)
        (place / "folder").chmod(0o755)

    @pytest.mark.parametrize("what", ["file", "folder", "hdf5"])
    def test_a_copy_that_may_not_be_read(self, public, what):
        place = public / "data"
        place.mkdir()
        place.chmod(0o777)
        source = public / "in"
        layouts.meshes(source, ("bed", "chair"))
        hidden = {"file": source / "bed" / "train" / "bed_0001.off", "folder": source / "bed" / "train"}
        hidden["hdf5"] = write(public / "mine.h5", seed=1)
        hidden[what].chmod(0)
        copy = hidden["hdf5"] if what == "hdf5" else source
        out = self.outcome("Folder().import_from(source, quiet, REPLACE)", copy, place)
        assert str(hidden[what]) in out
        assert "permission" in out.lower() or "cannot be read" in out
        assert not list(place.glob("*/*"))
        hidden[what].chmod(0o755)


class TestManifest:
    @pytest.mark.usefixtures("old")
    def test_a_file_outside_the_folder_is_refused(self, root):
        path = root / "folder" / "manifest.json"
        for name in (
            "../x.h5",
            "/etc/passwd",
            "clouds-../../x.h5",
            "manifest.json",
            "clouds-5f0c19a3b2d4.h5\n",
        ):
            path.write_text(json.dumps({**json.loads(path.read_text()), "file": name}))
            with pytest.raises(DataError, match="not a readable manifest"):
                store.load_stored("folder")

    def test_counts_of_duplicates(self):
        fields = {
            "name": "x",
            "variant": "x",
            "class_names": ("a",),
            "train": 9,
            "test": 9,
            "points": 1024,
            "sources": (),
            "content_hash": "0" * 64,
        }
        groups = (("train 1", "train 2", "train 5"), ("train 0", "test 1", "test 2"), ("test 3", "test 4"))
        assert Manifest(**fields, duplicates=groups).duplicated() == (2, 2, 2)


class TestVerify:
    def test_finds_a_changed_coordinate(self, root, old):
        path = root / "folder" / old.file
        with h5py.File(path, "r+") as file:
            file["test/points"][0, 0, 0] = 0.125
        with pytest.raises(DataError, match=r"not what manifest\.json describes.*data import folder PATH"):
            store.verify("folder")

    @pytest.mark.parametrize("size", [0, 100, 50_000])
    def test_finds_a_truncated_file(self, root, old, size):
        path = root / "folder" / old.file
        os.truncate(path, size)
        with pytest.raises(DataError, match="data import folder PATH"):
            store.verify("folder")

    @pytest.mark.parametrize("key", ["points", "labels"])
    def test_finds_arrays_of_other_shapes(self, root, old, key):
        path = root / "folder" / old.file
        with h5py.File(path, "r+") as file:
            del file["train"][key]
            file["train"][key] = np.zeros((4, 2), "<f4")
        with pytest.raises(DataError, match=rf"train {key} are float32"):
            store.verify("folder")
        with h5py.File(path, "r+") as file:
            del file["train"]
        with pytest.raises(DataError, match="lacks the group 'train'"):
            store.verify("folder")


@pytest.mark.usefixtures("old")
def test_remove_takes_everything_but_the_lock(root):
    store.remove("folder")
    assert not Folder().present()
    assert [path.name for path in root.iterdir()] == [".folder.lock"]
