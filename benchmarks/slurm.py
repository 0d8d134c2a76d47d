"""Slurm on this machine alone, with accounts, for tests: two nodes on the loopback device.

    python -m benchmarks.slurm start FOLDER     # then: export SLURM_CONF=FOLDER/slurm.conf
    python -m benchmarks.slurm stop FOLDER

All that it writes is in the folder, all ports are free ones of 127.0.0.1, and no service of the system is
touched. It needs root, and these packages of Debian or Ubuntu:

    apt-get install --no-install-recommends slurmctld slurmd slurm-client slurmdbd munge mariadb-server
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "sacct", "munged", "mariadbd", "mariadb-install-db")
PACKAGES = "slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
GET = f"apt-get install --no-install-recommends {PACKAGES}"
"""How a machine gets what is missing."""
NODES = ("one", "two")
"""The names of the nodes."""
PATIENCE = 60.0
"""Seconds that a service has to answer, or to end."""

SLURM_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounts}
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=0
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmdTimeout=10
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs={cores} State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""
"""Of the controller, the nodes and the commands."""
SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounts}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
"""
"""Of the accounts."""


def missing() -> list[str]:
    """The programs that this machine lacks, and `root` where the user is another."""
    lacking = [program for program in PROGRAMS if _program(program) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def start(folder: Path) -> Mapping[str, str]:
    """Start Slurm, all of whose files are in a new folder; the environment in which its commands find it."""
    folder.mkdir(parents=True)
    folder = folder.resolve()
    names = ("controller", "accounts", "database", *NODES)
    values = dict(zip(names, _free_ports(len(names)), strict=True))
    words = {
        "folder": str(folder),
        "host": socket.gethostname().partition(".")[0],
        "password": secrets.token_hex(16),
        "cores": str(len(os.sched_getaffinity(0))),
        **{name: str(port) for name, port in values.items()},
    }
    _write(folder / "munge.key", secrets.token_hex(512))
    _write(folder / "slurm.conf", SLURM_CONF.format(**words))
    _write(folder / "slurmdbd.conf", SLURMDBD_CONF.format(**words))
    _write(
        folder / "init.sql",
        "CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';\n".format(**words),
    )
    (folder / "state").mkdir()
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    services = _Services(folder, environment)
    try:
        _start_accounts(services, folder, values)
        services.begin("slurmctld", "slurmctld", "-D")
        for node in NODES:
            (folder / f"spool-{node}").mkdir()
            services.begin(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        services.wait_for("the nodes", lambda: _idle_nodes(services) == len(NODES))
    except BaseException:
        stop(folder)
        raise
    return environment


def _start_accounts(services: _Services, folder: Path, ports: Mapping[str, int]) -> None:
    """Start what checks who is who, the data base and the service that keeps accounts in it."""
    services.begin(
        "munged",
        *("munged", "--foreground", "--force", f"--socket={folder}/munge.socket"),
        *(f"--key-file={folder}/munge.key", f"--pid-file={folder}/munged.pid"),
        *(f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munged-own.log"),
    )
    data = folder / "database"
    services.do("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db")
    services.begin(
        "mariadbd",
        *("mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", "--bind-address=127.0.0.1"),
        *(f"--port={ports['database']}", f"--socket={folder}/database.socket"),
        *(f"--pid-file={folder}/mariadbd.pid", f"--init-file={folder}/init.sql"),
    )
    services.wait_for("the data base", lambda: _listens(ports["database"]))
    services.begin("slurmdbd", "slurmdbd", "-D")
    services.wait_for("the accounts", lambda: _listens(ports["accounts"]))
    services.do("sacctmgr", "--immediate", "add", "cluster", "loopback")


def stop(folder: Path) -> None:
    """End what was started in a folder, the last one first; its files stay."""
    for pid in reversed(_pids(folder).values()):
        _end(pid, folder)
    (folder / "pids.json").write_text("{}")


def tasks() -> list[int]:
    """The processes of pcbench that are tasks of the cluster."""
    return [pid for pid, words in _processes().items() if "pcbench" in words and words[-2:-1] == ["--share"]]


def of_node(folder: Path, node: str) -> list[int]:
    """All processes of a node: what starts its tasks, and the tasks with all that watches over them."""
    pid: int = _pids(folder)[f"slurmd-{node}"]
    watchers = [pid for pid, words in _processes().items() if words[0].startswith("slurmstepd")]
    here = [each for each in watchers if f"SLURMD_NODENAME={node}" in _environment(each)]
    return [pid, *here, *(each for each in tasks() if f"SLURMD_NODENAME={node}" in _environment(each))]


def revive(folder: Path) -> None:
    """Start the nodes again that were killed."""
    pids = _pids(folder)
    services = _Services(folder, {"SLURM_CONF": str(folder.resolve() / "slurm.conf")}, pids)
    for node in NODES:
        if not _is_of(pids[f"slurmd-{node}"], folder):
            services.begin(f"slurmd-{node}", "slurmd", "-D", "-N", node)


def _pids(folder: Path) -> dict[str, int]:
    """The services that were started in a folder, by their names."""
    pids: dict[str, int] = json.loads((folder / "pids.json").read_text())
    return pids


def _processes() -> dict[int, list[str]]:
    """The words of every process of this machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                found[int(entry.name)] = words
    return found


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Mapping[str, str]]:
    """Slurm, as long as the block lasts; the environment in which its commands find it."""
    environment = start(folder)
    try:
        yield environment
    finally:
        stop(folder)


class _Services:
    """Processes that go on when this one has ended, each with a log in the folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str], pids: Mapping[str, int] = {}) -> None:
        self.folder, self.environment = folder, {**os.environ, **environment}
        self.pids = dict(pids)
        """Those that were begun, by their names."""
        self._leave_word()

    def begin(self, name: str, *words: str) -> None:
        """Start a process."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [_program(words[0]) or words[0], *words[1:]],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pids[name] = process.pid
        self._leave_word()

    def do(self, *words: str) -> str:
        """What a command prints; it is tried again until it ends well or patience does."""
        until = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                [_program(words[0]) or words[0], *words[1:]],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if not done.returncode:
                return done.stdout
            if time.monotonic() > until:
                sys.exit(f"{' '.join(words)}: {done.stderr or done.stdout}")
            time.sleep(0.2)

    def wait_for(self, what: str, there: Callable[[], bool]) -> None:
        """Wait until something is there; an error that names the logs where it does not come."""
        until = time.monotonic() + PATIENCE
        while not there():
            if time.monotonic() > until:
                sys.exit(f"{what} did not come within {PATIENCE:.0f} s: look at the logs in {self.folder}")
            time.sleep(0.1)

    def _leave_word(self) -> None:
        (self.folder / "pids.json").write_text(json.dumps(self.pids))


def _idle_nodes(services: _Services) -> int:
    return services.do("sinfo", "--Node", "--noheader", "--format=%T").split().count("idle")


def _free_ports(count: int) -> list[int]:
    """So many ports at which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _end(pid: int, folder: Path) -> None:
    """End a process that was started in a folder, by force where it takes its time."""
    until = time.monotonic() + PATIENCE / 4
    with contextlib.suppress(ProcessLookupError):
        while _is_of(pid, folder):
            os.kill(pid, signal.SIGTERM if time.monotonic() < until else signal.SIGKILL)
            time.sleep(0.1)


def _is_of(pid: int, folder: Path) -> bool:
    """Whether a process is there, and is one that works in the folder: numbers are given again."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return f"SLURM_CONF={folder.resolve()}/slurm.conf" in _environment(pid)


def _environment(pid: int) -> list[str]:
    """The environment of a process; empty where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    return []


def main(arguments: Sequence[str] | None = None) -> None:
    """Start or stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.what == "stop":
        stop(chosen.folder)
        return
    lacking = missing()
    if lacking:
        sys.exit(f"there is no {', '.join(lacking)} here: as root, {GET}")
    for name, value in start(chosen.folder).items():
        print(f"export {name}={value}")


if __name__ == "__main__":
    main()
