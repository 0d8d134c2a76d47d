"""The strips of clouds of the board's pages: one class, method beside method, where clouds may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pcbench.records import layout
from pcbench.records.models import Run
from pcbench.records.store import read_run
from pcbench.report.compared import grounded
from pcbench.report.front import Choice, Strip, likeness
from pcbench.report.gather import Gathered
from pcbench.report.viewer import Clouds

MOST = 12
"""So many methods stand in a strip at most, those with the best accuracy."""

NOT_HERE = "No clouds are shown: those of {data} may not be passed on, or are not where this board was built."
ELSEWHERE = "Clouds of {title}: those of {data} may not be passed on, or are not where this board was built."

Files = list[tuple[str, str | bytes]]


class Strips:
    """The strips of all pages, and the files that they need."""

    def __init__(self, choices: Sequence[Choice], gathered: Gathered, clouds: Clouds) -> None:
        self.files: Files = []
        self._strips: dict[str, Strip] = {}
        self._choices = choices
        for choice in choices:
            strip = self._made(choice, gathered, clouds)
            if strip is not None:
                self._strips[choice.page] = strip

    def of(self, choice: Choice) -> Strip:
        """The strip of a page; where its own clouds may not be shown, that of the page most like it."""
        if choice.page in self._strips:
            return self._strips[choice.page]
        others = [each for each in self._choices if each.page in self._strips]
        if not others:
            return Strip(note=NOT_HERE.format(data=choice.words["Data set"]))
        other = max(others, key=lambda each: likeness(each, choice))
        note = ELSEWHERE.format(title=other.title, data=choice.words["Data set"])
        strip = self._strips[other.page]
        return Strip(strip.name, strip.tiles, strip.class_name, note)

    def _made(self, choice: Choice, gathered: Gathered, clouds: Clouds) -> Strip | None:
        runs = list(_runs(choice, gathered, clouds))
        name = choice.page.removeprefix("board/")
        if len(runs) < 2:
            return None
        found = clouds.side_by_side(name, f"Distilled clouds, {choice.title}", runs)
        if found is None:
            return None
        self.files += [
            (f"clouds/{name}.js", found.shown.script),
            (f"pictures/{name}.png", found.shown.picture),
        ]
        return Strip(name, found.pages, found.class_name)


def _runs(choice: Choice, gathered: Gathered, clouds: Clouds) -> Iterator[tuple[str, Run]]:
    """The first run of every method on a page, the best first, of which there are clouds to show."""
    place = choice.place
    if place.whole or not clouds.may_show_data(place.name):
        return
    rows = [row for row in choice.cut.rows if place in row.cells]
    for row in grounded(rows, (place,), choice.cut.asked).rows[:MOST]:
        folder = gathered.kept[row.cells[place].pages[0]].folder
        if layout.clouds(folder).is_file():
            yield row.entry.title, read_run(folder)[0]
