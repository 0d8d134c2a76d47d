"""Kills one of two machines that share a folder over NFS: does the other end the sweep as if undisturbed?

    python -m benchmarks.nfs --count 3    # as root; apt-get install user-mode-linux nfs-kernel-server kmod

A Linux kernel in user space serves a folder by NFS 4.2 and mounts it twice, with caches of their own. On each
mount works `pcbench run` in its own process and host namespace: a machine that knows nothing of the other's
processes. SIGKILL takes one of them with all that it has started, at a random moment while it holds a claim.
When the other has ended, the killed one runs again. What is compared is what `benchmarks.kills` compares.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.kills import WORDS, left_behind, results
from pcbench.records import layout

KERNEL, MODULES = "linux.uml", Path("/usr/lib/uml/modules")
NODES = ("a", "b")
LATEST = 20.0
"""Seconds that a victim has at most held its first claim for."""
MEMORY = "4G"
"""Of the guest; most of it is the store."""
GUEST = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for place in /run /mnt /var/lib/nfs /lib/modules; do mount -t tmpfs tmp $place; done
mount -t proc proc /proc; mount -t sysfs sys /sys
ip link set lo up
mkdir -p /mnt/a /mnt/b /mnt/store /mnt/out /run/rpc_pipefs /run/home /var/lib/nfs/v4recovery
mount -t tmpfs tmp /mnt/store; mount -t hostfs out /mnt/out -o {scratch}
ln -s {modules}/$(uname -r) /lib/modules/
modprobe nfsd && modprobe nfsv4 || exit
mount -t nfsd nfsd /proc/fs/nfsd; mount -t rpc_pipefs sunrpc /run/rpc_pipefs
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
exportfs -o rw,no_root_squash,fsid=0,insecure,no_subtree_check,sync '*:/mnt/store'
rpc.nfsd -N 3 -V 4.2 4; rpc.mountd -N 3
for node in a b; do mount -t nfs4 -o nosharecache,vers=4.2 127.0.0.1:/ /mnt/$node; done

export HOME=/run/home TMPDIR=/run/home PCBENCH_DATA=/run/data
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={repository}
node() {{  # NODE TRIAL: a machine of its own
    export XDG_CACHE_HOME=/run/cache-$1
    mkdir -p /mnt/$1/$2; cd /mnt/$1/$2
    exec unshare -u -p -f --mount-proc sh -c \\
        "hostname node-$1; exec {python} -m pcbench {words} >> /mnt/$1/$2/log-$1.txt 2>&1"
}}
dies() {{ pkill -KILL -P $1; kill -KILL $1; }}
claimed() {{ grep -qs "host=node-$1?" /mnt/store/$2/results/{claims}/*.lock; }}

(node a undisturbed); echo $? > /mnt/store/undisturbed/code-a
while read trial victim other moment <&3; do
    (node a $trial) & a=$!
    (node b $trial) & b=$!
    eval "pid=\\$$victim; left=\\$$other"
    until claimed $victim $trial; do sleep 0.2; done
    sleep $moment; dies $pid
    wait $left; echo $? > /mnt/store/$trial/code-$other
    (node $victim $trial); echo $? > /mnt/store/$trial/code-$victim
    cp -r /mnt/store/$trial /mnt/out/
done 3< /mnt/out/trials
cp -r /mnt/store/undisturbed /mnt/out/
echo o > /proc/sysrq-trigger; sleep 60
"""
"""What runs in the guest. It sees this machine's files, read-only but for the scratch folder."""


def missing() -> list[str]:
    """What this machine lacks for it."""
    programs = [name for name in (KERNEL, "exportfs", "modprobe", "unshare") if not shutil.which(name)]
    return programs + ([] if os.geteuid() == 0 else ["root"])


def boot(scratch: Path, trials: list[tuple[int, str, str, float]], within: float) -> str:
    """Do the trials in a guest: number, who is killed, who is not, seconds after its first claim."""
    (scratch / "trials").write_text("".join(f"{' '.join(map(str, trial))}\n" for trial in trials))
    guest = scratch / "guest.sh"
    guest.write_text(
        GUEST.format(
            scratch=scratch,
            modules=MODULES,
            repository=Path(__file__).resolve().parents[1],
            python=sys.executable,
            words=" ".join(WORDS),
            claims=layout.claims(Path()),
        )
    )
    guest.chmod(0o755)
    words = [KERNEL, f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
    words += [f"init={guest}", "con=null", "con0=null,fd:1"]
    ended = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=within
    )
    return ended.stdout


def problems(folder: Path, expected: object) -> list[str]:
    """What is not as it should be after a trial."""
    codes = {node: (folder / f"code-{node}").read_text().strip() for node in NODES}
    wrong = [f"node {node} ended with {code}" for node, code in codes.items() if code != "0"]
    if results(folder / "results") != expected:
        wrong.append("the results are not those of an undisturbed sweep")
    return [*wrong, *(f"left behind: {name}" for name in left_behind(folder / "results", "plans"))]


def main() -> None:
    """Do the trials and say how many went well; exit code 1 where one did not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=3, help="trials, of about five minutes each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    chosen = parser.parse_args()
    if missing():
        sys.exit(f"not on this machine: {', '.join(missing())}")
    random.seed(chosen.seed)
    trials = []
    for number in range(chosen.count):
        victim, other = random.sample(NODES, 2)
        trials.append((number, victim, other, round(random.uniform(0, LATEST), 1)))
    with tempfile.TemporaryDirectory(prefix="pcbench-nfs-") as scratch:
        said = boot(Path(scratch), trials, 600.0 * (1 + chosen.count))
        undisturbed = Path(scratch) / "undisturbed"
        if not (undisturbed / "code-a").exists() or (undisturbed / "code-a").read_text() != "0\n":
            sys.exit(f"the undisturbed sweep did not end well:\n{said}")
        expected = results(undisturbed / "results")
        wrong = 0
        for number, victim, _, moment in trials:
            what = problems(Path(scratch) / str(number), expected)
            wrong += bool(what)
            print(json.dumps({"victim": victim, "after its claim": moment, "problems": what}), flush=True)
            if what:
                for node in NODES:
                    print((Path(scratch) / str(number) / f"log-{node}.txt").read_text(), flush=True)
    print(f"{len(trials)} trials, {wrong} of them wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
