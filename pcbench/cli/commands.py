"""What all commands have in common: how --help reads, and that no value is dropped without a word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption
from typer.main import get_command_name

from pcbench.errors import UsageError

EXAMPLES: Mapping[str, str] = {
    "run": "run --method sadm,random --dataset modelnet10 --ppc 1,3 --protocol lite",
    "plan": "plan --suite table1 --out plan.json",
    "status": "status results --why",
    "retry": "retry results --failed --timeout 2h",
    "evaluate": "evaluate latest --backbone dgcnn,pointnet2 --test plain,so3",
    "import-set": "import-set res_DC.pt --method dc-authors --dataset modelnet10 --protocol paper",
    "compare": "compare random sadm 'sadm lr=5'",
    "tune": "tune dm --set lr=0.1,1,10 --dataset modelnet10 --ppc 1",
    "submit": "submit results --plugins my_methods --license MIT --out mine",
    "verify": "verify submissions/mine --sample 3",
    "show": "show latest --initial --class chair",
    "export": "export latest --format ply",
    "list": "list methods",
    "info": "info sadm",
    "check": "check my_methods/my_method.py --iterations 20",
    "new": "new method my_method --folder my_methods",
    "bench": "bench sadm students --dataset modelnet10",
    "docs": "docs statistics",
    "doctor": "doctor --plugins my_methods",
    "data fetch": "data fetch modelnet40",
    "data import": "data import modelnet40 ~/Downloads/modelnet40_normal_resampled",
    "data list": "data list --json",
    "data show": "data show shapes10 --class chair --count 4",
    "data verify": "data verify modelnet40",
    "data remove": "data remove modelnet40",
    "leaderboard build": "leaderboard build --results results --out site",
    "leaderboard serve": "leaderboard serve --port 8080",
    "leaderboard check": "leaderboard check --site site",
    "results list": "results list",
    "results table": "results table --format latex > table.tex",
    "results hard": "results hard --count 5",
    "results ensembles": "results ensembles",
    "results export": "results export results --by 'Our Laboratory' --out every_eval_ever",
    "results validate": "results validate mine --against origin/main:submissions",
    "results collect": "results collect submissions leaderboard/results --out records",
    "results fields": "results fields",
    "results migrate": "results migrate results",
    "results merge": "results merge node1/results node2/results --out results",
    "results gc": "results gc results --dry-run",
}
"""An example of each command, as --help shows it."""

READ_AS = {"str": "TEXT", "int": "N", "float": "X", "path": "PATH", "int range": "N", "float range": "X"}
"""Types of values as people read them, where an option does not say more."""


class Command(TyperCommand):
    """A command of pcbench."""

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

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002
        """Its first sentence, whole: a list of commands wraps it."""
        return super().get_short_help_str(limit=1000)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Its arguments and options, with types that people read."""
        for kind in ("argument", "option"):
            records = [
                (_readable(record[0], kind), record[1])
                for parameter in self.get_params(ctx)
                if parameter.param_type_name == kind and (record := parameter.get_help_record(ctx))
            ]
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)


def _readable(names: str, kind: str) -> str:
    """`--seeds <int>` as `--seeds N`; an argument goes by its name alone, unless it is a choice."""

    def replaced(match: re.Match[str]) -> str:
        word = READ_AS.get(match[2].lower())
        return match[0] if word is None else "" if kind == "argument" else f" {word}"

    return re.sub(r" <(list\[)?([A-Za-z ]+)\]?>(\.\.\.)?", replaced, names)


def _single(option: TyperOption) -> bool:
    return not (option.multiple or option.is_flag or option.count)


def settle(app: typer.Typer, before: str = "") -> None:
    """Make all commands of an app, and of the apps within it, such commands, each with its example."""
    for command in app.registered_commands:
        name = command.name or get_command_name(command.callback.__name__ if command.callback else "")
        example = EXAMPLES.get(before + name)
        command.cls = Command
        command.epilog = f"Example: pcbench {example}" if example else None
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group.short_help = group.typer_instance.info.help  # a summary of its own is never cut
            settle(group.typer_instance, f"{group.name} ")
