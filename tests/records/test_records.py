"""A record reads back as it was written; an altered or misplaced one is refused with its reason."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from record_parts import DATA, NETWORK, a_distillation_inputs, scores_of

from pcbench.common.files import digest
from pcbench.common.text import one_line
from pcbench.errors import DataError
from pcbench.protocols import recipes
from pcbench.protocols.protocol import PAPER, QUICK, STANDARD, Protocol, customised
from pcbench.protocols.variants import named
from pcbench.records import layout, store
from pcbench.records.circumstances import Clock, Hardware, Memory, Provenance
from pcbench.records.division import division
from pcbench.records.inputs import DistillationInputs, EvaluationInputs, Network
from pcbench.records.layout import run_folder
from pcbench.records.models import DistillationRecord, EvaluationRecord, Isolation, Run, SnapshotEntry, Work
from pcbench.records.store import read_distillation, read_evaluation, read_runs, write_record
from pcbench.records.values import accuracies
from pcbench.records.verifications import VerificationRecord, concluded, verdict

TINY = customised(QUICK, {"students": 2, "iterations": 20, "snapshot_every": 10})
TOTALS = [4, 0, 5]
RIGHT = [[4, 0, 1], [2, 0, 5]]
MEMORY = Memory(host_bytes=1 << 30, device_bytes=None)
PROVENANCE = Provenance(
    created="2026-01-01T00:00:00+00:00",
    command=["pcbench", "run"],
    python="3.11.9",
    platform="Linux",
    packages={"torch": "2.13.0"},
    git_commit="c" * 40,
    git_dirty=False,
    hardware=Hardware(device="cpu", name="A CPU", cpu_cores=2, threads=2, memory_bytes=1),
)


def made_from(**changes: Any) -> DistillationInputs:
    values: dict[str, Any] = {
        "params": {"lr": 10.0, "loss": "l1", "rounds": 3, "joint": None},
        "variation": {"rounds": 3},
        "iterations": TINY.iterations,
        "snapshots": list(TINY.snapshots),
    }
    return a_distillation_inputs(**values | changes)


def a_distillation(**changes: Any) -> DistillationRecord:
    inputs = changes.pop("inputs", made_from())
    values: dict[str, Any] = {
        "key": inputs.key,
        "status": "ok",
        "inputs": inputs,
        "snapshots": [
            SnapshotEntry(iteration=i, seconds=i / 7, clouds=digest(["clouds", i, inputs.key]))
            for i in inputs.snapshots
        ],
        "clock": Clock(seconds=20 / 7, processor_seconds=5.0),
        "memory": MEMORY,
        "provenance": PROVENANCE,
    }
    return DistillationRecord(**values | changes)


def an_evaluation(
    made: DistillationRecord, protocol: Protocol = TINY, network: Network = NETWORK, **changes: Any
) -> EvaluationRecord:
    inputs = EvaluationInputs(
        distillation=made.key,
        data=made.inputs.data,
        network=network,
        protocol=protocol,
        repetitions=list(range(protocol.students)),
    )
    share = Work(
        iterations=changes.pop("trained", []),
        train=Clock(seconds=1.5),
        test=Clock(seconds=0.1),
        memory=MEMORY,
        provenance=PROVENANCE,
    )
    values: dict[str, Any] = {
        "key": inputs.key,
        "inputs": inputs,
        "totals": TOTALS,
        "snapshots": [scores_of(RIGHT, TOTALS, entry.iteration, entry.clouds) for entry in made.snapshots],
        "work": [share],
    }
    return EvaluationRecord(**values | changes)


def test_another_test_is_another_evaluation_and_reads_back(tmp_path):
    made = a_distillation()
    plain = an_evaluation(made)
    keys = {plain.key}
    for label in ("so3", "jitter:1", "jitter:2"):
        inputs = plain.inputs.model_copy(update={"variant": named(label, "three", "y")})
        record = an_evaluation(made, inputs=inputs, key=inputs.key)
        write_record(tmp_path / "evaluation.json", record)
        assert read_evaluation(tmp_path / "evaluation.json") == record
        keys.add(record.key)
    assert len(keys) == 4
    with pytest.raises(ValueError, match="points=512"):
        EvaluationInputs(**dict(plain.inputs) | {"variant": named("points=512", "three", "y")})


def altered(record: Any, field: str, value: Any, rekeyed: bool = False) -> dict[str, Any]:
    """The record as JSON with one value changed, at a dotted place; rekeyed: with the key that then fits."""
    data: dict[str, Any] = copy.deepcopy(record.model_dump(mode="json"))
    *way, last = [int(part) if part.isdigit() else part for part in field.split(".")]
    place: Any = data
    for part in way:
        place = place[part]
    assert isinstance(place, list) or last in place or last == "unknown"
    place[last] = value
    if rekeyed:
        with contextlib.suppress(ValidationError):
            data["key"] = type(record.inputs).model_validate(data["inputs"]).key
    return data


def refusal(path: Path, read: Callable[[Path], Any], text: str) -> str:
    """What is said against a file of this text, its own name left out; it must be named and on one line."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# Reading and writing


