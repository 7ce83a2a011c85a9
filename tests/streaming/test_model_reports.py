"""Nodes' reports to rows, without Spark."""

from model_messages import figures, report

from sightline_contract.rollout import Slot
from sightline_lakehouse.tables import DEAD_LETTERS, MODEL_FIGURES, MODEL_STATUS
from sightline_streaming.archived import Received
from sightline_streaming.model_reports import sort_reports, status_of


def received(*values: bytes) -> list[Received]:
    return [Received("model_status", 0, offset, 2_000_000, value) for offset, value in enumerate(values)]


def as_json(*args, **fields) -> bytes:
    return report(*args, **fields).model_dump_json().encode()


def test_a_report_is_a_row_of_its_status_and_one_for_each_model():
    shadow = figures("2", Slot.SHADOW, detections=90, matched=80, only=(20, 10), classes={"car": 40, "bus": 50})
    rows = sort_reports(received(as_json("n", 5, figures("1"), shadow))).rows
    (status,) = rows[MODEL_STATUS].to_pylist()
    assert (status["live_version"], status["shadow_version"], status["phase"]) == ("1", "2", "following")
    assert (status["reported_at"] - status["from_at"]).total_seconds() == 5
    live, beside = rows[MODEL_FIGURES].to_pylist()
    assert (live["slot"], live["model_version"], live["detections"], sum(live["score_counts"])) == ("live", "1", 100, 100)
    assert (beside["slot"], beside["matched"], beside["only_live"], beside["only_shadow"]) == ("shadow", 80, 20, 10)
    assert dict(zip(beside["class_names"], beside["class_counts"], strict=True)) == {"bus": 50, "car": 40}


def test_a_report_that_kafka_gave_twice_is_one():
    once = as_json("n", 5, figures("1"))
    reports = sort_reports(received(once, once))
    assert len(reports.statuses) == reports.rows[MODEL_STATUS].num_rows == reports.rows[MODEL_FIGURES].num_rows == 1


def test_reports_that_break_the_contract_are_dead_letters_with_the_reason():
    few_bins = figures("1").model_copy(update={"score_counts": (1, 2)})
    backwards = as_json("n", 5, figures("1"), from_us=2, reported_us=1)
    far = as_json("n", 5, figures("1"), reported_us=2**62)
    reports = sort_reports(received(b"{", as_json("n", 5, few_bins), backwards, far))
    assert not reports.statuses
    assert set(reports.rows) == {DEAD_LETTERS}
    reasons = [row["reason"] for row in reports.rows[DEAD_LETTERS].to_pylist()]
    assert reasons[0].startswith("not ModelStatus: file: Invalid JSON")
    assert reasons[1:] == [
        "not ModelStatus: figures.live: 2 and 242 bins of scores and times, not 32 and 242",
        "not ModelStatus: it ends before it begins",
        "not ModelStatus: a time is out of range",
    ]


def test_a_report_comes_back_from_its_row_without_figures():
    told = report("n", 5, figures("1"), figures("2", Slot.SHADOW), rollout_id="r", revision=3, reason="no", public_key="PEM")
    (row,) = sort_reports(received(told.model_dump_json().encode())).rows[MODEL_STATUS].to_pylist()
    assert status_of(row) == told.model_copy(update={"figures": ()})
