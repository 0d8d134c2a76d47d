"""Which option of the command line sets a thing that an error is about; no other room knows options."""

from __future__ import annotations

from collections.abc import Mapping

from pcbench.errors import Thing

OPTIONS: Mapping[Thing, str] = {
    "method": "--method",
    "data set": "--dataset",
    "ppc": "--ppc",
    "students": "--seeds",
    "backbone": "--backbone",
    "draw": "--draw",
    "repetition": "--repetition",
    "setting": "--set",
    "protocol": "--protocol",
    "suite": "--suite",
    "test": "--test",
    "snapshots": "--snapshots",
    "sampling": "--sampling",
    "device": "--device",
    "plugins": "--plugins",
    "output": "--out",
    "results": "--results",
    "replace": "--force",
    "class": "--class",
    "mirror": "--mirror",
    "incomplete copy": "--allow-incomplete",
    "ignored files": "--ignore",
    "own name": "--name",
    "replaced data": "--replace",
    "repeated points": "--upsample",
    "stored points": "--points",
    "test share": "--test-share",
    "validation": "--val",
    "margin": "--margin",
    "published": "--against",
    "licence": "--license",
    "address of clouds": "--artifact-url",
    "port": "--port",
    "share": "--share",
    "plan": "--plan",
    "jobs": "--jobs",
    "slurm": "--slurm",
}


def with_options(message: str, things: tuple[Thing, ...]) -> str:
    """The message of an error, with the options that set what it is about: `… is needed (--ppc)`."""
    return f"{message} ({', '.join(OPTIONS[thing] for thing in things)})" if things else message
