"""The commands that make a run again, from what it depended on: no folder and no host of who made it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pcbench.protocols.variants import PLAIN
from pcbench.records.inputs import EvaluationInputs
from pcbench.records.models import Run
from pcbench.report.text import plain, shown
from pcbench.report.values import USUAL_DRAW


def again(run: Run) -> str:
    """`pcbench run …` for a distillation and its plain test, `pcbench evaluate …` for all other tests."""
    evaluated = [evaluation.inputs for evaluation in run.evaluations]
    own = run.distillation.inputs.network.label
    usual = [each for each in evaluated if each.network.label == own and each.variant == PLAIN]
    others = [_evaluate(run, each) for each in evaluated if each not in usual[:1]]
    return "\n".join([_run(run, next(iter([*usual, *evaluated]), None)), *others])


def _run(run: Run, evaluated: EvaluationInputs | None) -> str:
    inputs = run.distillation.inputs
    setting = f":{inputs.setting}" if inputs.setting else ""
    words = ["--method", f"{inputs.method}{setting}", "--dataset", inputs.data.name]
    words += [] if inputs.is_whole else ["--ppc", str(inputs.ppc)]
    words += ["--backbone", inputs.network.label]
    words += ["--protocol", evaluated.protocol.base] if evaluated else []
    words += ["--draw", inputs.draw] if inputs.draw != USUAL_DRAW else []
    words += ["--repetition", str(inputs.repetition)] if inputs.repetition else []
    changes = evaluated.protocol.changes if evaluated else {}
    return _line(["pcbench", "run", *words, *_set({**inputs.variation, **changes})])


def _evaluate(run: Run, inputs: EvaluationInputs) -> str:
    test = [] if inputs.variant == PLAIN else ["--test", inputs.variant.label]
    student = ["--backbone", inputs.network.label]
    return _line(["pcbench", "evaluate", f"results/{run.folder.name}", *student, *test])


def _set(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in sorted(values.items()):
        yield from ("--set", f"{key}={shown(value)}")


def _line(words: list[str]) -> str:
    return plain(shlex.join(words))
