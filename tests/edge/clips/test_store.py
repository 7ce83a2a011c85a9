import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from clip_rig import SIZE, START_US, Clock, Rig, decoded, picture
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import ValidationError

from sightline_contract.errors import StorageError
from sightline_edge.clips.ledger import Ledger
from sightline_edge.clips.store import PURGE_AHEAD_S, Store
from sightline_edge.config import ClipsConfig

DAY_S = 86_400
MINUTE_H = 1 / 60


def test_frames_are_stored_with_their_times(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    plain = np.full((SIZE[1], SIZE[0], 3), (40, 120, 200), np.uint8)
    for _ in range(10):
        rig.add(pixels=plain)
        rig.clock.advance(0.2)
    rig.store.close(rig.clock())
    (file,) = rig.files()
    frames = decoded(rig.folder / file)
    assert [at_ms for at_ms, _ in frames] == [200 * i for i in range(10)]
    assert all(np.abs(pixels.astype(int) - plain).max() < 12 for _, pixels in frames)
    ledger = Ledger(rig.folder)
    (segment,) = ledger.segments()
    ledger.close()
    assert (segment.first_us, segment.last_us, segment.frames) == (START_US, START_US + 1_800_000, 10)


def test_a_frame_of_odd_size_loses_its_last_row_and_column(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    assert rig.add(pixels=picture(1, (65, 49)))
    rig.store.close(rig.clock())
    (file,) = rig.files()
    assert decoded(rig.folder / file)[0][1].shape == (48, 64, 3)


def test_a_segment_has_its_name_only_when_it_is_whole(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.add()
    assert list(rig.files()) == ["gate/0000000001.mkv.part"]
    rig.clock.advance(2)
    rig.add()
    assert list(rig.files()) == ["gate/0000000001.mkv", "gate/0000000002.mkv.part"]
    rig.clock.advance(2)
    rig.purge()  # the camera fell silent
    assert sorted(rig.files()) == ["gate/0000000001.mkv", "gate/0000000002.mkv"]


def test_nobody_but_the_nodes_user_reads_the_ring(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.play(1)
    assert stat.S_IMODE(rig.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((rig.folder / file).stat().st_mode) for file in rig.files()} == {0o600}


def test_a_day_is_the_most_that_can_be_set() -> None:
    assert ClipsConfig(max_age_h=24).max_age_h == ClipsConfig().max_age_h == 24
    with pytest.raises(ValidationError, match="less than or equal to 24"):
        ClipsConfig(max_age_h=24.01)


def test_no_frame_outlives_the_age_limit(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_age_h=MINUTE_H)
    rig.play(150)
    assert 50 < rig.store.oldest_frame_age_s(rig.clock()) <= 60
    oldest = min(file for file in rig.files())
    assert {reason for _, reason in rig.told()} == {"age"}
    rig.clock.advance(60 - PURGE_AHEAD_S)
    rig.purge()
    assert oldest not in rig.files()
    assert rig.store.oldest_frame_age_s(rig.clock()) == rig.store.bytes == 0


def test_an_open_segment_goes_too_when_its_first_frame_is_too_old(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_age_h=MINUTE_H, segment_s=600)
    rig.play(56)
    assert [reason for _, reason in rig.told()] == ["age"]
    assert len(rig.files()) == 1
    assert rig.store.oldest_frame_age_s(rig.clock()) < 2


def test_all_cameras_together_stay_below_the_size_limit_at_every_frame(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=1024**2)
    most = 0
    for _ in range(300):
        for camera in ("a", "b", "c"):
            rig.add(camera, picture(rig.seed, (160, 120)))
        size = sum(rig.files().values())
        assert size <= rig.store.bytes <= 1024**2
        most = max(most, size)
        rig.clock.advance(0.2)
    assert most > 0.7 * 1024**2  # the limit was of use
    assert {reason for _, reason in rig.told()} == {"size"}


@pytest.mark.parametrize("frames", [1, 400])
def test_a_whole_file_takes_no_more_than_it_was_counted_with(make_rig: Callable[..., Rig], frames: int) -> None:
    rig = make_rig(segment_s=600)
    plain = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for _ in range(frames):
        rig.add(pixels=plain)
        rig.clock.advance(0.2)
    counted = rig.store.bytes
    rig.clock.advance(600)
    rig.purge()
    assert list(rig.files().values()) == [rig.store.bytes]
    assert rig.store.bytes <= counted


def test_both_limits_hold_at_once(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=1024**2, max_age_h=MINUTE_H)
    rig.play(70)  # small pictures: age comes first
    rig.play(30, size=(160, 120))  # then size does
    reasons = [reason for _, reason in rig.told()]
    assert set(reasons) == {"age", "size"}
    assert rig.store.oldest_frame_age_s(rig.clock()) <= 60
    assert sum(rig.files().values()) <= 1024**2


def test_a_frame_that_alone_breaks_the_size_limit_is_dropped(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=1024**2)
    assert not rig.add(pixels=picture(1, (1920, 1080)))
    assert (rig.store.frames_dropped, rig.store.bytes, rig.files()) == (1, 0, {})


def test_where_nothing_can_be_deleted_nothing_more_is_written(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    rig = make_rig(max_bytes=1024**2)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        rig.play(40, size=(160, 120))
    assert sum(rig.files().values()) <= rig.store.bytes <= 1024**2
    assert rig.store.frames_dropped > 0
    assert rig.told() == []
    rig.clock.advance(20)
    rig.play(1, size=(160, 120))
    assert {reason for _, reason in rig.told()} <= {"size", "torn"}
    assert rig.files().keys().isdisjoint({file for file, _ in rig.told()})


def test_a_limit_made_smaller_holds_from_the_start(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.play(40, size=(160, 120))
    assert sum(rig.files().values()) > 1024**2
    rig.restart(max_bytes=1024**2)
    assert sum(rig.files().values()) == rig.store.bytes <= 1024**2


def test_a_device_that_was_off_for_two_days_deletes_first(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.play(5)
    rig.store.close(rig.clock())
    before = sorted(rig.files())
    rig.clock.advance(2 * DAY_S)
    rig.clock.reboot()
    rig.start()
    assert rig.files() == {}
    assert rig.told() == [(file, "start") for file in before]


def test_what_is_young_survives_a_restart_and_is_purged_in_time(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_age_h=MINUTE_H)
    rig.play(4)
    rig.clock.reboot()
    rig.restart()
    assert len(rig.files()) == 2
    assert rig.store.bytes == sum(rig.files().values())
    rig.clock.advance(51)
    rig.purge()
    assert [reason for _, reason in rig.told()] == ["age"]


def test_a_segment_torn_by_a_power_cut_is_deleted_and_told(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.play(2.4)
    rig.cut_power()
    assert sorted(rig.files()) == ["gate/0000000001.mkv", "gate/0000000002.mkv.part"]
    rig.clock.reboot()
    rig.start()
    assert list(rig.files()) == ["gate/0000000001.mkv"]
    assert rig.told() == [("gate/0000000002.mkv", "torn")]


def test_a_file_that_somebody_deleted_or_put_there_is_told(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.play(4)
    rig.store.close(rig.clock())
    (rig.folder / "gate/0000000001.mkv").unlink()
    (rig.folder / "gate/copy.mkv").write_bytes(b"frames of unknown age")
    rig.start()
    assert list(rig.files()) == ["gate/0000000002.mkv"]
    assert rig.told() == [("gate/0000000001.mkv", "missing"), ("gate/copy.mkv", "stray")]


def test_a_lost_ledger_leaves_no_frames_behind(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.play(4)
    rig.store.close(rig.clock())
    for file in rig.folder.glob("clips.db*"):
        file.unlink()
    rig.start()
    assert rig.files() == {}
    assert [reason for _, reason in rig.told()] == ["stray", "stray"]


def test_a_ledger_that_is_damaged_is_one_line(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.store.close(rig.clock())
    (rig.folder / "clips.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"clips\.db: is no ledger of clips that can be used"):
        rig.start()


def test_a_second_node_does_not_get_the_folder(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    with pytest.raises(StorageError, match="another node keeps its clips there"):
        Store(rig.config, rig.folder, "other", rig.clock())


@pytest.mark.parametrize("step_s", [-7200, -30, 30, 7200])
def test_a_step_of_the_clock_lengthens_no_frames_life(make_rig: Callable[..., Rig], clock: Clock, step_s: int) -> None:
    rig = make_rig(max_age_h=MINUTE_H)
    rig.play(4)
    old = sorted(rig.files())
    clock.off_us += step_s * 1_000_000
    rig.purge()
    clock.advance(57 - 4)
    rig.purge()
    assert old[0] not in rig.files()
    assert rig.store.oldest_frame_age_s(clock()) <= 60


def test_a_clock_set_back_before_a_reboot_lengthens_no_frames_life(make_rig: Callable[..., Rig], clock: Clock) -> None:
    clock.off_us = 3600 * 1_000_000
    rig = make_rig(max_age_h=1)
    rig.play(2)
    clock.off_us = 0  # an hour back
    rig.purge()
    clock.advance(1800)
    clock.reboot()
    rig.restart()
    assert len(rig.files()) == 1
    clock.advance(1795)
    rig.purge()
    assert rig.files() == {}


def test_frames_that_an_earlier_boot_dated_in_the_future_go_at_once(make_rig: Callable[..., Rig], clock: Clock) -> None:
    rig = make_rig()
    rig.play(2)
    rig.store.close(clock())
    clock.off_us = -DAY_S * 1_000_000 * 400  # a device without a clock of its own starts in the past
    clock.reboot()
    rig.start()
    assert rig.files() == {}
    assert [reason for _, reason in rig.told()] == ["clock"]


def test_a_box_that_is_not_finite_drops_the_frame_and_not_the_segment(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    assert rig.add()
    rig.clock.advance(0.2)
    assert not rig.add(boxes=np.array([[0, 0, np.nan, 5]], np.float32))
    rig.clock.advance(0.2)
    assert rig.add()
    assert (rig.store.frames_stored, rig.store.frames_dropped, len(rig.files())) == (2, 1, 1)


FULL_DISK = """
import resource, sys
from pathlib import Path
from clip_rig import Clock, Rig, picture
rig = Rig(Path(sys.argv[1]) / "clips", Clock(), segment_s=600)
rig.add("small")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
for seed in range(12):
    rig.add("large", picture(seed, (320, 240)))
    rig.purge()
    rig.clock.advance(0.2)
refused = rig.store.frames_dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
rig.clock.advance(10)
print(refused, rig.add("large"), rig.add("small"), rig.told(), sum(rig.files().values()) <= rig.store.bytes)
rig.store.close(rig.clock())
"""


def test_a_disk_that_takes_no_more_costs_frames_and_not_the_node(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)]
    support = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": support}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "12 True True [('large/0000000002.mkv', 'torn')] True", done.stderr
    assert "frames cannot be kept" in done.stderr


class PowerCut(BaseException):
    """Nothing of the process runs after it."""


class RingMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: limits hold, and every segment that ever was is on the disk or told."""

    limit_s = 60
    max_bytes = 1024**2

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.born: dict[str, int] = {}  # true time of a file's first frame
        self.seen: set[str] = set()
        self.rig = Rig(Path(self.temporary.name) / "clips", self.clock, max_age_h=self.limit_s / 3600, max_bytes=self.max_bytes)
        self.purged = True

    @rule(camera=st.sampled_from(["a", "b"]), frames=st.integers(1, 12), width=st.sampled_from([64, 320]))
    def offer(self, camera: str, frames: int, width: int) -> None:
        for _ in range(frames):
            self.rig.add(camera, picture(self.rig.seed, (width, 240)))
            self.note()
            self.clock.advance(0.2)
        self.purged = False

    @rule(seconds=st.sampled_from([0.5, 3, 20, 70]))
    def purge_after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.rig.purge()
        self.purged = True

    @rule(step_s=st.sampled_from([-4000, -45, -1, 1, 45, 4000]))
    def clock_step(self, step_s: int) -> None:
        self.clock.off_us += step_s * 1_000_000
        self.rig.purge()  # a running node purges every second
        self.purged = True

    @rule()
    def restart(self) -> None:
        self.rig.restart()
        self.purged = True

    @rule(off_s=st.sampled_from([1, 30, 200]))
    def power_cut(self, off_s: int) -> None:
        self.rig.cut_power()
        self.clock.advance(off_s)
        self.clock.reboot()
        self.rig.start()
        self.purged = True

    @rule(
        point=st.sampled_from([(Ledger, "enter"), (Ledger, "complete"), (Ledger, "tell"), (Path, "rename"), (Path, "unlink")]),
        done=st.booleans(),
        seconds=st.sampled_from([0.2, 3, 70]),
    )
    def power_cut_within(self, point: tuple[type, str], done: bool, seconds: float) -> None:
        """The power goes just before or after one step of a frame and a purge, wherever they get to it."""
        self.note()
        self.clock.advance(seconds)
        owner, name = point
        step = getattr(owner, name)

        def last(*arguments: object, **named: object) -> None:
            if done:
                step(*arguments, **named)
            raise PowerCut

        with pytest.MonkeyPatch.context() as patched, suppress(PowerCut):
            patched.setattr(owner, name, last)
            self.rig.add("a", picture(self.rig.seed, (320, 240)))
            self.rig.purge()
        self.clock.reboot()
        self.rig.cut_power()
        self.note()
        self.rig.start()
        self.purged = True

    @precondition(lambda self: any(name.endswith(".mkv") for name in self.rig.files()))
    @rule()
    def somebody_deletes_a_file(self) -> None:
        name = next(name for name in self.rig.files() if name.endswith(".mkv"))
        (self.rig.folder / name).unlink()
        self.rig.restart()

    def note(self) -> None:
        for name in self.rig.files():
            stem = name.removesuffix(".part")
            self.born.setdefault(stem, self.clock.true_us)
            self.seen.add(stem)

    @invariant()
    def every_segment_is_there_or_told(self) -> None:
        self.note()
        on_disk = {name.removesuffix(".part") for name in self.rig.files()}
        told = [file for file, _ in self.rig.told()]
        assert len(told) == len(set(told))
        assert on_disk.isdisjoint(told)
        known = on_disk | set(told)
        assert self.seen <= known
        numbers = sorted(int(file.split("/")[1].removesuffix(".mkv")) for file in known)
        assert numbers == list(range(1, len(numbers) + 1))  # none came and went between two looks

    @invariant()
    def both_limits_hold(self) -> None:
        sizes = self.rig.files()
        assert sum(sizes.values()) <= self.rig.store.bytes <= self.max_bytes
        if self.purged:
            for name in sizes:
                assert self.clock.true_us - self.born[name.removesuffix(".part")] <= self.limit_s * 1e6

    def teardown(self) -> None:
        self.rig.cut_power()
        self.temporary.cleanup()


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=30)