def test_records_read_back_as_they_were_written(tmp_path):
    made = a_distillation()
    scored = an_evaluation(made)
    write_record(tmp_path / "d.json", made)
    write_record(tmp_path / "e.json", scored)
    assert read_distillation(tmp_path / "d.json") == made
    assert read_evaluation(tmp_path / "e.json") == scored
    assert scored.headline is scored.snapshots[-1]
    for name in ("d.json", "e.json"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert list(json.loads(text)) == sorted(json.loads(text))
        assert "Küche" in text
        assert not text.endswith("\n\n")


def test_writing_twice_gives_the_same_bytes(tmp_path):
    write_record(tmp_path / "one.json", an_evaluation(a_distillation()))
    write_record(tmp_path / "two.json", read_evaluation(tmp_path / "one.json"))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


# Records that were altered

DISTILLATION_INPUTS = [
    ("inputs.method", "dm"),
    ("inputs.params.lr", 11.0),
    ("inputs.variation.rounds", 4),
    ("inputs.source", "0" * 64),
    ("inputs.data.hash", "0" * 64),
    ("inputs.data.sampling", "random"),
    ("inputs.ppc", 2),
    ("inputs.network.preset", "canonical"),
    ("inputs.whole.lr", 0.5),
    ("inputs.repetition", 1),
    ("key", "0" * 64),
]


@pytest.mark.parametrize(("field", "value"), DISTILLATION_INPUTS)
def test_altered_distillation_inputs_are_refused(tmp_path, field, value):
    text = json.dumps(altered(a_distillation(), field, value))
    said = refusal(tmp_path / "d.json", read_distillation, text)
    assert said == "record: Value error, the key is not the hash of the inputs"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inputs.distillation", "0" * 64),
        ("inputs.data.hash", "0" * 64),
        ("inputs.network.source", "0" * 64),
        ("inputs.repetitions", [0, 2]),
        ("inputs.protocol.recipe.epochs", 61),
        ("key", "0" * 64),
    ],
)
def test_altered_evaluation_inputs_are_refused(tmp_path, field, value):
    text = json.dumps(altered(an_evaluation(a_distillation()), field, value))
    said = refusal(tmp_path / "e.json", read_evaluation, text)
    assert said == "record: Value error, the key is not the hash of the inputs"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("snapshots.0.oa.1", 0.9, "snapshot 0: a score does not follow from its counts"),
        ("snapshots.1.macc.0", 0.6000001, "snapshot 10: a score does not follow from its counts"),
        ("snapshots.2.correct.1.2", 4, "snapshot 20: a score does not follow from its counts"),
        ("snapshots.2.correct.1.2", 6, "counts of right answers must lie between 0"),
        ("snapshots.2.correct.1.2", -1, "counts of right answers must lie between 0"),
        ("snapshots.2.correct.0", [4, 0], "counts of right answers must lie between 0"),
        ("snapshots.2.correct", [[4, 0, 1]], "snapshot 20: one score per student is needed"),
        ("snapshots.2.oa", [], "snapshot 20: one score per student is needed"),
        ("snapshots.2.macc", [0.5, 0.5, 0.5], "snapshot 20: one score per student is needed"),
        ("totals.0", 5, "snapshot 0: a score does not follow from its counts"),
        ("totals", [4, 5], "totals must give the test clouds of every class"),
        ("totals", [4, -1, 5], "totals.1: Input should be greater than or equal to 0"),
        ("totals", [0, 0, 0], "counts of right answers must lie between 0"),
        ("snapshots", [], "snapshots: List should have at least 1 item"),
    ],
)
def test_altered_scores_are_refused(tmp_path, field, value, words):
    text = json.dumps(altered(an_evaluation(a_distillation()), field, value))
    assert words in refusal(tmp_path / "e.json", read_evaluation, text)


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 0], [0, 1, 2, 2]])
def test_scored_snapshots_stand_once_and_in_order(tmp_path, order):
    scored = an_evaluation(a_distillation())
    scores = scored.model_dump(mode="json")["snapshots"]
    text = json.dumps(altered(scored, "snapshots", [scores[place] for place in order]))
    assert "by ascending iteration, each once" in refusal(tmp_path / "e.json", read_evaluation, text)


