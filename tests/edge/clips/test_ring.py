import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from clip_rig import NO_BOXES, START_US, Clock, decoded, picture

from sightline_edge.clips.ledger import Ledger
from sightline_edge.clips.ring import QUEUE_FRAMES, ClipRing, Thinner, clips_folder, open_clips
from sightline_edge.clips.store import Store
from sightline_edge.config import ClipsConfig, NodeConfig

DEADLINE_S = 20


def node(state: Path, **changes: object) -> NodeConfig:
    entries = {
        "node_id": "n",
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "model": "m",
        "cameras": [{"source": "clip.mp4", "camera": "c.yaml"}],
        "state": state,
    }
    return NodeConfig.model_validate(entries | changes)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def segments(ring_folder: Path) -> list[Path]:
    return sorted(ring_folder.glob("[!.]*/*"))


def kept(thinner: Thinner, frames: list[tuple[int, int]]) -> list[int]:
    return [at for at in (thinner.keep(captured, received) for captured, received in frames) if at is not None]


def test_frames_are_thinned_to_the_rate_on_average() -> None:
    frames = [(START_US + round(i * 1e6 / 30), START_US) for i in range(30 * 60)]
    assert len(kept(Thinner(200_000), frames)) == pytest.approx(5 * 60, abs=1)


def test_a_slow_camera_loses_nothing_and_a_gap_brings_no_burst() -> None:
    slow = [(START_US + i * 1_000_000, START_US) for i in range(10)]
    assert len(kept(Thinner(200_000), slow)) == 10
    gap = [(START_US, 0)] + [(START_US + 60_000_000 + i * 10_000, 0) for i in range(100)]
    assert len(kept(Thinner(200_000), gap)) == 6


def test_frames_still_come_at_their_rate_while_a_clock_that_was_set_back_catches_up() -> None:
    thinner = Thinner(200_000)
    kept(thinner, [(START_US, START_US)])
    hour_us = 3_600_000_000
    held = [(START_US + i, START_US - hour_us + i * 40_000) for i in range(1, 251)]  # as a live source dates them: 10 s
    times = kept(thinner, held)
    assert len(times) == pytest.approx(50, abs=1)
    assert np.diff(times) == pytest.approx(200_000, abs=2)
    after = [(START_US + 1000 + i * 40_000, START_US + 1000 + i * 40_000) for i in range(1, 251)]
    assert len(kept(thinner, after)) == pytest.approx(50, abs=2)


def test_the_ring_writes_what_is_offered(tmp_path: Path) -> None:
    clock = Clock()
    ring = ClipRing(ClipsConfig(), tmp_path, "n", clock)
    for i in range(25):
        ring.offer("gate", picture(i), START_US + i * 40_000, START_US + i * 40_000, NO_BOXES)
        clock.advance(0.04)
    wait_for(lambda: ring.frames_stored == 5)
    assert ring.oldest_frame_age_s() == pytest.approx(1.0)
    assert ring.frames_dropped == 0
    ring.close()
    (file,) = segments(tmp_path)
    assert [at_ms for at_ms, _ in decoded(file)] == [0, 200, 400, 600, 800]
    assert ring.bytes == file.stat().st_size


@contextmanager
def slow_disk(ring: ClipRing, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The writer is held at its next frame until the event is set."""
    release, reached = threading.Event(), threading.Event()
    append = Store.append

    def wait(*arguments: object) -> bool:
        reached.set()
        assert release.wait(DEADLINE_S)
        return append(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "append", wait)
    ring.offer("gate", picture(0), START_US, START_US, NO_BOXES)
    assert reached.wait(DEADLINE_S)
    yield release
    release.set()


def test_a_full_queue_drops_frames_and_offer_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ClipRing(ClipsConfig(), tmp_path, "n", Clock())
    with slow_disk(ring, monkeypatch) as release:
        for i in range(1, QUEUE_FRAMES + 6):  # returns at all, though nothing is written
            ring.offer("gate", picture(i), START_US + i * 200_000, START_US, NO_BOXES)
        assert ring.frames_dropped == 5
        release.set()
        ring.close()
    assert ring.frames_stored == 1 + QUEUE_FRAMES


def test_the_age_limit_holds_though_no_frame_comes(tmp_path: Path) -> None:
    clock = Clock()
    ring = ClipRing(ClipsConfig(max_age_h=1), tmp_path, "n", clock)
    ring.offer("gate", picture(0), START_US, START_US, NO_BOXES)
    wait_for(lambda: ring.frames_stored == 1)
    clock.advance(3600)
    wait_for(lambda: not segments(tmp_path) and ring.oldest_frame_age_s() == 0)
    ring.close()


def test_an_error_that_nobody_foresaw_ends_neither_writing_nor_purging(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    ring = ClipRing(ClipsConfig(max_age_h=1), tmp_path, "n", clock)
    with caplog.at_level(logging.CRITICAL):
        ring.offer("gate", None, START_US, START_US, NO_BOXES)  # type: ignore[arg-type]
        ring.offer("gate", picture(0), START_US + 200_000, START_US, NO_BOXES)
        wait_for(lambda: ring.frames_stored == 1)
    assert ring.frames_dropped == 1
    clock.advance(3600)
    wait_for(lambda: not segments(tmp_path))
    ring.close()


def test_a_node_without_clips_in_its_settings_stores_nothing(tmp_path: Path) -> None:
    assert open_clips(node(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_clips_of_an_earlier_setting_are_deleted_and_told(tmp_path: Path) -> None:
    with_clips = node(tmp_path, clips={})
    ring = open_clips(with_clips)
    assert ring is not None
    ring.offer("gate", picture(0), time.time_ns() // 1000, time.time_ns() // 1000, NO_BOXES)
    ring.close()
    assert len(segments(clips_folder(with_clips))) == 1
    assert open_clips(node(tmp_path)) is None
    assert segments(clips_folder(with_clips)) == []
    ledger = Ledger(clips_folder(with_clips))
    assert [deletion.reason for deletion in ledger.deletions()] == ["off"]
    ledger.close()
