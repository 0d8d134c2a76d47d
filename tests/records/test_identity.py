"""Two results are the same work by their inputs, and by nothing that is said about them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model
from record_parts import NETWORK, a_distillation_inputs, an_evaluation_inputs

from pcbench.common.files import digest
from pcbench.common.schema import Abridged, Model
from pcbench.protocols import protocol as protocols
from pcbench.protocols.protocol import LITE, PAPER, QUICK, Recipe, customised
from pcbench.protocols.variants import named
from pcbench.records import identity
from pcbench.records.identity import differences, hashed, key, same_work
from pcbench.records.inputs import DistillationInputs, EvaluationInputs, Network


def with_field(model: type[BaseModel], **fields: Any) -> type[BaseModel]:
    """The same model with further fields."""
    return create_model(model.__name__, __base__=model, **fields)


def test_a_key_depends_on_every_input_of_a_distillation():
    inputs = a_distillation_inputs()
    changes: list[dict[str, Any]] = [
        {"method": "dm"},
        {"params": {**inputs.params, "lr": 11.0}},
        {"source": "0" * 64},
        {"data": inputs.data.model_copy(update={"hash": "0" * 64})},
        {"data": inputs.data.model_copy(update={"sampling": "farthest"})},
        {"data": inputs.data.model_copy(update={"points": 65})},
        {"ppc": 3},
        {"iterations": 61},
        {"snapshots": [0, 30, 60]},
        {"network": inputs.network.model_copy(update={"source": "0" * 64})},
        {"network": inputs.network.model_copy(update={"preset": "canonical"})},
        {"whole": inputs.whole.model_copy(update={"epochs": 99})},
        {"repetition": 1},
        {"engine": 2},
        {"draw": "authors"},
    ]
    keys = {inputs.model_copy(update=change).key for change in changes}
    assert len(keys | {inputs.key}) == len(changes) + 1
    assert all(not same_work(inputs.model_copy(update=change), inputs) for change in changes)
    assert same_work(DistillationInputs.model_validate_json(inputs.model_dump_json()), inputs)


def test_a_key_depends_on_every_input_of_an_evaluation():
    inputs = an_evaluation_inputs()
    changes: list[dict[str, Any]] = [
        {"distillation": "0" * 64},
        {"data": inputs.data.model_copy(update={"hash": "0" * 64})},
        {"network": Network(name="dgcnn", preset="paper", source="3" * 64)},
        {"protocol": customised(QUICK, {"recipe.lr": 0.5})},
        {"repetitions": [*range(1, 11)]},
        {"variant": named("so3", "three", "y")},
        {"variant": named("jitter:3", "three", "y")},
        {"engine": 2},
    ]
    keys = {inputs.model_copy(update=change).key for change in changes}
    assert len(keys | {inputs.key}) == len(changes) + 1


def test_what_is_said_about_an_input_is_in_no_key(monkeypatch):
    inputs, scored = a_distillation_inputs(), an_evaluation_inputs()
    keys = inputs.key, scored.key
    monkeypatch.setattr(protocols, "SUMMARIES", {"quick": "another sentence, with a comma"})
    data = inputs.data.model_copy(update={"variant": "other words", "standard": False})
    protocol = QUICK.model_copy(update={"name": "swift", "base": "swift"})
    assert inputs.model_copy(update={"data": data}).key == keys[0]
    assert scored.model_copy(update={"protocol": protocol, "data": data}).key == keys[1]
    shuffled = inputs.model_copy(update={"params": dict(reversed(inputs.params.items()))})
    assert shuffled.key == keys[0]


def test_prose_of_a_protocol_stands_in_no_record():
    assert "demonstration" in QUICK.summary
    assert "demonstration" not in an_evaluation_inputs().model_dump_json()


def test_a_field_that_is_added_with_a_default_changes_no_key():
    """At any depth: the inputs, a recipe within the protocol, the network."""
    inputs, scored = a_distillation_inputs(), an_evaluation_inputs()
    later_recipe = with_field(Recipe, nesterov=(bool, False))
    later_network = with_field(Network, weights=(str | None, None))
    later = with_field(DistillationInputs, device=(str, "any"), whole=(later_recipe, ...))
    read = later.model_validate(inputs.model_dump())
    assert key(read) == inputs.key
    assert key(later.model_validate(inputs.model_dump() | {"device": "one"})) != inputs.key
    whole = inputs.whole.model_dump() | {"nesterov": True}
    assert key(later.model_validate(inputs.model_dump() | {"whole": whole})) != inputs.key
    later_scored = with_field(EvaluationInputs, network=(later_network, ...), tags=(list[str], Field([])))
    assert key(later_scored.model_validate(scored.model_dump())) == scored.key


def test_the_defaults_that_keys_leave_out_never_change():
    """A key leaves out what holds its default: a changed default would give old keys another meaning.

    If this fails, put the default back, and name the new value where it is wanted.
    """
    left_out = {
        model.__name__: {
            name: field.get_default(call_default_factory=True)
            for name, field in model.model_fields.items()
            if not field.is_required()
        }
        for model in (
            DistillationInputs,
            EvaluationInputs,
            Recipe,
            protocols.Augmentation,
            protocols.Step,
            protocols.Cosine,
            type(named("so3", "three", "y")),
        )
    }
    plain = {"kind": "plain", "severity": None, "amount": None, "axis": None, "points": None, "on": None}
    variant = left_out["EvaluationInputs"].pop("variant")
    assert variant == type(variant)(**plain)
    assert left_out == {
        "DistillationInputs": {"setting": "", "engine": 1, "draw": "per-ppc", "files": [], "curve": []},
        "EvaluationInputs": {"engine": 1},
        "Recipe": {
            "optimiser": "sgd",
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": None,
            "equal_steps": 0,
            "drop_after": None,
            "drop_factor": 0.1,
            "label_smoothing": 0.0,
            "augmentation": None,
        },
        "Augmentation": {
            "turn": None,
            "scale": None,
            "scale_axes": False,
            "shift": 0.0,
            "jitter": 0.0,
            "jitter_clip": 0.05,
            "drop": 0.0,
        },
        "Step": {"floor": 0.0},
        "Cosine": {"minimum": 0.0},
        "Variant": plain,
    }


def test_keys_are_the_same_on_every_machine_and_in_every_version():
    """Written down once: a change here makes all published results stale."""
    assert a_distillation_inputs().key == "b49202bd20771100cae610d62bfe182fd940847dfad1a2ac4af574f24e71a08b"
    assert an_evaluation_inputs().key == "048649f5dd18e65f3f786c0882fe6c8e9b37ab44239142fb2d95c4b48604fc8f"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"engine": 2}, "ENGINE 2, now 1"),
        ({"params": {"lr": 1.0, "loss": "mmd"}}, "lr 1.0, asked 10.0"),
        ({"params": {"lr": 10.0, "loss": "mean"}}, "loss mean, asked mmd"),
        ({"source": "0" * 64}, "the method's code has changed"),
        (
            {"network": NETWORK.model_copy(update={"source": "0" * 64})},
            "the network's code has changed",
        ),
        ({"repetition": 4}, "repetition 4, asked 0"),
        ({"snapshots": [0, 60, 70]}, "snapshots [0,60,70], asked [0,60]"),
    ],
)
def test_the_reason_why_two_distillations_differ_is_said(change, reason):
    inputs = a_distillation_inputs()
    assert differences(inputs.model_copy(update=change), inputs) == [reason]


def test_the_engine_is_named_first_and_the_same_work_has_no_reason():
    inputs, scored = a_distillation_inputs(), an_evaluation_inputs()
    assert differences(inputs, inputs) == differences(scored, scored) == []
    other = inputs.model_copy(update={"engine": 2, "ppc": 3, "source": "0" * 64})
    assert differences(other, inputs) == [
        "ENGINE 2, now 1",
        "ppc 3, asked 1",
        "the method's code has changed",
    ]
    changed = scored.model_copy(update={"protocol": customised(QUICK, {"recipe.epochs": 21})})
    assert differences(changed, scored) == ["recipe.epochs 21, asked 20"]


def test_protocols_with_other_settings_have_other_keys():
    scored = an_evaluation_inputs()
    keys = {scored.model_copy(update={"protocol": each}).key for each in (QUICK, LITE, PAPER)}
    assert len(keys) == 3
    assert hashed(QUICK).keys() == hashed(PAPER).keys() == {
        "points", "iterations", "snapshot_every", "students", "recipe", "whole",
    }  # fmt: skip


def test_the_engine_is_a_number_from_one_on():
    assert isinstance(identity.ENGINE, int)
    assert identity.ENGINE >= 1


def test_records_are_known_without_torch():
    code = (
        "import sys, pcbench.records.store, pcbench.records.state, pcbench.records.division\n"
        "assert not {'torch', 'h5py', 'scipy', 'pandas', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_key_is_the_hash_of_what_identifies_the_inputs_in_canonical_form():
    odd = a_distillation_inputs(params={"ü": [True, None, 1, 1.0, 1e-7, {"b": "ä\n", "a": []}], "lr": 0.1})
    for inputs in (a_distillation_inputs(), odd, an_evaluation_inputs()):
        assert key(inputs) == digest({"kind": type(inputs).__name__, **hashed(inputs)})


def test_whoever_names_idle_fields_leaves_them_out():
    """A model that says which of its fields are idle, and is none that leaves them out, writes them."""
    waiting, forgotten = [Model], set()
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if hasattr(model, "idle") and not issubclass(model, Abridged):
            forgotten.add(model.__name__)
    assert not forgotten
