from dataclasses import replace

import numpy as np

from sightline_contract.batch import get_frames, parse_batch
from sightline_edge.batching import Batcher, FrameDetections, Origin

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US
ORIGIN = Origin("node", "camera", 42, "model", "7", b"digest", (640, 480), 10.0)


def frame(ordinal: int, captured_us: int | None = None, detections: int = 1) -> FrameDetections:
    captured_us = START_US + ordinal * 100_000 if captured_us is None else captured_us
    boxes = np.full((detections, 4), 0.5, np.float32)
    return FrameDetections(ordinal, captured_us, boxes, np.full(detections, 0.5, np.float32), np.zeros(detections, np.uint8))


def feed(batcher: Batcher, frames: list[FrameDetections]) -> list:
    return [batch for one in frames if (batch := batcher.add(one, now_us=0))]


def test_a_batch_holds_a_second_of_frames_and_the_next_goes_on_where_it_ended() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    first, second = feed(batcher, [frame(i, detections=i % 3) for i in range(21)])
    assert (first.seq, first.first_frame, first.captured_us) == (0, 0, START_US)
    assert (second.seq, second.first_frame, second.captured_us) == (1, 10, START_US + SECOND_US)
    columns = get_frames(first)
    assert columns.offset_ms.tolist() == list(range(0, 1000, 100))
    assert columns.counts.tolist() == [i % 3 for i in range(10)]


def test_no_batch_holds_frames_of_two_models_and_none_is_missing() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    batches = feed(batcher, [frame(i) for i in (0, 1, 2, 5)])
    batcher.use(replace(ORIGIN, model_version="8"))
    batches += feed(batcher, [frame(i) for i in (7, 8)])
    batcher.use(replace(ORIGIN, model_version="8"))  # the same again
    batches += [*feed(batcher, [frame(9)]), batcher.end()]
    assert [(batch.model_version, batch.seq, batch.first_frame) for batch in batches] == [("7", 0, 0), ("8", 1, 7)]
    assert [(len(get_frames(batch).counts), batch.frames_skipped) for batch in batches] == [(4, 3), (3, 0)]


def test_frames_and_skipped_frames_add_up_to_what_the_camera_gave() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    given = [0, 1, 4, 5, 9, 12, 13, 25, 26]
    batches = [*feed(batcher, [frame(i) for i in given]), batcher.end()]
    assert [batch.first_frame for batch in batches] == [0, 12, 25]
    assert [batch.frames_skipped for batch in batches] == [12 - 5, 13 - 2, 0]
    assert sum(len(get_frames(batch).counts) + batch.frames_skipped for batch in batches) == 27


def test_the_last_batch_says_that_the_session_is_over() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    feed(batcher, [frame(0)])
    last = batcher.end()
    assert last is not None
    assert last.end_of_session
    assert parse_batch(last.SerializeToString()).session == 42


def test_a_session_without_an_open_batch_ends_with_an_empty_one() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    feed(batcher, [frame(0)])
    assert batcher.overdue(now_us=10 * SECOND_US) is not None
    last = batcher.end()
    assert last is not None
    assert (last.seq, last.first_frame, last.captured_us, last.end_of_session) == (1, 1, START_US, True)
    assert get_frames(parse_batch(last.SerializeToString())).counts.size == 0


def test_appearance_goes_with_its_detections_and_its_size_is_told_where_there_are_none() -> None:
    batcher = Batcher(replace(ORIGIN, appearance_size=3), SECOND_US)
    looks = np.arange(6, dtype=np.int8).reshape(2, 3)
    feed(batcher, [frame(0, detections=0), replace(frame(1, detections=2), appearance=looks)])
    first = batcher.overdue(now_us=10 * SECOND_US)
    last = batcher.end()
    assert first is not None
    assert last is not None
    np.testing.assert_array_equal(get_frames(parse_batch(first.SerializeToString())).appearance, looks)
    assert get_frames(last).appearance is not None
    assert last.appearance_size == 3


def test_a_session_without_any_frame_sends_nothing() -> None:
    assert Batcher(ORIGIN, SECOND_US).end() is None


def test_a_silent_cameras_batch_goes_by_the_clock() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    batcher.add(frame(0), now_us=50 * SECOND_US)
    assert batcher.overdue(now_us=51 * SECOND_US) is None
    batch = batcher.overdue(now_us=52 * SECOND_US)
    assert batch is not None
    assert batch.frames_skipped == 0
    assert batcher.overdue(now_us=60 * SECOND_US) is None


def test_a_gap_in_time_opens_a_new_batch() -> None:
    batcher = Batcher(ORIGIN, SECOND_US)
    hour_later = START_US + 3600 * SECOND_US
    (batch,) = feed(batcher, [frame(0), frame(1, hour_later)])
    assert get_frames(batch).offset_ms.tolist() == [0]
