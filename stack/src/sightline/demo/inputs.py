"""What the demo looks at: the sample clip, a video, a folder of images, or a network camera."""

import datetime as dt
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import av

from sightline.cache import clips_dir
from sightline.demo.recording import record
from sightline.demo.stages import Stages
from sightline.sample_clip import fetch_sample_clip
from sightline_contract.camera import AlertRule, CameraConfig, Line, Zone, load_cameras
from sightline_contract.errors import ConfigError, SourceError
from sightline_edge.capture import ImageFolder, VideoFile
from sightline_edge.config import is_address
from sightline_edge.health.masking import mask_password
from sightline_edge.health.references import expand

SAMPLE_CAMERA = Path(str(files("sightline.demo") / "campus.yaml"))
# Of a folder of images, or a video that does not say.
DEFAULT_FRAME_RATE = 10.0


@dataclass(frozen=True)
class DemoInput:
    """A recording and the camera that made it."""

    source: Path  # video file or folder of images
    label: str  # as people see it: without a password
    camera: CameraConfig
    # Capture time of the first frame. Chosen so that the recording ends about now: frames from the future are refused.
    start_time: dt.datetime

    @property
    def start_us(self) -> int:
        """``start_time`` in UTC microseconds."""
        return round(self.start_time.timestamp() * 1e6)

    def frames_within(self, seconds: float | None) -> int | None:
        """Frames of the first ``seconds``, as far as the camera keeps its rate."""
        return None if seconds is None else round(seconds * self.camera.frame_rate)


def find_input(video: str | None, camera_file: Path | None, seconds: float | None, folder: Path, stages: Stages) -> DemoInput:
    """Resolve the command line's ``--video`` and ``--camera-config``; a network camera is recorded into ``folder``.

    An address may name its password as ``${NAME}`` or ``${file:PATH}``: what stands on a command line, every user can read.
    """
    if video is None:
        with stages.stage("sample clip"):
            clip = fetch_sample_clip(clips_dir())
        return _input(clip, "sample clip", one_camera(camera_file or SAMPLE_CAMERA))
    if is_address(video):
        source = record(expand(video, "--video", Path.cwd()), seconds, folder, stages)
    else:
        source = Path(video).expanduser().absolute()
    camera = one_camera(camera_file) if camera_file else default_camera(source)
    return _input(source, mask_password(video), camera)


def _input(source: Path, label: str, camera: CameraConfig) -> DemoInput:
    frames = _open(source, camera.frame_rate).total or 0
    length = dt.timedelta(seconds=frames / camera.frame_rate)
    return DemoInput(source, label, camera, (dt.datetime.now(dt.UTC) - length).replace(microsecond=0))


def one_camera(path: Path) -> CameraConfig:
    """The camera of a file; raises ConfigError where the path holds several."""
    cameras = load_cameras(path)
    if len(cameras) > 1:
        raise ConfigError(f"{path}: holds {len(cameras)} cameras, the demo looks at one: name one camera file")
    return cameras[0]


def default_camera(source: Path) -> CameraConfig:
    """A camera for a recording of which nothing is known: a line down the middle, and the middle third as a zone."""
    width, height, frame_rate = _probe(source)
    zone = tuple((x * width / 3, y * height / 3) for x, y in ((1, 1), (2, 1), (2, 2), (1, 2)))
    return CameraConfig(
        camera_id="camera",
        frame_size=(width, height),
        frame_rate=frame_rate,
        lines=(Line(name="middle", start=(width / 2, height), end=(width / 2, 0), forward="rightwards", backward="leftwards"),),
        zones=(Zone(name="centre", polygon=zone, alert=AlertRule(classes=("person",))),),
    )


def _open(source: Path, frame_rate: float) -> VideoFile | ImageFolder:
    return ImageFolder(source, frame_rate, 0) if source.is_dir() else VideoFile(source, frame_rate, 0)


def _probe(source: Path) -> tuple[int, int, float]:
    """Width and height in px, frames per second; raises SourceError."""
    frame = next(iter(_open(source, DEFAULT_FRAME_RATE).frames()), None)
    if frame is None:
        raise SourceError(f"{source}: holds no frame: give another recording")
    height, width = frame.pixels.shape[:2]
    if source.is_dir():
        return width, height, DEFAULT_FRAME_RATE
    with av.open(str(source)) as container:
        rate = container.streams.video[0].average_rate
    return width, height, float(rate) if rate else DEFAULT_FRAME_RATE
