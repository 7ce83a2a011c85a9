"""What reached the centre, held against what the node had promised."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import BrokerError
from sightline_contract.topics import DETECTIONS

_SILENCE_S = 60.0


class Arrived(NamedTuple):
    """A message as the centre has it."""

    number: int  # second of the city x cameras + camera
    at_s: float  # UTC, by the centre's clock
    key: str
    payload: bytes


@dataclass(frozen=True)
class Verdict:
    """Counts of messages; nothing but ``repeated`` may be above 0 where a promise was kept."""

    promised: int
    arrived: int  # different ones
    lost: int  # promised and not arrived
    alien: int  # arrived and never handed over
    repeated: int
    furthest: int  # messages of a camera from a message to its repetition, at most
    disordered: int  # behind a later one of the camera, repetitions left out

    @property
    def lost_share(self) -> float:
        """Of what was promised."""
        return self.lost / self.promised if self.promised else 0.0


def judge(arrived: npt.NDArray[np.int64], promised: npt.NDArray[np.int64], handed: int, cameras: int) -> Verdict:
    """``arrived`` are the numbers in their order at the centre, each camera's in one partition; ``promised`` in any order."""
    different = np.unique(arrived)
    furthest = disordered = 0
    for camera in range(cameras):
        seconds = arrived[arrived % cameras == camera] // cameras
        place: dict[int, int] = {}
        newest = -1
        for position, second in enumerate(seconds.tolist()):
            if second in place:
                furthest = max(furthest, position - place[second])
                continue
            place[second] = position
            disordered += second < newest
            newest = max(newest, second)
    wanted = np.unique(promised)
    return Verdict(
        promised=len(wanted),
        arrived=len(different),
        lost=int(np.count_nonzero(~np.isin(wanted, different))),
        alien=int(np.count_nonzero(different >= handed)),
        repeated=len(arrived) - len(different),
        furthest=furthest,
        disordered=disordered,
    )


def number_of(payload: bytes, cameras: int) -> int:
    """Number of a steady city's message."""
    batch = DetectionBatch.FromString(payload)
    return batch.seq * cameras + int(batch.camera_id.rpartition("-")[2])


def read_detections(bootstrap: str, cameras: int) -> list[Arrived]:
    """All that the topic of detections holds, partition by partition; raises BrokerError."""
    return list(each_detection(bootstrap, cameras))


def each_detection(bootstrap: str, cameras: int) -> Iterator[Arrived]:
    """As ``read_detections``, one by one."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False, "log_level": 0})
    try:
        for partition in consumer.list_topics(DETECTIONS.name, 30).topics[DETECTIONS.name].partitions:
            place = TopicPartition(DETECTIONS.name, partition, 0)
            _, end = consumer.get_watermark_offsets(place, 30)
            consumer.assign([place])
            offset, newest_s = 0, time.monotonic()
            while offset < end:
                if time.monotonic() - newest_s > _SILENCE_S:
                    raise BrokerError(f"{bootstrap}: gave no message for {_SILENCE_S:.0f} s: see its log")
                for message in consumer.consume(5_000, 1.0):
                    newest_s, offset = time.monotonic(), int(message.offset() or 0) + 1
                    key, payload = bytes(message.key() or b""), bytes(message.value() or b"")
                    yield Arrived(number_of(payload, cameras), message.timestamp()[1] / 1000, key.decode(), payload)
    finally:
        consumer.close()


def held(bootstrap: str) -> int:
    """How many detections' messages the broker holds."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "judge", "log_level": 0})
    try:
        partitions = consumer.list_topics(DETECTIONS.name, 30).topics[DETECTIONS.name].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(DETECTIONS.name, each), 30)[1] for each in partitions)
    finally:
        consumer.close()


def numbers(arrived: Iterable[Arrived]) -> npt.NDArray[np.int64]:
    """Their numbers, in order."""
    return np.fromiter((each.number for each in arrived), np.int64)
