"""`pcbench new`: writes a method, backbone or data set that works, in one file, with its test."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import PluginFolders, opened, say
from pcbench.errors import UsageError

if TYPE_CHECKING:
    from pcbench.catalogue import Catalogue

STARTERS = Path(__file__).resolve().parents[1] / "catalogue" / "starters"
"""Where the templates of the files are."""


class Made(enum.StrEnum):
    """What can be begun."""

    method = "method"
    backbone = "backbone"
    dataset = "dataset"


USES = {
    Made.method: "--method {name},random",
    Made.backbone: "--method random --backbone {name}",
    Made.dataset: "--method random --dataset {name} --protocol quick",
}
"""Options of `pcbench run` that use what was begun."""


def new(
    kind: Annotated[Made, typer.Argument(help="What to begin.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name: letters, digits and _, as in my_method.")
    ],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the files go.")] = Path(),
    plain: Annotated[
        bool, typer.Option("--plain", help="A backbone of ordinary torch layers, without pcbench's own.")
    ] = False,
    parameterised: Annotated[
        bool,
        typer.Option(
            "--parameterised", help="A method whose set is kept as parameters that make its clouds."
        ),
    ] = False,
    folders: PluginFolders = None,
) -> None:
    """Write NAME.py, a plugin that works, and test_NAME.py, its test. No file is ever overwritten."""
    import shlex
    from string import Template

    from pcbench.catalogue.kinds import LABELS
    from pcbench.common.files import write_text

    if plain and kind is not Made.backbone:
        raise UsageError("--plain is of a backbone: pcbench new backbone NAME --plain")
    if parameterised and kind is not Made.method:
        raise UsageError("--parameterised is of a method: pcbench new method NAME --parameterised")
    _check_name(kind, name, opened(folders))
    template = "module.py.txt" if plain else "parameters.py.txt" if parameterised else f"{kind}.py.txt"
    paths = {"test.py.txt": folder / f"test_{name}.py", template: folder / f"{name}.py"}
    for path in paths.values():
        if path.exists():
            raise UsageError(f"{path} is there already: choose another name, or another --folder")
    words = {"kind": LABELS[kind.value], "name": name, "class_name": _class_name(name), "title": _title(name)}
    for template, path in paths.items():
        write_text(path, Template((STARTERS / template).read_text(encoding="utf-8")).substitute(words))
        say(f"wrote {path}")
    say("Next:")
    say(f"  pcbench check {shlex.quote(str(folder / name))}.py")
    say(f"  pcbench run --plugins {shlex.quote(str(folder))} {USES[kind].format(name=name)}")


def _check_name(kind: Made, name: str, catalogue: Catalogue) -> None:
    """UsageError for a name that no file, class or test of Python could carry, or that is taken."""
    import importlib.util
    import keyword
    import re

    from pcbench.catalogue.kinds import LABELS

    fitting = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or keyword.iskeyword(name):
        remedy = f"try {fitting}" if fitting.isidentifier() and fitting != name else "try my_" + kind.value
        raise UsageError(f"{name!r} is no name of a Python module: {remedy}")
    if name.startswith("test_") or name == "conftest":
        raise UsageError(f"{name!r} is a name of tests, which are no plugins: try {kind.value}_{name}")
    registry = catalogue.registries()[kind.value]
    if name in registry:
        raise UsageError(
            f"{LABELS[kind.value]} {name!r} is there already ({registry.get(name).origin}): try my_{name}"
        )
    if importlib.util.find_spec(name) is not None:
        raise UsageError(f"{name!r} is the name of an installed Python module: try my_{name}")


def _class_name(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()