@pytest.mark.parametrize("repetitions", [[0], [0, 0], [0, 1, 2]])
def test_one_distinct_repetition_per_student_is_needed(tmp_path, repetitions):
    text = json.dumps(
        altered(an_evaluation(a_distillation()), "inputs.repetitions", repetitions, rekeyed=True)
    )
    assert "the repetitions must be distinct" in refusal(tmp_path / "e.json", read_evaluation, text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "quick"),
        ("name", "paper"),
        ("name", "mine"),
        ("base", "paper"),
        ("base", "mine"),
        ("changes", {}),
        ("changes", {"students": 2, "iterations": 20, "snapshot_every": 20}),
        ("changes", {"students": 2, "iterations": 20, "snapshot_every": 10, "nothing": 1}),
        ("recipe.epochs", 61),
        ("points", 65),
    ],
)
def test_a_protocol_must_be_what_it_is_called(tmp_path, field, value):
    """Also where the key fits: neither a changed standard protocol nor a custom one that hides a change."""
    record = altered(an_evaluation(a_distillation()), f"inputs.protocol.{field}", value, rekeyed=True)
    said = refusal(tmp_path / "e.json", read_evaluation, json.dumps(record))
    called = value if field == "name" else "custom"
    assert said == f"record: Value error, the protocol is not the one that is called {called!r}"


def test_a_changed_standard_protocol_is_refused(tmp_path):
    data = DATA.model_copy(update={"points": QUICK.points})
    made = a_distillation(inputs=made_from(data=data, iterations=60, snapshots=[0, 60]))
    scores = [scores_of(RIGHT * 5, TOTALS, i, "9" * 64) for i in (0, 60)]
    scored = an_evaluation(made, QUICK, snapshots=scores)
    write_record(tmp_path / "good.json", scored)
    assert read_evaluation(tmp_path / "good.json") == scored
    record = altered(scored, "inputs.protocol.recipe.lr", 0.02, rekeyed=True)
    said = refusal(tmp_path / "e.json", read_evaluation, json.dumps(record))
    assert said == "record: Value error, the protocol is not the one that is called 'quick'"


# Confusion: totals 4, 0, 5; right answers of both students 6, 0, 6

CONFUSION = [[6, 1, 1], [0, 0, 0], [4, 0, 6]]


def test_a_confusion_is_kept_and_is_in_no_key(tmp_path):
    made = a_distillation()
    scored = an_evaluation(made, confusion=CONFUSION)
    assert scored.key == an_evaluation(made).key
    write_record(tmp_path / "e.json", scored)
    assert read_evaluation(tmp_path / "e.json").confusion == CONFUSION


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        ([[5, 2, 1], [0, 0, 0], [4, 0, 6]], "other right answers than the last snapshot"),
        ([[6, 1, 2], [0, 0, 0], [4, 0, 6]], "not every answer of every student"),
        ([[6, 1, 1], [0, 0, 0]], "a row and a column for every class"),
        ([[6, 1], [0, 0], [4, 0]], "a row and a column for every class"),
        ([[6, 3, -1], [0, 0, 0], [4, 0, 6]], "greater than or equal to 0"),
    ],
)
def test_a_confusion_must_fit_the_counts(confusion, words):
    with pytest.raises(ValueError, match=words):
        an_evaluation(a_distillation(), confusion=confusion)


# Divisions


def _whole_of(network: str) -> Any:
    return next(each.recipe for each in recipes.listing() if each.backbone == network)


