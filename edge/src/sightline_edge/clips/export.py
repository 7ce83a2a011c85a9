"""A clip for somebody else: the one way in which frames leave a node's ring, by a person's command and with a reason.

Order of what happens: the clip is made in the ring's own folder, where a killed export is cleared up; an audit record with its
digest is made durable; only then does the clip appear under its name, whole. If it then cannot be written, a second record
tells so. Frames are joined as they were encoded: what was blurred stays blurred, and nothing is lost. A clip begins at the last
key frame before what was asked for, at most ``segment.KEYFRAME_S`` of frames earlier, and the record names its real times.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.events import AuditKind, AuditRecord
from sightline_edge.clips.clock import Instant
from sightline_edge.clips.ledger import LEDGER_FILE, Ledger, Segment
from sightline_edge.clips.segment import TICKS_PER_S, Packet, iso_time
from sightline_edge.clips.store import EXPORTS
from sightline_edge.config import ClipsConfig

# By the clip's file name. mp4 is what most players and browsers take.
FORMATS = {".mp4": ("mp4", {"movflags": "use_metadata_tags+faststart"}), ".mkv": ("matroska", {})}


@dataclass(frozen=True)
class Request:
    """What is asked for: capture times from and to, UTC, both included."""

    node_id: str
    camera_id: str
    from_us: int
    to_us: int
    reason: str
    out: Path


@dataclass(frozen=True)
class Exported:
    """A clip that was made."""

    first_us: int
    last_us: int
    frames: int
    segments: int
    bytes: int
    sha256: str
    blur: str  # classes that are blurred in all of it, parted by commas


def export_clip(
    folder: Path, limits: ClipsConfig, request: Request, record_audit: Callable[[AuditRecord], None], now: Instant
) -> Exported:
    """Export from the ring in ``folder``; ``record_audit`` returns when a record is durable, and raises when it cannot be.

    Raises ConfigError for what cannot be asked for, StorageError where the clip cannot be written.
    """
    _check(folder, request)
    segments = _wanted(folder, limits, request, now)
    with _workplace(folder, request.camera_id) as made:
        exported = _join(folder, segments, request, made)
        record = _record(AuditKind.CLIP_EXPORTED, request, now, exported)
        record_audit(record)
        try:
            _appear(made, request.out)
        except OSError as error:
            failed = _record(
                AuditKind.CLIP_EXPORT_FAILED,
                request,
                now,
                exported,
                export=record.record_id,
                error=error.strerror or str(error),
            )
            record_audit(failed)
            raise StorageError(
                f"{request.out}: cannot be written ({error.strerror}): free the disk or choose another place"
            ) from error
    return exported


@contextmanager
def _workplace(folder: Path, camera_id: str) -> Iterator[Path]:
    """A file in the ring's folder that goes with this process: its lock tells the ring that somebody still works on it."""
    made = folder / EXPORTS / f"{camera_id}~{uuid.uuid4().hex}"
    try:
        made.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)) as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield made
    except OSError as error:
        raise StorageError(f"{made}: a clip cannot be made there ({error.strerror}): free the disk, try again") from error
    finally:
        made.unlink(missing_ok=True)


