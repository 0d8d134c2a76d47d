"""What records carry of a built-in plugin: the first source that gave its results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from built_in import CATALOGUE
from plugin_files import method

from pcbench.catalogue import __main__ as command
from pcbench.catalogue import lineage, open_catalogue
from pcbench.catalogue.registry import Registry
from pcbench.records.store import read_runs

ONE, TWO, THREE, FOUR = ("1" * 64, "2" * 64, "3" * 64, "4" * 64)


def test_every_built_in_source_is_the_last_of_its_list() -> None:
    new = lineage.unlisted(lineage.read(lineage.path()), lineage.current_hashes(CATALOGUE))
    names = " ".join(name for _, name in new)
    assert not new, (
        f"the sources of {names} changed. If the golden tests pass, their results are the same to the last "
        "bit or to rounding: write the new hashes by 'python -m pcbench.catalogue same'. If results changed: "
        f"'python -m pcbench.catalogue changed {names}' begins their lists anew, and their published "
        "results become stale."
    )


def test_published_results_are_those_of_the_sources_that_stand_here() -> None:
    runs, problems = read_runs(Path(__file__).parents[2] / "leaderboard" / "results")
    assert runs
    assert not problems
    for run in runs:
        made = run.distillation.inputs
        assert CATALOGUE.methods.get(made.method).source_hash() == made.source
        for network in [made.network, *(record.inputs.network for record in run.evaluations)]:
            assert CATALOGUE.backbones.get(network.name).source_hash() == network.source


def test_the_first_hash_stands_for_all_of_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method(tmp_path / "mine.py", "mine")
    plugin = Registry("method", tmp_path).get("mine")
    file = tmp_path / "lineage.toml"
    monkeypatch.setattr(lineage, "path", lambda: file)
    file.write_text(lineage.written({"method": {"mine": [ONE, plugin.current_hash()]}}))
    assert plugin.source_hash() == ONE
    users = open_catalogue([tmp_path]).methods.get("mine")
    assert users.source_hash() == users.current_hash() == plugin.current_hash()


@pytest.mark.parametrize("lists", [{}, {"method": {"mine": [ONE, TWO]}}, {"backbone": {"mine": [ONE]}}])
def test_a_source_that_no_list_holds_has_its_own_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: lineage.Lists
) -> None:
    method(tmp_path / "mine.py", "mine")
    file = tmp_path / "lineage.toml"
    file.write_text(lineage.written(lists))
    monkeypatch.setattr(lineage, "path", lambda: file)
    plugin = Registry("method", tmp_path).get("mine")
    assert plugin.source_hash() == plugin.current_hash()


def test_lists_are_written_and_read(tmp_path: Path) -> None:
    lists = {"method": {"b": [ONE, TWO], "a": [THREE]}, "backbone": {"a": [FOUR]}}
    (tmp_path / "lineage.toml").write_text(lineage.written(lists))
    assert lineage.read(tmp_path / "lineage.toml") == lists


@pytest.mark.parametrize(
    ("before", "changed", "after"),
    [
        ([ONE], [], [ONE, FOUR]),
        ([ONE, TWO], [], [ONE, FOUR]),
        ([ONE, TWO, THREE], [], [ONE, FOUR]),
        ([ONE, FOUR], [], [ONE, FOUR]),
        ([FOUR], [], [FOUR]),
        ([FOUR, ONE], [], [FOUR]),
        ([], [], [FOUR]),
        ([ONE, TWO], ["mine"], [FOUR]),
        ([ONE, TWO], ["other"], [ONE, FOUR]),
    ],
)
def test_a_list_keeps_its_first_hash_unless_results_changed(
    before: list[str], changed: list[str], after: list[str]
) -> None:
    new = lineage.extended({"method": {"mine": before, "gone": [ONE]}}, {"method": {"mine": FOUR}}, changed)
    assert new == {"method": {"mine": after}}
    assert lineage.unlisted(new, {"method": {"mine": FOUR}}) == []


@pytest.mark.parametrize(
    ("before", "changed", "after"),
    [
        ([ONE, TWO], [], None),
        ([ONE, TWO], ["mine"], [ONE]),
        ([ONE, TWO], ["other"], None),
        ([FOUR], ["mine"], None),
    ],
)
def test_what_records_carried_before_results_changed_is_known(
    before: list[str], changed: list[str], after: list[str] | None
) -> None:
    lists = {"method": {"mine": before}, "earlier-method": {"old": [THREE]}}
    left = lineage.left_behind(lists, {"method": {"mine": FOUR}}, changed)
    expected = {"old": [THREE]} if after is None else {"mine": after, "old": [THREE]}
    assert left == {"earlier-method": expected}
    again = {"method": {"mine": [TWO]}, **left}
    twice = lineage.left_behind(again, {"method": {"mine": FOUR}}, ["mine"])
    assert twice["earlier-method"]["mine"] == [*(after or []), TWO]


def test_what_records_of_a_plugin_carried_that_is_gone_is_known() -> None:
    left = lineage.left_behind({"method": {"gone": [ONE, TWO]}}, {"method": {"mine": FOUR}})
    assert left == {"earlier-method": {"gone": [ONE]}}


def test_the_command_writes_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lineage.toml"
    lists = lineage.read(lineage.path())
    old = {kind: {name: [ONE, TWO] for name in lists[kind]} for kind in lineage.KINDS}
    file.write_text(lineage.written(old))
    monkeypatch.setattr(lineage, "path", lambda: file)
    monkeypatch.setattr(sys, "argv", ["catalogue", "changed", "sadm"])
    command.main()
    written, current = lineage.read(file), lineage.current_hashes(CATALOGUE)
    assert written["method"]["sadm"] == [current["method"]["sadm"]]
    assert written["method"]["dm"] == [ONE, current["method"]["dm"]]
    assert written["earlier-method"] == {"sadm": [ONE]}
    assert lineage.earlier("method", "sadm") == {ONE}
    assert lineage.earlier_names("method") == ["sadm"]
    assert written["backbone"]["pointnet"] == [ONE, current["backbone"]["pointnet"]]
    assert "method sadm: other results" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["catalogue", "changed", "sadn"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no built-in method or backbone is called sadn" in capsys.readouterr().err