def test_only_a_standard_protocol_on_standard_data_is_in_the_closed_division(tmp_path):
    inputs = made_from(iterations=60, snapshots=[0, 60], whole=QUICK.whole)
    made = a_distillation(inputs=inputs)
    scores = [scores_of(RIGHT * 5, TOTALS, i, "9" * 64) for i in (0, 60)]
    closed = an_evaluation(made, QUICK, snapshots=scores)

    def of(scored: EvaluationRecord = closed, made: DistillationRecord = made, **changes: Any) -> str:
        inputs = scored.inputs.model_copy(update=changes)
        return division(Run(tmp_path, made, (scored.model_copy(update={"inputs": inputs}),)))

    assert of() == "closed"
    assert of(variant=named("jitter:3", "three", "y")) == of(variant=named("so3", "three", "y")) == "closed"
    assert of(variant=named("jitter:3", "three", "y").model_copy(update={"amount": 0.001})) == "open"
    assert of(repetitions=[*range(1, 11)]) == "open"
    assert of(data=DATA.model_copy(update={"standard": False})) == "open"
    assert of(an_evaluation(a_distillation()), a_distillation()) == "open"
    other = made.model_copy(update={"inputs": inputs.model_copy(update={"whole": PAPER.whole})})
    assert of(made=other) == "open"
    reads = made.model_copy(update={"inputs": inputs.model_copy(update={"files": ["weights.npz"]})})
    assert of(made=reads) == "open"
    assert of(made=made.model_copy(update={"copies": ["cloud 0 is test cloud 3"]})) == "open"
    apart = [of(made=made.model_copy(update={"isolation": each})) for each in get_args(Isolation)]
    assert dict(zip(get_args(Isolation), apart, strict=True)) == {
        "unknown": "closed",  # records from before methods had processes of their own
        "in-process": "open",
        "process": "closed",
        "walled": "closed",
        "external": "open",
    }
    assert division(Run(tmp_path, made, ())) == "open"
    both = Run(tmp_path, made, (closed, closed.model_copy(update={"inputs": an_evaluation(made).inputs})))
    assert (division(both), division(both, closed)) == ("open", "closed")


def test_the_standard_protocol_is_closed_with_the_recipe_that_pcbench_has(tmp_path):
    rules = STANDARD.model_copy(update={"whole": _whole_of("pointnet")})
    made = a_distillation(inputs=made_from(whole=rules.whole))
    inputs = an_evaluation(made).inputs.model_copy(
        update={"protocol": rules, "repetitions": list(range(rules.students))}
    )
    scored = an_evaluation(made).model_copy(update={"inputs": inputs})
    assert division(Run(tmp_path, made, (scored,))) == "closed"
    own = rules.model_copy(update={"whole": _whole_of("dgcnn")})
    scored = scored.model_copy(update={"inputs": inputs.model_copy(update={"protocol": own})})
    assert division(Run(tmp_path, made, (scored,))) == "open"


# Verifications


def a_verification(made: DistillationRecord, scored: EvaluationRecord, **changes: Any) -> VerificationRecord:
    values: dict[str, Any] = {
        "evaluation": scored.key,
        "distillation": made.key,
        "iteration": scored.headline.iteration,
        "clouds": scored.headline.clouds,
        "redistilled": False,
        "repetitions": scored.inputs.repetitions,
        "published": scored.headline.oa,
        "totals": TOTALS,
        "correct": RIGHT,
        "low": -0.5,
        "high": 0.5,
        "margin": 3,
        "verdict": "verified",
        "provenance": PROVENANCE,
    }
    return VerificationRecord(**values | changes)


def test_a_verification_belongs_to_the_evaluation_beside_it(tmp_path):
    made = a_distillation()
    scored = an_evaluation(made)
    folder = stored(tmp_path, made, scored)
    record = a_verification(made, scored)
    path = layout.verification(folder, scored.key)
    write_record(path, record)
    (run,), problems = read_runs(tmp_path)
    assert not problems
    assert run.verifications == (record,)
    assert run.verification(scored) == record
    assert run.verification(an_evaluation(made, customised(QUICK, {**TINY.changes, "recipe.lr": 1}))) is None
    for changes, words in [
        ({"evaluation": "0" * 64}, "the evaluation that it verifies is not beside it"),
        ({"published": [0.55, 7 / 9]}, "verified other scores than those beside it"),
        ({"repetitions": [0, 5]}, "verified other scores than those beside it"),
        ({"clouds": "0" * 64}, "verified other clouds"),
        ({"iteration": 10}, "verified other clouds"),
    ]:
        write_record(path, a_verification(made, scored, **changes))
        (run,), (problem,) = read_runs(tmp_path)
        assert words in problem
        assert run.verifications == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": 0.2}, "the mean difference does not lie in its interval"),
        ({"high": 3.5}, "the verdict does not follow"),
        ({"verdict": "refuted"}, "the verdict does not follow"),
        ({"published": [0.9, 0.9], "low": -50, "high": -10}, "the verdict does not follow"),
        ({"repetitions": [0, 0]}, "one published and one new score per distinct student"),
        ({"correct": [[9, 0, 1], [2, 0, 5]]}, "counts of right answers"),
    ],
)
def test_a_verdict_must_follow_from_its_scores(changes, words):
    made = a_distillation()
    with pytest.raises(ValueError, match=words):
        a_verification(made, an_evaluation(made), **changes)


