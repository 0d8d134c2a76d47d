"""Tests on another data set: the classes that both have, and the test clouds of these alone.

Students know all classes of the clouds that they were trained on; on another data set they choose among the
shared ones. They are thus the same students that take the plain test, whatever the other data set is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pcbench.api import Splits
from pcbench.clouds import of_classes
from pcbench.common.files import digest
from pcbench.errors import DataError, UsageError

# fmt: off
SHARED: Mapping[frozenset[str], tuple[str, ...]] = {
    frozenset({"modelnet40", "shapenet55"}): (
        "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "guitar",
        "keyboard", "lamp", "laptop", "piano", "sofa", "table",
    ),
}
# fmt: on
"""The classes that two data sets share, called alike in both, in the order of their labels in a test.

Of ModelNet40 and ShapeNet those that ShapeNet's own taxonomy (Chang et al. 2015) calls as ModelNet does, be
it within a longer name ("computer keyboard"): the 16 that SADM's authors take (their code, Feb 2026).
`monitor` is not among them: of ShapeNet it is pcbench's name for "display, video display", a wider class.
"""


def shared(one: str, other: str) -> tuple[str, ...]:
    """The classes that two data sets share; UsageError for a pair that SHARED does not have."""
    try:
        return SHARED[frozenset({one, other})]
    except KeyError as error:
        pairs = "; ".join(" and ".join(sorted(pair)) for pair in SHARED)
        raise UsageError(
            f"--test on={other}: which classes it shares with {one} is not known. Known: {pairs}"
        ) from error


def narrowed(splits: Splits, name: str, classes: tuple[str, ...]) -> Splits:
    """The clouds of some classes alone, labelled anew in their order; DataError where one is not there."""
    absent = [each for each in classes if each not in splits.test.class_names]
    if absent:
        raise DataError(f"{name} has no class {absent[0]!r}: import it again from one of its public copies")
    how = {"whole": splits.content_hash, "answers": list(classes)}
    train, test = (of_classes(clouds, classes) for clouds in (splits.train, splits.test))
    return replace(splits, train=train, test=test, content_hash=digest(how))
