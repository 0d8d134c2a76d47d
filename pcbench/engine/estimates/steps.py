"""What first steps said of a method and of students, and what follows for more of the same."""

from __future__ import annotations

from dataclasses import dataclass

from pcbench.common.schema import Model
from pcbench.records.circumstances import BUSY, Clock, Hardware
from pcbench.records.values import Count, Seconds


@dataclass(frozen=True)
class Pace:
    """How long first steps are looked at, in seconds of an idle machine."""

    patience: float
    """After these a trial is content with two steps, and looks no longer at what precedes them."""
    enough: float
    """So many of steps tell what a step takes."""


CAREFUL = Pace(patience=3.0, enough=0.5)
"""The pace of a cell itself."""
BRISK = Pace(patience=1.0, enough=0.2)
"""The pace of a stand-in."""


class DistilTrial(Model):
    """What a distillation takes."""

    before: Seconds
    """Seconds until the first update is done; of a method without iterations, until the end."""
    step: Seconds
    """Seconds of a further update; 0 without iterations."""
    host_bytes: Count | None
    """Peak resident memory of the method's process; None where the system does not tell."""
    set_bytes: Count
    """Bytes of a synthetic set as it is kept."""
    clouds: Count
    """Synthetic clouds that students train on."""
    points: Count
    """Points of each."""
    iterates: bool
    """Whether it has more snapshots than one."""
    updates: bool = True
    """Whether its updates were timed; if not, what precedes them took too long to be waited for."""
    at_least: bool = False
    """Whether it was stopped within the first update, so that `step` is what this had taken by then."""
    start: Seconds
    """The part of `before` until the method began, which is the same for every shape."""
    prepared: Seconds
    """The part of `before` that goes with the number of training clouds, and not with that of classes."""
    classes: Count
    """Classes that it was tried on."""
    train: Count
    """Training clouds, for whose number it stands: all, also where it was tried on a few of them."""

    def seconds(self, iterations: int) -> float:
        """Wall seconds of so many updates."""
        return self.before + self.step * max(0, iterations - 1)

    def grown(self, classes: int, train: int) -> DistilTrial:
        """The same on so many classes and training clouds."""
        wider, longer = classes / self.classes, train / self.train
        prepared = self.prepared * longer
        more = 12 * self.points * max(0, train - self.train)  # bytes of the training clouds
        rest = max(0.0, self.before - self.start - self.prepared)
        return self.model_copy(
            update={
                "before": self.start + prepared + rest * wider,
                "prepared": prepared,
                "step": self.step * wider,
                "set_bytes": round(self.set_bytes * wider),
                "clouds": round(self.clouds * wider),
                "host_bytes": self.host_bytes and self.host_bytes + more,
                "classes": classes,
                "train": train,
            }
        )

    def towards(self, other: DistilTrial, share: float) -> DistilTrial:
        """What lies between the same at two PPC, in a straight line. share: 0 is this one, 1 the other."""

        def between(one: float, two: float) -> float:
            return one + (two - one) * share

        return self.model_copy(
            update={
                "before": between(self.before, other.before),
                "prepared": between(self.prepared, other.prepared),
                "step": between(self.step, other.step),
                "set_bytes": round(between(self.set_bytes, other.set_bytes)),
                "clouds": round(between(self.clouds, other.clouds)),
                "updates": self.updates and other.updates,
                "at_least": self.at_least or other.at_least,
            }
        )


class StudentTrial(Model):
    """What S students take together."""

    step: Seconds
    """Seconds of a step on one full batch."""
    batch: Count
    """Clouds of that batch."""
    tested: Seconds
    """Seconds of the test on one test cloud."""
    host_bytes: Count
    """Peak resident memory of the process that trained them."""
    device_bytes: Count | None
    """Peak memory on the GPU; None without one."""
    idle_bytes: Count
    """The part of `host_bytes` that this process had before."""
    students: Count
    """S."""

    def grown(self, students: int, batch: int) -> StudentTrial:
        """The same with so many students, and clouds of a batch."""
        more = students / self.students
        own = max(0, self.host_bytes - self.idle_bytes) * more * batch / self.batch
        return self.model_copy(
            update={
                "step": self.step * more * batch / self.batch,
                "batch": batch,
                "tested": self.tested * more,
                "host_bytes": self.idle_bytes + round(own),
                "students": students,
            }
        )

    def seconds(self, clouds: int, epochs: int, tests: int) -> float:
        """Wall seconds of training on so many clouds and of so many test clouds."""
        return self.step * clouds / self.batch * epochs + self.tested * tests


def undisturbed(clock: Clock, hardware: Hardware) -> float:
    """The seconds that a phase would have taken on a machine without other work; of a GPU its wall time.

    One thread that waits for nobody works all the time; several work for BUSY of it at least.
    """
    if clock.processor_seconds is None or hardware.device != "cpu":
        return clock.seconds
    threads = min(hardware.threads, hardware.cpu_cores)
    return min(clock.seconds, clock.processor_seconds / (threads * BUSY if threads > 1 else 1))