def test_verdicts_by_hand():
    assert verdict(0.0, -2.9, 2.9, 3) == "verified"
    assert verdict(0.0, -3.0, 2.9, 3) == "inconclusive"
    assert verdict(2.5, 1.0, 4.0, 3) == "inconclusive"
    assert verdict(-5.0, -6.0, -4.0, 3) == "refuted"
    assert verdict(3.0, -9.0, 15.0, 3) == "refuted"


# Free text


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\u202eb", "a\nb", "\x00", "\u2066x", "x" * 5000, "\x9b31m"]
)
def test_text_is_made_safe_when_written_and_refused_when_it_is_not_safe(tmp_path, text):
    made = a_distillation(status="failed", reason=text, snapshots=[])
    assert made.reason == one_line(text) != text
    write_record(tmp_path / "d.json", made)
    assert read_distillation(tmp_path / "d.json") == made
    for field in ("reason", "provenance.command.0", "provenance.hardware.name", "inputs.method"):
        record = altered(made, field, text, rekeyed=True)
        said = refusal(tmp_path / "d.json", read_distillation, json.dumps(record))
        assert said.isprintable()
        assert len(said) < 400
    params = altered(made, "inputs.params.lr", {"x": [text]}, rekeyed=True)
    assert refusal(tmp_path / "d.json", read_distillation, json.dumps(params))


def test_text_keeps_what_people_write():
    for text in ("Küche", "می‌خواهم", "椅子", "a  b", "é", "𝛼", "<b>&amp;", "\xa0"):
        assert one_line(text) == text
    assert one_line("a\tb\r\nc\u2028d") == "a b  c d"
    assert one_line("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inputs.ppc", 1 << 60),
        ("clock.seconds", 1e300),
        ("memory.host_bytes", 10**400),
        ("inputs.params.lr", 10**400),
        ("inputs.whole.epochs", 10**400),
        ("inputs.whole.lr", 1e300),
        ("inputs.repetition", 1 << 53),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, field, value):
    record = altered(a_distillation(), field, value, rekeyed=field.startswith("inputs"))
    refusal(tmp_path / "d.json", read_distillation, json.dumps(record))


def test_counts_too_large_for_an_accuracy_are_refused(tmp_path):
    record = altered(an_evaluation(a_distillation()), "totals", [10**400, 0, 5])
    refusal(tmp_path / "e.json", read_evaluation, json.dumps(record))


# Records that are none

FOREIGN = [
    ("clock.seconds", float("nan"), "clock.seconds: Input should be a finite number"),
    ("clock.seconds", float("inf"), "clock.seconds: Input should be a finite number"),
    ("clock.seconds", -1, "clock.seconds: Input should be greater than or equal to 0"),
    ("clock.seconds", "1.5", "clock: is not written as a record writes it"),
    ("memory.host_bytes", 1.5, "memory.host_bytes: "),
    ("unknown", 1, "unknown: there is no such field: was it written by a newer pcbench?"),
    ("inputs.data.unknown", 1, "inputs.data.unknown: there is no such field"),
    ("provenance.hardware.unknown", 1, "provenance.hardware.unknown: there is no such field"),
    ("kind", "evaluation", "kind: Input should be 'distillation'"),
    ("status", "fine", "status: Input should be 'ok'"),
    ("status", "oom", "record: Value error, status oom needs a reason"),
    ("schema_version", 3, "was written by a newer pcbench (schema_version 3, this one reads up to 2)"),
    ("schema_version", 0, "schema_version 0, but this pcbench reads 1 to 2"),
    ("schema_version", True, "schema_version True, but this pcbench reads 1 to 2"),
    ("schema_version", None, "schema_version None, but this pcbench reads 1 to 2"),
    ("key", "ABC", "key: String should match pattern"),
    ("snapshots.0.clouds", "../x", "snapshots.0.clouds: String should match pattern"),
    ("snapshots", [], "record: Value error, a finished distillation has the snapshots"),
    ("snapshots.1.iteration", 11, "record: Value error, a finished distillation has the snapshots"),
    ("reason", "\ud800", "is not a JSON record"),
    ("inputs.params.lr", float("nan"), ""),
]


