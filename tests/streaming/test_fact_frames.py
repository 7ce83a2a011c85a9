"""Facts as rows of the log: what a shard states is what a reader of the log finds, kind by kind."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from seen import PERSON, START_US, Camera, Seen, walk
from shards import camera

from sightline_contract.camera import Line, Zone
from sightline_contract.rules import RestrictedRule
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.tables import FACT_KINDS, TRACK_SEGMENTS, TRACKER_FACTS, ZONE_VISITS
from sightline_streaming import fact_frames, fact_tables
from sightline_streaming.core.shard import Facts, process_shard
from sightline_streaming.core.site import shard_config
from sightline_streaming.fact_columns import SCHEMA
from sightline_streaming.fact_frames import all_facts, log_rows, pack_log, read_log, to_arrow
from sightline_streaming.fact_tables import split_facts

ARRIVED_US = START_US + 60_000_000
PARTITION, OFFSET, SHARD = 3, 40, 2
ROAD = ((300, 100), (1000, 100), (1000, 700), (300, 700))


@pytest.fixture(scope="module")
def facts() -> Facts:
    """Two cameras' minute, in which everything happens but an unusual count, and one message that is none."""
    rule = RestrictedRule(kind="restricted", after_s=0.5)
    places = {
        "lines": (Line(name="gate", start=(640, 720), end=(640, 0)),),
        "zones": (Zone(name="road", polygon=ROAD, rules=(rule,)),),
    }
    objects = [Seen(walk((0, 100, 200 + 90 * n), (8 + n, 1200, 200 + 90 * n)), PERSON) for n in range(4)]
    sent = [(f"cam-{k}", Camera(objects, f"cam-{k}").batches(range(15), end=True)) for k in range(2)]
    payloads = [payload for _, batches in sent for payload in batches] + [b"nonsense"]
    keys = [name.encode() for name, batches in sent for _ in batches] + [b"cam-0"]
    config = shard_config([camera(name, **places) for name, _ in sent], window_s=5)
    n = len(payloads)
    _, told = process_shard(
        config, None, payloads, keys, np.full(n, PARTITION, np.int32), np.arange(n) + OFFSET, np.full(n, ARRIVED_US)
    )
    return told


def log_of(frame: pd.DataFrame) -> pa.Table:
    """The rows as the table holds them."""
    frame["event_date"] = pd.Timestamp(ARRIVED_US, unit="us").date()
    return pa.Table.from_pandas(frame, arrow_schema(TRACKER_FACTS), preserve_index=False)


def log_rows_of(facts: Facts) -> pd.DataFrame:
    return log_rows(facts, SHARD, PARTITION, OFFSET, ARRIVED_US)


def test_a_reader_of_the_log_finds_the_facts_kind_by_kind(facts: Facts) -> None:
    stated = to_arrow(facts)
    found = read_log(log_of(log_rows_of(facts)))
    assert set(found) == set(FACT_KINDS) - {"anomaly"}
    for kind, table in found.items():
        assert table.schema == SCHEMA
        assert table.equals(stated.filter(pa.compute.equal(stated["kind"], kind)))
    assert all_facts(log_of(log_rows_of(facts))).num_rows == stated.num_rows


def test_a_row_says_how_many_facts_it_holds_and_whose_they_are(facts: Facts) -> None:
    rows = log_rows_of(facts)
    stated = Counter(to_arrow(facts)["kind"].to_pylist())
    assert dict(zip(rows["kind"], rows["facts"], strict=True)) == stated
    for name, value in {
        "shard": SHARD,
        "part": 0,
        "source_partition": PARTITION,
        "source_offset": OFFSET,
        "arrived_us": ARRIVED_US,
    }.items():
        assert rows[name].tolist() == [value] * len(rows)


def test_more_facts_than_a_row_may_hold_make_several(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log_of(log_rows_of(facts))
    monkeypatch.setattr(fact_frames, "PART_ROWS", 3)
    parts = log_rows_of(facts)
    assert parts["facts"].max() == 3
    for kind, own in parts.groupby("kind"):
        assert own["part"].tolist() == list(range(len(own))), kind
        assert own["facts"].tolist()[:-1] == [3] * (len(own) - 1), kind
    assert all_facts(log_of(parts)).equals(all_facts(whole))
    assert not log_of(parts).select(list(TRACKER_FACTS.key)).to_pandas().duplicated().any()


def test_an_empty_log_holds_no_facts() -> None:
    empty = arrow_schema(TRACKER_FACTS).empty_table()
    assert read_log(empty) == {}
    assert all_facts(empty).equals(SCHEMA.empty_table())
    assert len(pack_log({"segment": SCHEMA.empty_table()}, SHARD, PARTITION, OFFSET, ARRIVED_US)) == 0


def test_a_column_that_facts_of_before_do_not_have_is_null() -> None:
    before = pa.table({"camera_id": ["cam-1"], "session": [1], "start_us": [5], "end_us": [7]})
    (row,) = all_facts(log_of(pack_log({"visit": before}, SHARD, PARTITION, OFFSET, ARRIVED_US))).to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "kind": "visit",
        "camera_id": "cam-1",
        "session": 1,
        "start_us": 5,
        "end_us": 7,
    }


def test_facts_are_split_into_tables_alike_however_many_rows_and_arrays_hold_them(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = split_facts(log_of(log_rows_of(facts)), {}, 5)
    assert {TRACK_SEGMENTS, ZONE_VISITS} <= set(whole)
    assert len(whole) == len(FACT_KINDS) - 1

    monkeypatch.setattr(fact_frames, "PART_ROWS", 2)
    log = log_of(log_rows_of(facts))
    monkeypatch.setattr(fact_tables, "read_log", in_pieces(fact_tables.read_log))
    assert split_facts(log, {}, 5) == whole


def in_pieces(read: Callable[[pa.Table], dict[str, pa.Table]]) -> Callable[[pa.Table], dict[str, pa.Table]]:
    """As if one Arrow array could not hold all of a column: tables that stay in pieces."""

    class Pieces:
        def __init__(self, table: pa.Table) -> None:
            self._table = table

        def combine_chunks(self) -> pa.Table:
            return self._table

    return lambda log: {kind: Pieces(table) for kind, table in read(log).items()}
