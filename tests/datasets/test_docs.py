"""The table of docs/data.md says of every data set what its code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from built_in import CATALOGUE

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = {
    row[0]: row[1:]
    for row in re.findall(r"^\| `([\w:]+)` \| ([^|]+) \| ([^|]+) \| (\w+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
}


def test_every_data_set_has_a_row():
    assert sorted(ROWS) == sorted(CATALOGUE.datasets.names())


@pytest.mark.parametrize("name", [name for name in CATALOGUE.datasets.names() if name != "folder"])
def test_its_figures_are_those_of_the_code(name):
    classes, sizes, up, _ = ROWS[name]
    dataset = CATALOGUE.datasets.load(name)
    counts = {"its ten furniture classes": 10}
    assert counts.get(classes) or int(re.match(r"\d+", classes)[0]) == dataset.classes
    assert up == dataset.up_axis
    if sizes == "not published":
        assert (dataset.releases, dataset.train_size, dataset.test_size) == ((), 1, 1)
        return
    releases = [tuple(map(int, pair.split("/"))) for pair in sizes.removeprefix("up to ").split(", or ")]
    assert (dataset.train_size, dataset.test_size) in releases
    if sizes.startswith("up to "):
        assert dataset.releases == ()
        assert dataset.at_most
    else:
        assert sorted(releases) == sorted(getattr(dataset, "releases", releases[:1]))
