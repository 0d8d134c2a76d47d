"""Exported evaluations hold to the records, and to the schema of Every Eval Ever 0.3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_records import a_run


@pytest.fixture
def exported(pcbench, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What is exported of sadm, a method of somebody's own, a turned test, a stale run and a failed one."""
    out = tmp_path / "results"
    a_run(out, method="sadm", right=[(4, 10)] * 9 + [(8, 20)])
    a_run(out, method="sadm", test="so3", right=[(3, 10)] * 10)
    a_run(out, method="mine", right=[(5, 15)] * 10)
    a_run(out, method="dm", source="9" * 64)
    a_run(out, method="dc", status="failed", reason="out of memory")
    done = pcbench("results", "export", str(out), "--by", "Our Lab", "--out", str(tmp_path / "eee"), "--json")
    assert done.code == 0, done.err
    return {
        str(Path(path).relative_to(tmp_path / "eee")): json.loads(Path(path).read_text(encoding="utf-8"))
        for path in json.loads(done.out)
    }


def named(documents: dict[str, dict[str, Any]], method: str, test: str = "shapes10") -> dict[str, Any]:
    (found,) = [
        each
        for each in documents.values()
        if each["model_info"]["additional_details"]["method"] == method
        and each["evaluation_results"][0]["evaluation_name"] == test
    ]
    return found


def test_a_file_is_written_for_every_evaluation_that_counts(exported: dict[str, dict[str, Any]]) -> None:
    assert len(exported) == 3
    for path, document in exported.items():
        data, benchmark, developer, model, name = path.split("/")
        assert (data, benchmark) == ("data", "pcbench")
        assert document["model_info"]["id"] == f"{developer}/{model}"
        assert name[14] == "4", "the fourth version of a UUID"


def test_scores_are_shares_with_their_spread_over_the_students(exported: dict[str, dict[str, Any]]) -> None:
    oa, macc = named(exported, "sadm")["evaluation_results"]
    details, config = oa["score_details"], oa["metric_config"]
    assert (config["metric_id"], config["min_score"], config["max_score"]) == ("accuracy", 0.0, 1.0)
    assert details["score"] == pytest.approx((9 * 14 / 30 + 28 / 30) / 10)
    assert details["uncertainty"]["num_samples"] == 10
    error = details["uncertainty"]["standard_error"]["value"]
    assert error == pytest.approx(details["uncertainty"]["standard_deviation"] / 10**0.5)
    interval = details["uncertainty"]["confidence_interval"]
    assert interval["lower"] < details["score"] < interval["upper"]
    assert [float(each) for each in details["details"]["scores"].split()][-1] == pytest.approx(
        28 / 30, abs=1e-6
    )
    assert macc["score_details"]["score"] == pytest.approx((9 * 0.45 + 0.9) / 10)


def test_whose_method_it_is_is_said_only_of_those_that_come_with_pcbench(
    exported: dict[str, dict[str, Any]],
) -> None:
    sources = {method: named(exported, method)["source_metadata"] for method in ("sadm", "mine")}
    assert sources["sadm"]["evaluator_relationship"] == "third_party"
    assert sources["mine"]["evaluator_relationship"] == "other"
    assert {each["source_organization_name"] for each in sources.values()} == {"Our Lab"}


def test_a_changed_test_is_an_evaluation_of_its_own(exported: dict[str, dict[str, Any]]) -> None:
    plain, turned = named(exported, "sadm"), named(exported, "sadm", "shapes10, test so3")
    assert plain["model_info"]["id"] == turned["model_info"]["id"]
    assert plain["evaluation_id"] != turned["evaluation_id"]


def test_all_details_are_text_as_the_schema_wants_them(exported: dict[str, dict[str, Any]]) -> None:
    def details(value: Any) -> list[Any]:
        if isinstance(value, list):
            return [each for item in value for each in details(item)]
        if not isinstance(value, dict):
            return []
        own = [each for key in ("additional_details", "details") for each in value.get(key, {}).values()]
        return own + [each for item in value.values() for each in details(item)]

    found = details([*exported.values()])
    assert len(found) > 40
    assert all(isinstance(each, str) for each in found)
