"""Each backbone's own way of training on the whole split, as data: one TOML file a backbone.

They make the protocol `standard`, by which a backbone is checked against its published accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from pcbench.common.packaged import builtin
from pcbench.common.schema import Model
from pcbench.common.toml import read_toml
from pcbench.errors import UsageError
from pcbench.protocols.protocol import STANDARD, Protocol, Recipe

Name: TypeAlias = Annotated[str, Field(min_length=1)]


class Published(Model):
    """An accuracy that others report. oa: overall accuracy in percent. points: of each of their clouds."""

    dataset: Name
    preset: Name
    points: int = Field(ge=1)
    oa: float = Field(gt=0, le=100)
    source: Name


class BackboneRecipe(Model):
    """The recipe of one backbone. preset: the one that it is of. source: the paper and the code."""

    backbone: Name
    preset: Name
    source: Name
    published: tuple[Published, ...] = ()
    recipe: Recipe

    @property
    def summary(self) -> str:
        """The source and what is published, in one line."""
        figures = [f"{each.oa} % on {each.dataset} ({each.preset}; {each.source})" for each in self.published]
        return f"{self.source}; published {', '.join(figures)}" if figures else self.source


def folder() -> Path:
    """Where the recipes of the built-in backbones stand."""
    return builtin("leaderboard/recipes")


def listing() -> list[BackboneRecipe]:
    """The built-in recipes, by backbone."""
    return [read(path) for path in sorted(folder().glob("*.toml"))]


def locate(backbone: str, beside: Path) -> Path | None:
    """The file of a backbone's recipe: the built-in one, or NAME.toml in the folder `beside` of its file."""
    files = (folder() / f"{backbone}.toml", beside / f"{backbone}.toml")
    return next((path for path in files if path.is_file()), None)


def find(backbone: str, beside: Path) -> BackboneRecipe:
    """The recipe of a backbone, from the file that `locate` gives.

    UsageError where there is none, or where it is of another backbone.
    """
    path = locate(backbone, beside)
    if path is None:
        raise UsageError(
            f"protocol {STANDARD.name}: backbone {backbone!r} has no recipe of its own: "
            f"write {beside / f'{backbone}.toml'}, as {folder() / 'dgcnn.toml'} is written"
        )
    found = read(path)
    if found.backbone != backbone:
        raise UsageError(f"{path}: backbone: is {found.backbone!r}, but the file is named for {backbone!r}")
    return found


def followed(protocol: Protocol, backbone: str, beside: Path) -> Protocol:
    """The protocol for one backbone: `standard` with the backbone's recipe, any other as it is.

    beside: the folder of the backbone's file. Raises UsageError as `find` does.
    """
    if protocol is not STANDARD:
        return protocol
    return protocol.model_copy(update={"whole": find(backbone, beside).recipe})


def read(path: Path) -> BackboneRecipe:
    """The recipe in a file; UsageError with the file and the place of what is wrong."""
    return read_toml(path, BackboneRecipe, "recipe")
