import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from clip_rig import NO_BOXES, SIZE, START_US, Rig, decoded, picture

from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.events import AuditRecord
from sightline_edge.clips.clock import read_clock
from sightline_edge.clips.export import Request, export_clip, os_user
from sightline_edge.clips.segment import iso_time
from sightline_edge.clips.store import Offered, Store
from sightline_edge.config import ClipsConfig, SpoolConfig
from sightline_edge.delivery.delivery import SPOOL_FILE
from sightline_edge.delivery.records import Lane
from sightline_edge.delivery.spool import Spool

SECOND_US = 1_000_000


def shade(number: int) -> np.ndarray:
    """A picture that tells which frame it is: eight columns, dark or light, are the number's bits."""
    bits = np.array([number >> bit & 1 for bit in range(8)], np.uint8)
    row = np.repeat(40 + 160 * bits, SIZE[0] // 8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (SIZE[1], SIZE[0], 3)))


def number_of(pixels: np.ndarray) -> int:
    columns = pixels.mean(axis=(0, 2)).reshape(8, -1).mean(axis=1)
    return sum(1 << bit for bit in range(8) if columns[bit] > 120)


@pytest.fixture
def ring(make_rig: Callable[..., Rig]) -> Rig:
    """Ten seconds of a camera, five frames a second, in five whole segments; frames are numbered 0 to 49."""
    rig = make_rig(blur=("person",))
    for number in range(50):
        rig.add(pixels=shade(number))
        rig.clock.advance(0.2)
    rig.clock.advance(2)
    rig.purge()
    return rig


class Desk:
    """Asks for clips of a ring and keeps the audit records."""

    def __init__(self, ring: Rig, folder: Path) -> None:
        self.ring = ring
        self.out = folder / "clip.mp4"
        self.records: list[AuditRecord] = []

    def export(self, start_s: float = 0, end_s: float = 10, **changes: object):
        wanted = {
            "node_id": "node",
            "camera_id": "gate",
            "from_us": START_US + round(start_s * SECOND_US),
            "to_us": START_US + round(end_s * SECOND_US),
            "reason": "police request 12",
            "out": self.out,
        }
        request = Request(**(wanted | changes))  # type: ignore[arg-type]
        return export_clip(self.ring.folder, self.ring.config, request, self.records.append, self.ring.clock())


@pytest.fixture
def desk(ring: Rig, tmp_path: Path) -> Desk:
    return Desk(ring, tmp_path)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_clip_over_several_segments_holds_every_frame_at_its_time(desk: Desk, name: str) -> None:
    out = desk.out.with_name(name)
    made = desk.export(4, 8.0, out=out)
    frames = decoded(out)
    assert [number_of(pixels) for _, pixels in frames] == list(range(20, 41))
    assert [at_ms for at_ms, _ in frames] == [200 * i for i in range(21)]
    assert (made.first_us, made.last_us) == (START_US + 4 * SECOND_US, START_US + 8 * SECOND_US)
    assert (made.frames, made.segments) == (21, 3)
    with av.open(str(out)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["first_frame"] == iso_time(made.first_us)
    assert tags["creation_time"][:19] == iso_time(made.first_us)[:19]
    assert (tags["camera_id"], tags["node_id"]) == ("gate", "node")


def test_a_clip_begins_at_the_key_frame_before_what_was_asked_for(ring: Rig, desk: Desk) -> None:
    made = desk.export(5.0, 5.5)
    assert [number_of(pixels) for _, pixels in decoded(desk.out)] == list(range(20, 28))
    assert made.first_us == START_US + 4 * SECOND_US
    assert desk.records[0].details["first_frame_us"] == made.first_us


def test_frames_are_joined_without_being_encoded_again(ring: Rig, desk: Desk) -> None:
    out = desk.out.with_suffix(".mkv")
    desk.export(out=out)

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    stored = [packet for file in ring.files() for packet in packets(ring.folder / file)]
    assert packets(out) == stored


def test_the_record_says_who_took_what_and_why(desk: Desk) -> None:
    desk.export(0, 2)
    (record,) = desk.records
    assert (record.kind, record.node_id, record.camera_id) == ("clip_exported", "node", "gate")
    assert (record.actor, record.reason) == (os_user(), "police request 12")
    assert record.details["sha256"] == hashlib.sha256(desk.out.read_bytes()).hexdigest()
    assert record.details["bytes"] == desk.out.stat().st_size
    assert (record.details["from_us"], record.details["to_us"]) == (START_US, START_US + 2 * SECOND_US)
    assert record.details["file"] == "clip.mp4"
    assert record.details["blur"] == "person"
    assert stat.S_IMODE(desk.out.stat().st_mode) == 0o600


def test_the_actor_is_not_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = os_user()
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert os_user() == truth != "somebody-else"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reason": ""}, "--reason is empty: say why"),
        ({"reason": "  \n"}, "--reason is empty: say why"),
        ({"from_us": START_US + 10, "to_us": START_US}, "is not before --to"),
        ({"out": Path("clip.avi")}, r"clip\.avi: is neither \.mp4 nor \.mkv"),
        ({"out": Path("/no/such/folder/clip.mp4")}, "its folder does not exist"),
        ({"camera_id": "yard"}, "camera yard: no clip .*: there is none of this camera"),
        (
            {"from_us": START_US - 10 * SECOND_US, "to_us": START_US - SECOND_US},
            rf"no clip from .*: there are clips from {iso_time(START_US)} to {iso_time(START_US + 9_800_000)}",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(desk: Desk, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        desk.export(**changes)
    assert "\n" not in str(refused.value)
    assert desk.records == []
    assert not desk.out.exists()


def test_a_clip_never_replaces_a_file_nor_lies_in_the_ring(ring: Rig, desk: Desk) -> None:
    desk.out.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists already"):
        desk.export()
    assert desk.out.read_bytes() == b"mine"
    with pytest.raises(ConfigError, match="lies in the ring"):
        desk.export(out=ring.folder / "gate" / "clip.mp4")


def test_frames_over_the_age_limit_are_gone_though_no_node_runs_to_purge_them(ring: Rig, desk: Desk) -> None:
    ring.store.close(ring.clock())
    ring.clock.advance(86_400)
    with pytest.raises(ConfigError, match="there is none of this camera"):
        desk.export()
    ring.start()


def test_segments_that_are_purged_while_a_clip_is_made_are_left_out(ring: Rig, desk: Desk) -> None:
    first, *rest = ring.files()
    (ring.folder / first).unlink()
    assert desk.export().first_us == START_US + 2 * SECOND_US
    for file in rest:
        (ring.folder / file).unlink()
    with pytest.raises(ConfigError, match="have just been deleted"):
        desk.export(out=desk.out.with_name("other.mp4"))


def test_pictures_of_another_size_are_not_joined(ring: Rig, desk: Desk) -> None:
    ring.add(pixels=picture(1, (96, 64)))
    ring.clock.advance(3)
    ring.purge()
    with pytest.raises(ConfigError, match=r"its pictures changed at .*: export up to then, and from then on"):
        desk.export(0, 20)
    assert desk.records == []
    assert list((ring.folder / ".exports").iterdir()) == []


def test_no_record_no_clip(ring: Rig, desk: Desk) -> None:
    def refuse(_: AuditRecord) -> None:
        assert not [path for path in desk.out.parent.iterdir() if path.suffix in {".mp4", ".part"}]
        raise StorageError("the spool is full")

    request = Request("node", "gate", START_US, START_US + SECOND_US, "why", desk.out)
    with pytest.raises(StorageError, match="the spool is full"):
        export_clip(ring.folder, ring.config, request, refuse, ring.clock())
    assert not desk.out.exists()
    assert list((ring.folder / ".exports").iterdir()) == []


def test_a_clip_that_cannot_be_written_is_followed_by_a_record_that_says_so(desk: Desk, tmp_path: Path) -> None:
    aside = tmp_path / "stick"
    aside.mkdir()

    def pull_the_stick(record: AuditRecord) -> None:
        desk.records.append(record)
        if record.kind == "clip_exported":
            aside.rmdir()

    request = Request("node", "gate", START_US, START_US + SECOND_US, "why", aside / "clip.mp4")
    with pytest.raises(StorageError, match=r"clip\.mp4: cannot be written \(No such file or directory\)"):
        export_clip(desk.ring.folder, desk.ring.config, request, pull_the_stick, desk.ring.clock())
    exported, failed = desk.records
    assert (exported.kind, failed.kind) == ("clip_exported", "clip_export_failed")
    assert failed.record_id != exported.record_id == failed.details["export"]
    assert failed.details["error"] == "No such file or directory"


def test_a_full_disk_leaves_no_part_of_a_clip(desk: Desk, tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from clip_rig import START_US
from sightline_edge.clips.clock import Instant
from sightline_edge.clips.export import Request, export_clip
from sightline_edge.config import ClipsConfig
def record(record):
    print(record.kind)
    if record.kind == "clip_exported":
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
request = Request("node", "gate", START_US, START_US + 5_000_000, "why", Path(sys.argv[2]))
now = Instant(START_US + 20_000_000, 25_000_000, "boot-0")
try:
    export_clip(Path(sys.argv[1]), ClipsConfig(), request, record, now)
except Exception as error:
    print(type(error).__name__)
"""
    out = tmp_path / "full" / "clip.mp4"
    out.parent.mkdir()
    done = run_python(code, str(desk.ring.folder), str(out))
    assert done.stdout.split() == ["clip_exported", "clip_export_failed", "StorageError"], done.stderr
    assert list(out.parent.iterdir()) == []


def run_python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, check=False)


KILLED = """
import os, signal, sys
from pathlib import Path
from clip_rig import START_US
from sightline_edge.clips.clock import Instant
from sightline_edge.clips.export import Request, export_clip
from sightline_edge.config import ClipsConfig
stage, ring, out, book = sys.argv[1:]
def record(entry):
    if stage == "after":
        Path(book).write_text(entry.model_dump_json())
    os.kill(os.getpid(), signal.SIGKILL)
request = Request("node", "gate", START_US, START_US + 5_000_000, "why", Path(out))
export_clip(Path(ring), ClipsConfig(), request, record, Instant(START_US + 20_000_000, 25_000_000, "boot-0"))
"""


@pytest.mark.parametrize("stage", ["before", "after"])
def test_an_export_killed_around_its_record_leaves_no_frames_outside_the_ring(ring: Rig, tmp_path: Path, stage: str) -> None:
    out, book = tmp_path / "out" / "clip.mp4", tmp_path / "book.json"
    out.parent.mkdir()
    done = run_python(KILLED, stage, str(ring.folder), str(out), str(book))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(out.parent.iterdir()) == []  # neither clip nor part of one: the record comes first
    assert book.exists() == (stage == "after")
    (left,) = [file for file in ring.files() if file.startswith(".exports/")]
    ring.purge()
    assert left not in ring.files()
    assert ring.told()[-1] == (left, "torn")


def test_an_export_that_still_works_is_left_alone(ring: Rig) -> None:
    working = ring.folder / ".exports" / "gate~1"
    working.parent.mkdir(exist_ok=True)
    with working.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ring.purge()
        assert working.exists()
    ring.purge()
    assert not working.exists()


@pytest.fixture
def node_file(tmp_path: Path) -> Path:
    """A node whose ring holds the last few seconds of a camera, by the real clock."""
    entries = {
        "node_id": "node",
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "model": "model",
        "cameras": [{"source": "a.mp4", "camera": "a.yaml"}],
        "clips": {"segment_s": 1, "frames_per_s": 5},
    }
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(entries))
    now = read_clock()
    store = Store(ClipsConfig.model_validate(entries["clips"]), tmp_path / "state" / "clips", "node", now)
    for number in range(20):
        at_us = now.wall_us - (20 - number) * 200_000
        store.append(Offered("gate", shade(number), at_us, at_us, NO_BOXES, now))
    store.close(read_clock())
    return tmp_path / "node.yaml"


def sightline(*arguments: str) -> "subprocess.CompletedProcess[str]":
    code = "import sys; from sightline.cli import main; sys.argv[0] = 'sightline'; main()"
    return run_python(code, "edge", *arguments)


def times_around_now() -> tuple[str, str]:
    now_us = time.time_ns() // 1000
    return "--from=" + iso_time(now_us - 60 * SECOND_US), "--to=" + iso_time(now_us)


def test_the_command_exports_and_lists(node_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    wanted = ("export", "--config", str(node_file), "--camera", "gate", *times_around_now(), "--out", str(out))
    done = sightline(*wanted, "--reason", "accident at the gate")
    assert done.returncode == 0, done.stderr
    assert [number_of(pixels) for _, pixels in decoded(out)] == list(range(20))
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert "20 frames, " in done.stdout
    assert digest in done.stdout
    spool = Spool(tmp_path / "state" / SPOOL_FILE, SpoolConfig())
    (record,) = [AuditRecord.model_validate_json(row.value) for row in spool.take(Lane.AUDIT, 0, 10)]
    spool.close()
    assert (record.kind, record.reason, record.details["sha256"]) == ("clip_exported", "accident at the gate", digest)

    listed = sightline("clips", "--config", str(node_file))
    assert listed.returncode == 0, listed.stderr
    assert "4 segments" in listed.stdout
    assert "gate/0000000001.mkv: " in listed.stdout


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "error: --reason is empty: say why the clip leaves the node; the audit topic keeps it"),
        ({"--reason": "why", "--camera": "yard"}, "error: camera yard: no clip from "),
        ({"--reason": "why", "--from": "yesterday"}, "error: --from yesterday: is not a time: write it as"),
        ({"--reason": "why", "--from": "2026-01-31T08:00:00"}, "error: --from 2026-01-31T08:00:00: has no time zone"),
    ],
)
def test_the_command_refuses_in_one_line(node_file: Path, tmp_path: Path, changes: dict[str, str], says: str) -> None:
    start, end = (text.split("=", 1)[1] for text in times_around_now())
    options = {"--config": str(node_file), "--camera": "gate", "--from": start, "--to": end, "--out": str(tmp_path / "c.mp4")}
    done = sightline("export", *(word for pair in (options | changes).items() for word in pair))
    assert done.returncode == 1
    assert done.stderr.startswith(says), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.mp4").exists()


def test_a_node_without_clips_has_nothing_to_export(node_file: Path, tmp_path: Path) -> None:
    entries = yaml.safe_load(node_file.read_text())
    del entries["clips"]
    node_file.write_text(yaml.safe_dump(entries))
    wanted = ("export", "--config", str(node_file), "--camera", "gate", *times_around_now(), "--out", str(tmp_path / "c.mp4"))
    done = sightline(*wanted, "--reason", "why")
    assert (done.returncode, "has no section 'clips'" in done.stderr) == (1, True)
