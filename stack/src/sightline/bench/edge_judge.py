"""What reached the centre, held against what the node had promised."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.topic_content import read_topic
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.topics import DETECTIONS


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
    for message in read_topic(bootstrap, DETECTIONS.name):
        key, payload = bytes(message.key() or b""), bytes(message.value() or b"")
        yield Arrived(number_of(payload, cameras), message.timestamp()[1] / 1000, key.decode(), payload)


def numbers(arrived: Iterable[Arrived]) -> npt.NDArray[np.int64]:
    """Their numbers, in order."""
    return np.fromiter((each.number for each in arrived), np.int64)
