"""What records say of where, when, with what and how long a piece of work was done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pcbench.common.schema import Abridged, Model
from pcbench.records.values import LARGEST, Count, Name, Seconds, Text


class Hardware(Model):
    """What a piece of work was computed on. Times are compared only where `label` is the same."""

    device: Literal["cpu", "cuda"]
    """The kind of device that torch used."""
    name: Name
    """The processor's model, or the GPU's."""
    cpu_cores: int = Field(ge=1, le=LARGEST)
    """Processor cores that the process might use."""
    threads: int = Field(ge=1, le=LARGEST)
    """Threads of torch's own on the processor."""
    memory_bytes: Count
    """Memory of the machine or, with a GPU, of the GPU."""
    instructions: Name = ""
    """Of torch's kernels, as `AVX2`, with the numbers of the processor's model; empty in older records."""

    @property
    def label(self) -> str:
        """One line for people, for example 'AMD EPYC, 2 threads'."""
        return self.name if self.device == "cuda" else f"{self.name}, {self.threads} threads"


class Provenance(Abridged):
    """Where, when and with what a piece of work was done. None of it enters a key."""

    created: Name
    """The time of writing, ISO 8601 in UTC."""
    command: list[Text] = Field(max_length=1000)
    """The command line, word by word."""
    python: Name
    """Python's version."""
    platform: Name
    """Operating system and architecture."""
    packages: dict[Name, Name] = Field(max_length=1000)
    """Versions of pcbench and of the packages that compute, by name."""
    git_commit: Name | None
    """The commit of the checkout that pcbench ran from; None where it was installed."""
    git_dirty: bool | None
    """Whether that checkout had changes that were not committed."""
    hardware: Hardware
    """What the work was computed on."""
    load: float | None = Field(None, ge=0, le=1e6)
    """Processes that wanted a processor of the machine, on average while the work ran; None if unknown."""
    attempt: Name = ""
    """The attempt at the cell that did it: of two that worked at one cell, each wrote its own id. Empty where
    no attempt was counted, and in older records."""

    def idle(self) -> set[str]:
        """What older records do not have."""
        return set() if self.attempt else {"attempt"}


BUSY = 0.6
"""A process that got less than this share of its threads' time shared the machine with others."""
SHORTEST = 1.0
"""Seconds: a shorter clock says nothing of a busy machine."""


class Clock(Model):
    """How long a phase took."""

    seconds: Seconds
    """Wall time."""
    processor_seconds: Seconds | None = None
    """Processor time of all threads of the process; None in records from before it was measured."""

    def busy(self, hardware: Hardware) -> bool:
        """Whether the process had to wait for others: it then says nothing of what the phase costs.

        Processor seconds far below wall time × threads show it. Work on a GPU leaves the processor idle, so
        that nothing is known there, nor of a clock without processor seconds.
        """
        if self.processor_seconds is None or hardware.device != "cpu" or self.seconds < SHORTEST:
            return False
        threads = min(hardware.threads, hardware.cpu_cores)
        return self.processor_seconds < BUSY * self.seconds * threads

    def __add__(self, other: Clock) -> Clock:
        """Both phases together."""
        known = [each.processor_seconds for each in (self, other) if each.processor_seconds is not None]
        processor = sum(known) if len(known) == 2 else None
        return Clock(seconds=self.seconds + other.seconds, processor_seconds=processor)


NOTHING = Clock(seconds=0.0, processor_seconds=0.0)
"""The clock of a phase in which nothing was done."""


class Memory(Model):
    """Peak memory."""

    host_bytes: Count
    """Peak resident memory of the process."""
    device_bytes: Count | None
    """Peak memory allocated on the GPU; None without one."""
