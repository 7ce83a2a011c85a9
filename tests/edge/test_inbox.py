import threading

import numpy as np

from sightline_edge.frame import Frame
from sightline_edge.inbox import RECORDING_DEPTH, Inbox, Waiting
from sightline_edge.preprocessing import Placement, Prepared


def waiting(ordinal: int) -> Waiting:
    frame = Frame(ordinal, ordinal, ordinal, np.zeros((1, 1, 3), np.uint8))
    return Waiting(frame, Prepared(np.zeros((1, 1, 3), np.float32), Placement(0, 0, 1, 1)), 0.0)


def ordinals(taken: list[tuple[int, Waiting]]) -> list[tuple[int, int]]:
    return [(camera, one.frame.ordinal) for camera, one in taken]


def test_a_live_cameras_newest_frame_replaces_the_one_that_waits() -> None:
    inbox = Inbox(1)
    for i in range(5):
        inbox.put(0, waiting(i), live=True)
    assert ordinals(inbox.take(8, 0)) == [(0, 4)]


def test_cameras_take_turns() -> None:
    inbox = Inbox(3)
    for i in range(2):
        for camera in (0, 2):
            inbox.put(camera, waiting(i), live=False)
    assert ordinals(inbox.take(3, 0)) == [(0, 0), (2, 0), (0, 1)]
    assert ordinals(inbox.take(3, 0)) == [(2, 1)]


def test_a_recordings_reader_waits_for_room_and_every_frame_arrives() -> None:
    inbox = Inbox(1)
    count = RECORDING_DEPTH + 20

    def read() -> None:
        for i in range(count):
            inbox.put(0, waiting(i), live=False)
        inbox.close(0)

    reader = threading.Thread(target=read)
    reader.start()
    taken: list[tuple[int, Waiting]] = []
    while not inbox.finished(0):
        taken += inbox.take(1, 5)
    reader.join()
    assert [number for _, number in ordinals(taken)] == list(range(count))


def test_closing_lets_a_waiting_reader_go() -> None:
    inbox = Inbox(1)
    for i in range(RECORDING_DEPTH):
        inbox.put(0, waiting(i), live=False)
    reader = threading.Thread(target=inbox.put, args=(0, waiting(99)), kwargs={"live": False})
    reader.start()
    inbox.close(0)
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert (0, 99) not in ordinals(inbox.take(10, 0))
    assert inbox.finished(0)
