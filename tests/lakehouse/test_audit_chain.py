"""The chain of the audit log: whatever is done to its rows is found, and told by the row's number."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_lakehouse.audit.chain import DAY_US, GENESIS, Entry, Row, chained, row_hash, without_repetitions
from sightline_lakehouse.audit.verify import Fault, Finding, Verifier

AT_US = 1_760_000_000_000_000


def entry(number: int, **changed: Any) -> Entry:
    values: dict[str, Any] = {
        "record_id": f"r{number}",
        "kind": "clip_exported",
        "node_id": "node-1",
        "actor": "ann",
        "reason": "police request 17",
        "at_us": AT_US + number,
        "camera_id": None if number % 2 else "gate",
        "details": '{"file":"a.mp4"}',
        "source_topic": "audit",
        "source_partition": 0,
        "source_offset": number,
        "received_us": AT_US + number,
        "event_day": AT_US // DAY_US,
    }
    return Entry(**values | changed)


def log(rows: int) -> list[Row]:
    return list(chained(map(entry, range(1, rows + 1)), 0, GENESIS))


def judge(rows: Sequence[Row], signed: Sequence[Row] = ()) -> list[Finding]:
    verifier = Verifier({row.seq: row.hash for row in signed})
    for row in sorted(rows, key=lambda row: row.seq):
        verifier.add(row)
    return verifier.findings()


def short(findings: Sequence[Finding]) -> list[tuple[str, int, int]]:
    return [(str(finding.fault), finding.first, finding.last) for finding in findings]


def rechained(rows: Sequence[Row]) -> list[Row]:
    """As somebody writes the whole chain anew."""
    return list(chained((row.entry for row in rows), 0, GENESIS))


def forged(row: Row, **changed: Any) -> Row:
    """Changed, with a hash that fits."""
    other = row.entry._replace(**changed)
    return row._replace(entry=other, hash=row_hash(row.prev_hash, row.seq, other))


def renumbered(rows: Sequence[Row]) -> list[Row]:
    return [row._replace(seq=number) for number, row in enumerate(rows, 1)]


@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_a_whole_chain_has_no_finding(length: int) -> None:
    rows = log(length)
    assert judge(rows, rows[-1:]) == []


def test_the_bytes_of_a_row_are_those_that_the_docs_name() -> None:
    import hashlib

    numbers = [1, AT_US + 1, 0, 1, AT_US + 1, AT_US // DAY_US]
    texts = ["r1", "clip_exported", "node-1", "ann", "police request 17", None, '{"file":"a.mp4"}', "audit"]
    content = b"".join(number.to_bytes(8, "big", signed=True) for number in numbers)
    for text in texts:
        content += b"\xff" * 8 if text is None else len(text).to_bytes(8, "big") + text.encode()
    assert log(1)[0].hash == hashlib.sha256(b"\0" * 32 + content).hexdigest()


@given(st.lists(st.text(max_size=3), min_size=6, max_size=6), st.lists(st.text(max_size=3), min_size=6, max_size=6))
def test_rows_that_differ_have_different_hashes(some: list[str], others: list[str]) -> None:
    names = ("record_id", "kind", "node_id", "actor", "reason", "details")
    hashes = {row_hash(GENESIS, 1, entry(1, **dict(zip(names, values, strict=True)))) for values in (some, others)}
    assert len(hashes) == (1 if some == others else 2)


def change(rows: list[Row], seq: int) -> None:
    rows[seq - 1] = rows[seq - 1]._replace(entry=rows[seq - 1].entry._replace(actor="eve"))


@pytest.mark.parametrize("seq", [1, 5, 10])
def test_a_changed_row_is_named(seq: int) -> None:
    rows = log(10)
    change(rows, seq)
    assert short(judge(rows)) == [("changed", seq, seq)]


@pytest.mark.parametrize("field", Entry._fields)
def test_a_change_of_any_column_is_found(field: str) -> None:
    rows = log(10)
    old = getattr(rows[4].entry, field)
    rows[4] = rows[4]._replace(entry=rows[4].entry._replace(**{field: old + 1 if isinstance(old, int) else "other"}))
    assert short(judge(rows)) == [("changed", 5, 5)]


@pytest.mark.parametrize("value", [None, "", "no hex", "f" * 64])
@pytest.mark.parametrize("column", ["hash", "prev_hash"])
@pytest.mark.parametrize("seq", [1, 5, 10])
def test_a_changed_hash_is_found(column: str, value: Any, seq: int) -> None:
    rows = log(10)
    rows[seq - 1] = rows[seq - 1]._replace(**{column: value})
    assert short(judge(rows)) == [("changed", seq, seq)]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3), (5, 5), (4, 8)])
def test_removed_rows_are_named(first: int, last: int) -> None:
    rows = log(10)
    del rows[first - 1 : last]
    assert short(judge(rows)) == [("removed", first, last)]


def test_rows_removed_at_the_end_are_named_by_a_signed_checkpoint_only() -> None:
    rows = log(10)
    assert judge(rows[:7]) == []
    (found,) = judge(rows[:7], [rows[4], rows[8]])
    assert str(found) == "rows 8 to 9: were removed at the end, as a signed checkpoint tells"
    assert short(judge([], [rows[8]])) == [("removed", 1, 9)]


def test_rows_removed_and_the_rest_renumbered() -> None:
    rows = log(40)
    del rows[4]
    rows = renumbered(rows)
    assert short(judge(rows)) == [("removed", 5, 5), ("moved", 5, 39)]


def swap_numbers(rows: list[Row], a: int, b: int) -> None:
    rows[a - 1], rows[b - 1] = rows[b - 1]._replace(seq=a), rows[a - 1]._replace(seq=b)


def swap_contents(rows: list[Row], a: int, b: int) -> None:
    one, other = rows[a - 1], rows[b - 1]
    rows[a - 1], rows[b - 1] = one._replace(entry=other.entry), other._replace(entry=one.entry)


@pytest.mark.parametrize("swap", [swap_numbers, swap_contents])
@pytest.mark.parametrize(("a", "b"), [(1, 2), (5, 6), (9, 10), (1, 10), (20, 60), (1, 100)])
def test_reordered_rows_are_told_from_changed_ones(swap: Callable[[list[Row], int, int], None], a: int, b: int) -> None:
    rows = log(b)
    swap(rows, a, b)
    assert short(judge(rows)) == [("moved", a, a), ("moved", b, b)]


@pytest.mark.parametrize("seq", [1, 5, 10])
def test_a_row_that_was_put_in_is_named(seq: int) -> None:
    rows = log(10)
    rows.insert(seq - 1, forged(rows[seq - 1], reason="never happened"))
    expected = ("inserted", seq, seq)
    assert expected in short(judge(rows))
    assert short(judge(rows, rows[-1:])) == [expected]


def test_a_row_that_was_put_in_and_the_rest_renumbered() -> None:
    rows = log(30)
    rows.insert(4, forged(rows[4], reason="never happened"))
    assert ("inserted", 5, 5) in short(judge(renumbered(rows)))


def test_a_row_that_stands_twice_is_named() -> None:
    rows = log(10)
    assert short(judge([*rows, rows[4]])) == [("duplicated", 5, 5)]
    (found,) = judge([*rows, rows[4]._replace(seq=9)])
    assert (found.fault, found.first) == (Fault.DUPLICATED, 9)
    assert found.what.startswith("is row 5 once more")
    assert short(judge([*rows, rows[9]._replace(seq=3)])) == [("duplicated", 3, 3)]


@pytest.mark.parametrize("seq", [1, 5, 9])
def test_a_row_changed_together_with_its_hash_is_named(seq: int) -> None:
    rows = log(10)
    rows[seq - 1] = forged(rows[seq - 1], actor="eve")
    assert short(judge(rows)) == [("changed", seq, seq)]


def test_a_row_with_hashes_of_its_own_is_named_and_not_the_one_before() -> None:
    rows = log(10)
    rows[4] = forged(rows[4]._replace(prev_hash="e" * 64), actor="eve")
    assert short(judge(rows)) == [("changed", 5, 5)]


def test_rows_written_anew_from_one_on_contradict_the_checkpoint_that_follows() -> None:
    honest = log(20)
    rows = list(honest)
    change(rows, 8)
    rows = rechained(rows)
    assert judge(rows) == []  # whole in itself
    assert short(judge(rows, [honest[4], honest[11], honest[19]])) == [("rewritten", 6, 12)]


def test_a_chain_that_was_cut_and_went_on_contradicts_its_checkpoint() -> None:
    honest = log(20)
    rows = [*honest[:10], *chained((entry(n, actor="eve") for n in range(11, 25)), 10, honest[9].hash)]
    assert judge(rows) == []
    assert short(judge(rows, [honest[14]])) == [("rewritten", 1, 15)]


def test_rows_removed_at_the_beginning_with_the_rest_chained_anew() -> None:
    honest = log(20)
    assert short(judge(rechained(honest[3:]), [honest[4]])) == [("rewritten", 1, 5)]
    begun_anew = [row._replace(seq=row.seq - 3) for row in honest[3:]]
    begun_anew = [row._replace(hash=row_hash(row.prev_hash, row.seq, row.entry)) for row in begun_anew]
    assert ("rewritten", 1, 1) in short(judge(begun_anew))


@given(st.data())
def test_any_one_mutation_is_found_and_said_of_the_row(data: st.DataObject) -> None:
    rows = log(data.draw(st.integers(1, 40)))
    signed = [rows[-1]]
    seq = data.draw(st.integers(1, len(rows)))
    what = data.draw(st.sampled_from(["change", "remove", "swap", "insert", "repeat", "renumber"]))
    row, touched = rows[seq - 1], {seq}
    if what == "change":
        field = data.draw(st.sampled_from(Entry._fields))
        old = getattr(row.entry, field)
        new = data.draw((st.integers(0, 2**62) if isinstance(old, int) else st.text()).filter(lambda value: value != old))
        rows[seq - 1] = row._replace(entry=row.entry._replace(**{field: new}))
    elif what == "remove":
        del rows[seq - 1]
    elif what == "swap":
        other = data.draw(st.integers(1, len(rows)))
        if other == seq:
            return
        data.draw(st.sampled_from([swap_numbers, swap_contents]))(rows, seq, other)
        touched |= {other}
    elif what == "insert":
        rows.append(forged(row, details=data.draw(st.text().filter(lambda text: text != row.entry.details))))
    elif what == "repeat":
        rows.append(row)
    else:
        rows[seq - 1] = row._replace(seq=data.draw(st.integers(-100, 100).filter(lambda number: number != seq)))
        touched |= {rows[seq - 1].seq}
    found = judge(rows, signed)
    assert found
    assert touched & {number for finding in found for number in range(finding.first, finding.last + 1)}
    assert all(finding.last - finding.first < 3 for finding in found) or what == "renumber"


@given(st.lists(st.integers(1, 8), max_size=40), st.data())
def test_records_give_the_same_rows_however_they_are_cut_into_batches(numbers: list[int], data: st.DataObject) -> None:
    entries = [entry(number, source_offset=place) for place, number in enumerate(numbers)]
    rows: list[Row] = []
    rest = entries
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        fresh = without_repetitions(rest[:cut], [row.entry for row in rows])
        rows += chained(fresh, len(rows), rows[-1].hash if rows else GENESIS)
        rest = rest[cut:]
    assert rows == list(chained(without_repetitions(entries, ()), 0, GENESIS))
    assert judge(rows) == []


def test_a_record_that_says_something_else_under_a_known_id_is_kept() -> None:
    first, repeated, other = entry(1), entry(1, at_us=5, source_offset=2), entry(1, reason="another")
    assert list(without_repetitions([first, repeated, other], ())) == [first, other]
    assert list(without_repetitions([repeated, other], [first])) == [other]