@pytest.mark.parametrize(("field", "value", "words"), FOREIGN)
def test_what_a_record_may_not_hold_is_refused(tmp_path, field, value, words):
    text = json.dumps(altered(a_distillation(), field, value))
    assert refusal(tmp_path / "d.json", read_distillation, text).startswith(words)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_parameter_that_is_not_finite_is_refused_even_with_a_key_that_fits(tmp_path, literal):
    text = json.dumps(altered(a_distillation(), "inputs.params.joint", None, rekeyed=True))
    (tmp_path / "d.json").write_text(text)
    read_distillation(tmp_path / "d.json")
    assert text.count('"joint": null') == 1
    text = text.replace('"joint": null', f'"joint": {literal}')
    assert "Out of range float values" in refusal(tmp_path / "d.json", read_distillation, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a JSON record"),
        ("{", "is not a JSON record"),
        ("[1, 2]", "schema_version None, but this pcbench reads 1 to 2"),
        ("null", "schema_version None, but this pcbench reads 1 to 2"),
        ('{"schema_version": 2}', "key: Field required"),
        ('{"schema_version": 1}', "is no distillation of version 1 (KeyError"),
        ("[" * 100_000, "is not a JSON record"),
        ('{"schema_version": ' + "9" * 5000 + "}", "is not a JSON record"),
    ],
)
def test_other_texts_are_refused(tmp_path, text, words):
    assert refusal(tmp_path / "d.json", read_distillation, text).startswith(words)


@pytest.mark.parametrize("depth", [100, 300, 900, 3000])
def test_deep_nesting_is_refused(tmp_path, depth):
    text = json.dumps(altered(a_distillation(), "inputs.params.lr", "here"))
    assert refusal(tmp_path / "d.json", read_distillation, text.replace('"here"', "[" * depth + "]" * depth))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "d.json"
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"d\.json: is not a JSON record"):
        read_distillation(path)


def test_a_record_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    made = a_distillation()
    write_record(tmp_path / "d.json", made)
    size = (tmp_path / "d.json").stat().st_size
    monkeypatch.setattr(store, "MAX_RECORD_BYTES", size)
    assert read_distillation(tmp_path / "d.json") == made
    monkeypatch.setattr(store, "MAX_RECORD_BYTES", size - 1)
    with pytest.raises(DataError, match=r"d\.json: larger than a record may be"):
        read_distillation(tmp_path / "d.json")


def test_absent_files_folders_and_pipes_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        read_distillation(tmp_path / "none.json")
    with pytest.raises(DataError, match="is not a file"):
        read_distillation(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match=r"pipe\.json: is not a file"):
        read_distillation(tmp_path / "pipe.json")


def test_the_kinds_of_record_are_not_mixed_up(tmp_path):
    write_record(tmp_path / "d.json", a_distillation())
    with pytest.raises(DataError, match=r"d\.json: "):
        read_evaluation(tmp_path / "d.json")


def test_a_failed_distillation_keeps_its_reason_and_what_it_reached(tmp_path):
    made = a_distillation(status="failed", reason="ValueError: no", snapshots=a_distillation().snapshots[:2])
    write_record(tmp_path / "d.json", made)
    assert read_distillation(tmp_path / "d.json") == made


# Runs


def stored(out: Path, made: DistillationRecord, *scored: EvaluationRecord) -> Path:
    folder = run_folder(out, made.inputs)
    write_record(folder / "distillation.json", made)
    for record in scored:
        write_record(layout.evaluation(folder, record.key), record)
    return folder


def test_runs_are_read_with_all_their_evaluations(tmp_path):
    one, two = a_distillation(), a_distillation(inputs=made_from(ppc=3))
    other = Network(name="pointnet", preset="canonical", source="e" * 64)
    folders = {
        one.key: stored(tmp_path, one, an_evaluation(one), an_evaluation(one, network=other)),
        two.key: stored(tmp_path, two),
    }
    runs, problems = read_runs(tmp_path)
    assert problems == []
    assert [run.distillation.key for run in runs] == sorted([one.key, two.key])
    assert {run.distillation.key: run.folder for run in runs} == folders
    by_key = {run.distillation.key: run for run in runs}
    keys = [record.key for record in by_key[one.key].evaluations]
    assert keys == sorted([an_evaluation(one).key, an_evaluation(one, network=other).key])
    assert by_key[two.key].evaluations == ()


def test_no_results_are_no_runs(tmp_path):
    assert read_runs(tmp_path) == ([], [])
    assert read_runs(tmp_path / "none") == ([], [])


def _of_another_distillation(made: DistillationRecord) -> EvaluationRecord:
    return an_evaluation(a_distillation(inputs=made.inputs.model_copy(update={"ppc": 3})))


