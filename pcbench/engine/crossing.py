"""Tests on another data set: the classes that both have, and the test clouds of these alone.

Students know all classes of the clouds that they were trained on; on another data set they choose among the
shared ones. They are thus the same students that take the plain test, whatever the other data set is.
"""

from __future__ import annotations

from dataclasses import replace

from pcbench.api import Dataset, Splits
from pcbench.catalogue.registry import Registry
from pcbench.clouds import of_classes
from pcbench.common.files import digest
from pcbench.errors import DataError, UsageError


def shared(datasets: Registry[Dataset], one: str, other: str) -> tuple[str, ...]:
    """The classes that two data sets share, as either says in `shares`; UsageError where neither does."""
    first, second = datasets.load(one), datasets.load(other)
    classes = first.shares.get(other) or second.shares.get(one)
    if classes:
        return classes
    usable = [datasets.load(plugin.name) for plugin in datasets.plugins() if plugin.error is None]
    pairs = sorted({" and ".join(sorted((each.name, name))) for each in usable for name in each.shares})
    raise UsageError(
        f"test on {other}: which classes it shares with {one} is not known: one of them has to say so. "
        f"Known: {'; '.join(pairs) or 'none'}",
        "test",
    )


def narrowed(splits: Splits, name: str, classes: tuple[str, ...]) -> Splits:
    """The clouds of some classes alone, labelled anew in their order; DataError where one is not there."""
    absent = [each for each in classes if each not in splits.test.class_names]
    if absent:
        raise DataError(f"{name} has no class {absent[0]!r}: import it again from one of its public copies")
    how = {"whole": splits.content_hash, "answers": list(classes)}
    train, test = (of_classes(clouds, classes) for clouds in (splits.train, splits.test))
    return replace(splits, train=train, test=test, content_hash=digest(how))
