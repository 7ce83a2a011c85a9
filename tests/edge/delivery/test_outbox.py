"""The outbox: one write for many records, in their order, and nothing promised before it is on the disk."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sightline_contract.errors import StorageError
from sightline_edge.config import SpoolConfig
from sightline_edge.delivery import outbox as outbox_module
from sightline_edge.delivery.outbox import Outbox
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.delivery.spool import Spool


class ReluctantSpool(Spool):
    """A spool whose disk can be full, and which counts its writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SpoolConfig())
        self.full = threading.Event()
        self.writes: list[int] = []

    def append(self, records: "list[Record] | tuple[Record, ...]") -> None:  # type: ignore[override]
        if self.full.is_set():
            raise StorageError("the disk is full")
        super().append(records)
        self.writes.append(len(records))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[ReluctantSpool]:
    spool = ReluctantSpool(tmp_path / "spool.db")
    yield spool
    spool.close()


@pytest.fixture
def start(spool: ReluctantSpool) -> Callable[[float], Outbox]:
    def make(commit_s: float) -> Outbox:
        outbox = Outbox(spool, commit_s, lambda _: None)
        outbox.start()
        return outbox

    return make


def detection(number: int, size: int = 20) -> Record:
    return Record(Lane.DETECTIONS, "detections", "c", b"%020d" % number + bytes(size - 20))


def event(number: int) -> Record:
    return Record(Lane.EVENTS, "events", "c", b"%020d" % number)


def test_what_comes_together_is_written_together_and_in_order(spool: ReluctantSpool, start: Callable[[float], Outbox]) -> None:
    outbox = start(1.0)
    for number in range(500):
        outbox.put(detection(number))
    outbox.close()
    assert [int(row.value) for row in spool.take(Lane.DETECTIONS, 0, 1000)] == list(range(500))
    assert len(spool.writes) <= 3


def test_an_event_does_not_wait_for_the_next_write(spool: ReluctantSpool, start: Callable[[float], Outbox]) -> None:
    outbox = start(3600.0)
    kept = threading.Event()
    outbox.put(detection(1))
    outbox.put(event(2), stored=kept.set)
    assert kept.wait(60)
    assert spool.depth().total == 2  # what waited went along
    outbox.close()


def test_a_record_is_promised_only_when_the_disk_has_it(spool: ReluctantSpool, start: Callable[[float], Outbox]) -> None:
    seen: list[int] = []
    spool.full.set()
    outbox = start(0.01)
    kept = threading.Event()
    outbox.put(event(1), stored=lambda: (seen.append(spool.depth().total), kept.set()))  # type: ignore[func-returns-value]
    assert not kept.wait(0.3)
    spool.full.clear()
    assert kept.wait(5)
    assert seen == [1]
    outbox.close()


def test_a_full_disk_makes_a_recording_wait_and_refuses_a_live_camera(
    spool: ReluctantSpool, start: Callable[[float], Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "ROOM_BYTES", 1000)
    spool.full.set()
    outbox = start(0.01)
    taken = [outbox.put(detection(number, size=100), wait=False) for number in range(15)]
    assert taken == [True] * 10 + [False] * 5
    assert outbox.refused == 5
    waiting = threading.Thread(target=outbox.put, args=(detection(15, size=100),))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    spool.full.clear()
    waiting.join(10)
    outbox.close()
    assert [int(row.value[:20]) for row in spool.take(Lane.DETECTIONS, 0, 100)] == [*range(10), 15]


def test_a_stop_over_a_full_disk_says_that_not_all_was_kept(spool: ReluctantSpool, start: Callable[[float], Outbox]) -> None:
    spool.full.set()
    outbox = start(0.01)
    outbox.put(detection(1))
    with pytest.raises(StorageError, match="full"):
        outbox.close()
    with pytest.raises(StorageError, match="takes nothing any more"):
        outbox.put(detection(2))