def _of_other_clouds(made: DistillationRecord) -> EvaluationRecord:
    strange = made.snapshots[-1].model_copy(update={"clouds": "0" * 64})
    return an_evaluation(made.model_copy(update={"snapshots": [*made.snapshots[:-1], strange]}))


def _under_another_protocol(made: DistillationRecord) -> EvaluationRecord:
    return an_evaluation(made, customised(QUICK, {**TINY.changes, "points": 65}))


def _of_other_iterations(made: DistillationRecord) -> EvaluationRecord:
    scored = an_evaluation(made)
    first = scored.snapshots[0].model_copy(update={"iteration": 5})
    return scored.model_copy(update={"snapshots": [first, *scored.snapshots[1:]]})


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        (_of_another_distillation, "belongs to another distillation than the one beside it"),
        (_of_other_clouds, "scored other clouds than those of the distillation beside it"),
        (_under_another_protocol, "its protocol is not the one that the distillation beside it followed"),
        (_of_other_iterations, "its snapshots are not those of the distillation beside it"),
    ],
)
def test_an_evaluation_beside_the_wrong_distillation_is_left_out(tmp_path, strange, words):
    made = a_distillation()
    folder = stored(tmp_path, made, an_evaluation(made))
    path = folder / "evaluation-0000000000.json"
    write_record(path, strange(made))
    runs, problems = read_runs(tmp_path)
    assert [list(run.evaluations) for run in runs] == [[an_evaluation(made)]]
    assert problems == [f"{path}: {words}"]


def test_broken_files_are_reported_one_line_each_and_good_ones_still_read(tmp_path):
    made, broken = a_distillation(), a_distillation(inputs=made_from(method="dm"))
    good = stored(tmp_path, made, an_evaluation(made))
    (good / "evaluation-ffff.json").write_text("{")
    bad = stored(tmp_path, broken, an_evaluation(broken))
    (bad / "distillation.json").write_text("[]")
    lone = tmp_path / "lone" / "evaluation-1.json"
    write_record(lone, an_evaluation(made))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    runs, problems = read_runs(tmp_path)
    assert [run.folder for run in runs] == [good]
    assert runs[0].evaluations == (an_evaluation(made),)
    assert {line.partition(": ")[0] for line in problems} == {
        str(good / "evaluation-ffff.json"),
        str(bad / "distillation.json"),
        str(layout.evaluation(bad, an_evaluation(broken).key)),
        str(lone),
    }
    assert len(problems) == 4
    assert f"{lone}: has no readable distillation.json beside it" in problems


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc", "..", ".", "", "-", "a/b\\c", "x" * 500, "new\nline", "nul\0", "Küche", "~root", "a b"],
)
def test_a_run_folder_stays_below_out_whatever_the_names(tmp_path, name):
    data = DATA.model_copy(update={"name": name})
    for inputs in (made_from(method=name), made_from(data=data), made_from(method=name, data=data)):
        folder = run_folder(tmp_path, inputs)
        assert folder.parent == tmp_path
        assert folder.resolve().parent == tmp_path.resolve()
        assert len(folder.name) <= 100
        assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
        assert folder.name.endswith(inputs.key[:10])
        assert not folder.name.startswith(".")
        folder.mkdir(exist_ok=True)


def test_names_that_look_alike_have_folders_of_their_own(tmp_path):
    assert run_folder(tmp_path, made_from(method="a/b")) != run_folder(tmp_path, made_from(method="a_b"))


def test_a_gpu_is_named_without_the_threads_of_the_processor():
    cpu = PROVENANCE.hardware
    assert cpu.label == "A CPU, 2 threads"
    assert cpu.model_copy(update={"device": "cuda", "name": "A GPU"}).label == "A GPU"
    assert NETWORK.label == "pointnet:paper"


def test_evaluations_of_two_protocols_have_keys_of_their_own():
    made = a_distillation()
    other = customised(QUICK, {**TINY.changes, "recipe.lr": 0.02})
    assert an_evaluation(made).key != an_evaluation(made, other).key
    assert PAPER.name not in (TINY.name, other.name)


# Accuracies


@pytest.mark.parametrize(
    ("correct", "totals", "oa", "macc"),
    [
        ([1, 2], [2, 2], 3 / 4, 3 / 4),
        ([10, 0], [10, 90], 1 / 10, 1 / 2),
        ([4, 0, 1], [4, 0, 5], 5 / 9, 6 / 10),
        ([0, 0], [3, 4], 0.0, 0.0),
        ([3, 4], [3, 4], 1.0, 1.0),
        ([2257], [2468], 2257 / 2468, 2257 / 2468),
    ],
)
def test_accuracies_by_hand(correct, totals, oa, macc):
    assert accuracies(correct, totals) == (oa, macc)


