"""Commands that refuse an option that takes one value and is given several times."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from pcbench.errors import UsageError


class OnceCommand(TyperCommand):
    """A command that never takes the last of several values without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As that of Typer; UsageError for a repeated option that takes one value."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = Counter(
            option.name for option in order if isinstance(option, TyperOption) and _single(option)
        )
        for option in order:
            if given[option.name] > 1:
                raise UsageError(
                    f"{max(option.opts, key=len)} is given {given[option.name]} times and takes one value"
                )
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def _single(option: TyperOption) -> bool:
    return not (option.multiple or option.is_flag or option.count)


def refuse_repetitions(app: typer.Typer) -> None:
    """Make all commands of an app, and of the apps within it, such commands."""
    for command in app.registered_commands:
        command.cls = OnceCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            refuse_repetitions(group.typer_instance)
