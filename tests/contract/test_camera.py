"""A camera file says what is wrong with it in one line."""

from pathlib import Path

import pytest
import yaml

from sightline_contract.camera import CameraConfig, load_cameras
from sightline_contract.errors import ConfigError
from sightline_contract.rules import EVENT_KINDS
from sightline_contract.settings import load_settings

GOOD = {
    "camera_id": "gate-1",
    "frame_size": [640, 480],
    "frame_rate": 10,
    "classes": ["person", "car"],
    "lines": [{"name": "gate", "start": [0, 240], "end": [640, 240], "forward": "in", "backward": "out"}],
    "zones": [{"name": "yard", "polygon": [[0, 0], [100, 0], [100, 100]], "alert": {"classes": ["person"]}}],
}


def rules(*of_the_zone: dict[str, object]) -> dict[str, object]:
    return {"zones": [{"name": "yard", "polygon": [[0, 0], [100, 0], [100, 100]], "rules": list(of_the_zone)}]}


def write(folder: Path, document: object, name: str = "camera.yaml") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def test_a_good_file_gives_a_camera_with_class_ids(tmp_path: Path) -> None:
    camera = load_settings(write(tmp_path, GOOD), CameraConfig)
    assert camera.class_ids == (0, 2)
    assert camera.lines[0].forward == "in"


def test_a_zone_has_rules_of_every_kind(tmp_path: Path) -> None:
    given = rules(
        {"kind": "stopped"},
        {"kind": "wrong_way", "heading": [1, 0]},
        {"kind": "restricted", "hours": "22:00-06:00"},
        {"kind": "speeding", "limit_km_h": 30},
        {"kind": "congestion", "below_sizes_s": 0.3},
        {"kind": "accident", "from_km_h": 20},
    )
    camera = load_settings(write(tmp_path, GOOD | given | {"metres_per_pixel": 0.1}), CameraConfig)
    assert [rule.kind for rule in camera.zones[0].rules] == list(EVENT_KINDS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"frame_rate": 0}, "frame_rate"),
        ({"frame_sise": [1, 1]}, "frame_sise"),
        ({"camera_id": "a/b"}, "camera_id"),
        ({"classes": ["unicorn"]}, "class 'unicorn'"),
        ({"lines": [{"name": "gate", "start": [1, 1], "end": [1, 1]}]}, "starts where it ends"),
        ({"lines": [{"name": "gate", "start": [1, 1], "end": [900, 1]}]}, "outside the frame of 640x480"),
        ({"lines": [{"name": "g", "start": [1, 1], "end": [9, 1], "forward": "x", "backward": "x"}]}, "both directions"),
        ({"zones": [{"name": "z", "polygon": [[0, 0], [1, 1]]}]}, "zones.0.polygon"),
        ({"zones": [dict(GOOD["zones"][0]), dict(GOOD["zones"][0])]}, "two zones are called 'yard'"),  # type: ignore[index]
        ({"metres_per_pixel": 0.1, "homography": [1, 0, 0, 0, 1, 0, 0, 0, 1]}, "not both"),
        ({"homography": [1, 2, 3, 2, 4, 6, 0, 0, 1]}, "cannot be inverted"),
        (rules({"kind": "loitering"}), "zones.0.rules.0"),
        (rules({"kind": "stopped", "after": 3}), "after"),
        (rules({"kind": "stopped", "classes": ["unicorn"]}), "the stopped rule has a class 'unicorn'"),
        (rules({"kind": "stopped", "classes": ["bus"]}), "none of the camera's classes"),
        (rules({"kind": "wrong_way", "heading": [0, 0]}), "has no direction"),
        (rules({"kind": "restricted", "hours": "25:00-26:00"}), "hours"),
        (rules({"kind": "speeding"}), "speaks of km/h: give the camera's homography or metres_per_pixel"),
        (rules({"kind": "congestion"}), "give exactly one"),
        (rules({"kind": "congestion", "below_km_h": 10}), "speaks of km/h"),
        (rules({"kind": "accident", "from_km_h": 20, "from_sizes_s": 1}), "give exactly one"),
        (rules(*[{"kind": "stopped"}] * 17), "17 rules together: give at most 16"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    path = write(tmp_path, GOOD | change)
    with pytest.raises(ConfigError) as caught:
        load_cameras(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "camera_id: [", "\tx: 1"])
def test_a_file_that_is_no_settings_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_cameras(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_cameras(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_cameras(tmp_path / "x.yaml")


def test_a_folder_gives_all_its_cameras_and_refuses_a_shared_id(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "a.yaml")
    write(tmp_path, GOOD | {"camera_id": "gate-2"}, "b.yaml")
    assert [camera.camera_id for camera in load_cameras(tmp_path)] == ["gate-1", "gate-2"]
    write(tmp_path, GOOD, "c.yaml")
    with pytest.raises(ConfigError, match=r"'gate-1' is already used by .*a\.yaml"):
        load_cameras(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.yaml"):
        load_cameras(tmp_path)
