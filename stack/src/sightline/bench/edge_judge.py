"""What reached the centre, held against what the node had promised."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import BrokerError
from sightline_contract.topics import DETECTIONS

_READ_TIMEOUT_S = 120.0


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
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False, "log_level": 0})
    found: list[Arrived] = []
    try:
        deadline_s = time.monotonic() + _READ_TIMEOUT_S
        for partition in consumer.list_topics(DETECTIONS.name, 30).topics[DETECTIONS.name].partitions:
            place = TopicPartition(DETECTIONS.name, partition, 0)
            _, end = consumer.get_watermark_offsets(place, 30)
            consumer.assign([place])
            while end > 0:
                if time.monotonic() > deadline_s:
                    raise BrokerError(f"{bootstrap}: its messages were not read within {_READ_TIMEOUT_S:.0f} s: see its log")
                messages = consumer.consume(10_000, 1.0)
                for message in messages:
                    payload = bytes(message.value())
                    at_s = message.timestamp()[1] / 1000
                    found.append(Arrived(number_of(payload, cameras), at_s, message.key().decode(), payload))
                if messages and messages[-1].offset() + 1 >= end:
                    break
    finally:
        consumer.close()
    return found


def numbers(arrived: list[Arrived]) -> npt.NDArray[np.int64]:
    """Their numbers, in order."""
    return np.array([each.number for each in arrived], np.int64)