@pytest.mark.parametrize(
    ("correct", "totals"),
    [([3], [2]), ([-1], [2]), ([1, 1], [2]), ([1], [2, 2]), ([], []), ([0, 0], [0, 0]), ([1], [0])],
)
def test_impossible_counts_are_refused(correct, totals):
    with pytest.raises(ValueError, match=r"counts of right answers|no test clouds"):
        accuracies(correct, totals)


counts = st.lists(st.integers(0, 3000), min_size=1, max_size=55).filter(any)


@given(st.data(), counts)
def test_accuracies_are_exact_means(data, totals):
    correct = [data.draw(st.integers(0, total)) for total in totals]
    oa, macc = accuracies(correct, totals)
    shares = [Fraction(c, t) for c, t in zip(correct, totals, strict=True) if t]
    exact = Fraction(sum(correct), sum(totals))
    assert min(shares) <= exact <= max(shares)
    assert oa == float(exact)
    assert abs(macc - float(sum(shares) / len(shares))) <= 1e-14
    assert 0 <= macc <= 1


@given(st.integers(1, 200), st.lists(st.integers(0, 200), min_size=1, max_size=40))
def test_both_accuracies_agree_where_classes_are_equally_large(total, correct):
    correct = [min(count, total) for count in correct]
    oa, macc = accuracies(correct, [total] * len(correct))
    assert oa == pytest.approx(macc, abs=1e-14)


def test_students_are_trained_on_snapshots_that_have_scores() -> None:
    made = a_distillation()
    with pytest.raises(ValueError, match="work names a snapshot twice, or one that has no scores"):
        an_evaluation(made, trained=[7])


# What follows from a verification


def elsewhere(low: float, high: float, p_lower: float, **changes: Any) -> str:
    values = {"judgement": "equivalence", "low": low, "high": high, "p_lower": p_lower, "margin": 3.0}
    return concluded(VerificationRecord.model_construct(**values | changes))


def test_conclusions_by_hand():
    assert elsewhere(-2.9, 2.9, 0.5) == "verified"
    assert elsewhere(-2.9, 0.0, 0.05) == "inconclusive"  # inside the margin, and seen to be too high
    assert elsewhere(-3.0, 2.9, 0.5) == "inconclusive"
    assert elsewhere(-40, 40, 0.5, margin=50.0) == "inconclusive"
    assert elsewhere(-2, 2, 0.5, margin=50.0) == "verified"
    assert elsewhere(-9, -3.1, 0.001) == "refuted"
    assert elsewhere(-9, -3.1, 0.002) == "inconclusive"
    assert elsewhere(-9, -2.9, 0.0001) == "inconclusive"
    assert elsewhere(3.1, 9, 1.0) == "inconclusive"
    assert elsewhere(-1, 1, 0.5, copies=["a copy"]) == "refuted"
    assert elsewhere(-1, 1, 0.5, likenesses=["alike"]) == "inconclusive"
    assert elsewhere(-1, 1, 0.5, p_chosen=0.05) == "inconclusive"
    assert elsewhere(-1, 1, 0.5, p_chosen=0.001) == "refuted"
    assert elsewhere(0, 0, 1.0, judgement="equal counts") == "verified"
    assert elsewhere(-1, 1, 0.5, judgement="same hardware") == "refuted"


def test_a_wide_margin_of_an_older_record_gives_no_badge():
    made = a_distillation()
    record = a_verification(made, an_evaluation(made), margin=50, low=-40, high=40)
    assert (record.judgement, record.verdict, record.badge) == ("margin", "verified", "inconclusive")
    assert a_verification(made, an_evaluation(made)).badge == "verified"
    assert record.how == "re-evaluated"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judgement": "equal counts", "correct": [RIGHT[1], RIGHT[0]]}, "the counts are not equal"),
        ({"fresh": [0.5], "fresh_repetitions": []}, "one score for each fresh repetition"),
        ({"fresh": [0.5, 0.5], "fresh_repetitions": [1000, 1001]}, "one score for each fresh repetition"),
        ({"judgement": "equivalence", "p_lower": 0.01}, "the verdict does not follow"),
    ],
)
def test_a_verification_of_today_fits_together(changes, words):
    made = a_distillation()
    with pytest.raises(ValueError, match=words):
        a_verification(made, an_evaluation(made), **changes)
