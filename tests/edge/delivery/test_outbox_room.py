"""Whatever waits in memory goes to the disk in pieces that the spool has room for."""

from pathlib import Path

from sightline_edge.config import SpoolConfig
from sightline_edge.delivery.outbox import ROOM_BYTES, Outbox
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.delivery.spool import WAL_BYTES, Spool


def test_the_log_stays_within_its_room_however_much_waits(tmp_path: Path) -> None:
    """Protection: the outbox writes a piece at a time. All at once, the log takes 23 MB, of a disk that gave it 4."""
    spool, log = Spool(tmp_path / "spool.db", SpoolConfig()), tmp_path / "spool.db-wal"
    log_bytes: list[int] = []
    outbox = Outbox(spool, 0.1, lambda _count: log_bytes.append(log.stat().st_size))
    records = [Record(Lane.DETECTIONS, "detections", "camera", b"%06d" % i + bytes(994)) for i in range(ROOM_BYTES // 1000 - 1)]
    for record in records:
        outbox.put(record)
    outbox.start()
    outbox.close()
    assert max(log_bytes) <= WAL_BYTES
    assert [row.value for row in spool.take(Lane.DETECTIONS, 0, len(records) + 1)] == [record.value for record in records]
    spool.close()
