"""Which runs' clouds a site shows: those that may be passed on, where torch is there to draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcbench.catalogue import Registry
from pcbench.catalogue.registry import redistributable
from pcbench.common.files import digest
from pcbench.common.installed import has_torch
from pcbench.errors import DataError, PcbenchError
from pcbench.records import layout
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import Run
from pcbench.report.results import page_name
from pcbench.report.text import plain

if TYPE_CHECKING:
    from pcbench.api import Splits
    from pcbench.look.pictures import Up

TELLING = ("chair", "airplane", "lamp")
"""The classes that are shown first where a data set has them, for everybody knows what they look like."""

WITHOUT_TORCH = "torch is not installed: clouds, pictures and the methods' parameters are not shown"
"""What a build without torch says once."""


@dataclass(frozen=True)
class Shown:
    """What a run's page needs for its clouds."""

    script: str
    """What the viewer loads, JavaScript."""
    picture: bytes
    """The same as a picture for where the viewer cannot run, PNG."""


@dataclass(frozen=True)
class Beside:
    """Clouds of several runs side by side."""

    shown: Shown
    """What shows them; the picture has them one below another."""
    pages: tuple[tuple[str, str], ...]
    """Of each its words, and the page of its run."""
    class_name: str
    """The class of the picture."""


@dataclass
class Clouds:
    """Decides which clouds may be shown, and makes what shows them; none where torch is not installed.

    Only a data set that stands here and is the run's own, by its hash, can say that its clouds may be shown.
    """

    datasets: Registry[Any]
    """The data sets that are known here."""
    with_real: bool
    """Whether also clouds are shown whose owners do not let them be passed on, for local use."""
    problems: list[str] = field(default_factory=list)
    """A line for every run whose clouds should be shown and cannot."""
    _loaded: dict[tuple[str, int], Splits | None] = field(default_factory=dict)
    """Data sets by name and points, None where they are not here."""

    def of(self, run: Run) -> Shown | None:
        """The clouds of a run: as they began, distilled, the nearest training clouds; None if not shown."""
        if not self._may_show(run):
            return None
        distillation = run.distillation
        from pcbench.report.scenes import scene

        splits = self._splits(distillation.inputs)
        try:
            name, up = page_name(distillation.key), self._up(distillation.inputs)
            return Shown(*scene(layout.clouds(run.folder), distillation, name, splits, up))
        except DataError as error:
            self.problems.append(f"the clouds of {run.folder}: {error}")
            return None

    def shows(self, run: Run) -> str:
        """A hash of what decides how a run's clouds are shown, beside these; empty where they are not."""
        if not self._may_show(run):
            return ""
        inputs = run.distillation.inputs
        splits = self._splits(inputs)
        return digest([splits.content_hash if splits else "", self._up(inputs)])

    def side_by_side(self, name: str, title: str, runs: Sequence[tuple[str, Run]]) -> Beside | None:
        """The first cloud of each class of several runs on one data set; None of fewer than two.

        name: of the script. title: of the picture. runs: with the words of each.
        """
        if not has_torch():
            return None
        from pcbench.report import scenes

        shown, pages = [], []
        for words, run in runs:
            if self._may_show(run):
                try:
                    clouds = scenes.firsts(layout.clouds(run.folder), run.distillation)
                except DataError:
                    continue  # its own page has told
                shown.append(scenes.Shown(clouds, words))
                pages.append((words, page_name(run.distillation.key)))
        names = {each.clouds.class_names for each in shown}
        if len(shown) < 2 or len(names) > 1:
            return None
        classes = names.pop()
        label = next((classes.index(each) for each in TELLING if each in classes), 0)
        up = self._up(runs[0][1].distillation.inputs)
        made = Shown(*scenes.strip(name, title, shown, label, up))
        return Beside(made, tuple(pages), plain(classes[label]))

    def _may_show(self, run: Run) -> bool:
        """Whether the clouds of a run are here and may be passed on, by the data set that stands here."""
        inputs = run.distillation.inputs
        there = not inputs.is_whole and run.distillation.snapshots and layout.clouds(run.folder).is_file()
        if not (has_torch() and there):
            return False
        return self.with_real or (self.may_show_data(inputs.data.name) and self._splits(inputs) is not None)

    def may_show_data(self, name: str) -> bool:
        """Whether clouds of a data set of that name may be shown at all."""
        return self.with_real or redistributable(name, self.datasets)

    def _up(self, inputs: DistillationInputs) -> Up:
        known = inputs.data.name in self.datasets
        return self.datasets.load(inputs.data.name).up_axis if known else "y"

    def _splits(self, inputs: DistillationInputs) -> Splits | None:
        """The data set of a run, where this machine has it with the same content."""
        key = inputs.data.name, inputs.data.points
        if key not in self._loaded:
            try:
                self._loaded[key] = self.datasets.load(key[0])().load(key[1])
            except PcbenchError:
                self._loaded[key] = None
        found = self._loaded[key]
        return found if found and found.content_hash == inputs.data.hash else None