def os_user() -> str:
    """The user who runs the command, by the system and not by the environment, which anyone can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _check(folder: Path, request: Request) -> None:
    if not request.reason.strip():
        raise ConfigError("--reason is empty: say why the clip leaves the node; the audit topic keeps it")
    if request.from_us >= request.to_us:
        raise ConfigError(f"--from {iso_time(request.from_us)} is not before --to {iso_time(request.to_us)}: swap them")
    if request.out.suffix not in FORMATS:
        raise ConfigError(f"{request.out}: is neither .mp4 nor .mkv: name the clip so")
    if request.out.exists():
        raise ConfigError(f"{request.out}: exists already: choose another name")
    if not request.out.absolute().parent.is_dir():
        raise ConfigError(f"{request.out}: its folder does not exist: make it first")
    if request.out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{request.out}: lies in the ring, which would delete it: choose a place outside {folder}")
    if not (folder / LEDGER_FILE).exists():
        raise ConfigError(f"{folder}: holds no clips: has the node run with 'clips' in its settings?")


def _wanted(folder: Path, limits: ClipsConfig, request: Request, now: Instant) -> list[Segment]:
    """Whole segments with frames in the time asked for; one over the age limit counts as gone, purged or not."""
    try:
        ledger = Ledger(folder)
        entered = ledger.segments(request.camera_id)
        ledger.close()
    except sqlite3.Error as error:
        raise StorageError(f"{folder / LEDGER_FILE}: cannot be read ({error}): mend the disk") from error
    limit_us = round(limits.max_age_h * 3600e6)
    there = sorted((s for s in entered if s.whole and s.age_us(now) < limit_us), key=lambda s: (s.first_us, s.id))
    wanted = [s for s in there if s.first_us <= request.to_us and (s.last_us or 0) >= request.from_us]
    if not wanted:
        asked = f"from {iso_time(request.from_us)} to {iso_time(request.to_us)}"
        raise ConfigError(f"camera {request.camera_id}: no clip {asked}: {_times(there)}")
    return wanted


def _times(segments: list[Segment]) -> str:
    if not segments:
        return "there is none of this camera, or its newest is still being written"
    last_us = max(segment.last_us or 0 for segment in segments)
    return f"there are clips from {iso_time(segments[0].first_us)} to {iso_time(last_us)}"


def _join(folder: Path, segments: list[Segment], request: Request, made: Path) -> Exported:
    name, options = FORMATS[request.out.suffix]
    times: list[int] = []
    used: list[Segment] = []
    try:
        with av.open(str(made), "w", format=name, options=options) as clip:
            clip.metadata.update({"camera_id": request.camera_id, "node_id": request.node_id})
            stream = None
            for segment, template, at_us, packet in _packets(folder, segments, request):
                if stream is None:
                    stream = clip.add_stream_from_template(template)
                    clip.metadata.update({"creation_time": iso_time(at_us), "first_frame": iso_time(at_us)})
                    encoded_as = _encoding(template)
                elif _encoding(template) != encoded_as:
                    raise ConfigError(
                        f"camera {request.camera_id}: its pictures changed at {iso_time(at_us)}: "
                        "export up to then, and from then on"
                    )
                # After a clock step times can run side by side; a file's must rise.
                at_us = max(at_us, times[-1] + 1_000_000 // TICKS_PER_S) if times else at_us  # noqa: PLW2901
                times.append(at_us)
                if not used or used[-1] is not segment:
                    used.append(segment)
                packet.stream = stream
                packet.pts = packet.dts = (at_us - times[0]) * TICKS_PER_S // 1_000_000
                clip.mux(packet)
    except (OSError, av.error.FFmpegError) as error:
        raise StorageError(f"{made}: the clip cannot be made ({error.strerror}): free the disk") from error
    if not times:
        raise ConfigError(f"camera {request.camera_id}: the clips asked for have just been deleted: ask for newer ones")
    with made.open("rb") as content:
        os.fsync(content.fileno())
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    blurred = set.intersection(*(set(filter(None, segment.blur.split(","))) for segment in used))
    size = made.stat().st_size
    return Exported(times[0], times[-1], len(times), len(used), size, digest, ",".join(sorted(blurred)))


def _packets(
    folder: Path, segments: list[Segment], request: Request
) -> Iterator[tuple[Segment, "av.video.stream.VideoStream", int, Packet]]:
    """The packets asked for, from the key frame at or before the first, and their capture times."""
    for segment in segments:
        try:
            container = av.open(str(folder / segment.file))
        except FileNotFoundError:
            continue  # purged meanwhile
        with container:
            stream = container.streams.video[0]
            before: list[tuple[int, Packet]] = []
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue  # the end
                at_us = segment.first_us + round(packet.pts * packet.time_base * 1_000_000)
                if at_us > request.to_us:
                    break
                if at_us < request.from_us:
                    before = [(at_us, packet)] if packet.is_keyframe else [*before, (at_us, packet)]
                    continue
                if packet.is_keyframe:
                    before = []
                for earlier_us, earlier in [*before, (at_us, packet)]:
                    yield segment, stream, earlier_us, earlier
                before = []


def _encoding(stream: "av.video.stream.VideoStream") -> tuple[int, int, bytes | None]:
    return stream.width, stream.height, stream.codec_context.extradata


def _record(kind: AuditKind, request: Request, now: Instant, exported: Exported, **more: str) -> AuditRecord:
    return AuditRecord(
        record_id=uuid.uuid4().hex,
        kind=kind,
        node_id=request.node_id,
        actor=os_user(),
        reason=request.reason.strip(),
        at_us=now.wall_us,
        camera_id=request.camera_id,
        details={
            "file": request.out.name,
            "sha256": exported.sha256,
            "bytes": exported.bytes,
            "frames": exported.frames,
            "from_us": request.from_us,
            "to_us": request.to_us,
            "first_frame_us": exported.first_us,
            "last_frame_us": exported.last_us,
            "blur": exported.blur,
            **more,
        },
    )


def _appear(made: Path, out: Path) -> None:
    """Put the clip under its name, whole and durable."""
    aside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        # A copy, since the ring's disk and the stick that a clip is carried away on are seldom one.
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with made.open("rb") as source, os.fdopen(fd, "wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
            target.flush()
            os.fsync(target.fileno())
        aside.rename(out)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
