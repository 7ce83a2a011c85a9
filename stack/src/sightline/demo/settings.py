"""The configuration files of a demo: those that a real site would write for its node and its jobs."""

from pathlib import Path
from typing import Any

import yaml

from sightline.demo.inputs import DemoInput
from sightline.demo.layout import Layout
from sightline_contract.camera import CameraConfig


def write_camera(camera: CameraConfig, folder: Path) -> Path:
    """Write a camera's file into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_yaml(folder / f"{camera.camera_id}.yaml", camera.model_dump(mode="json"))


def write_node(layout: Layout, source: DemoInput, model: Path, bootstrap: str, seconds: float | None) -> Path:
    """Write the edge node's file."""
    camera_file = layout.work / "cameras" / f"{source.camera.camera_id}.yaml"
    node: dict[str, Any] = {
        "node_id": "demo-node",
        "kafka": {"bootstrap_servers": bootstrap},
        "model": str(model),
        "cameras": [{"source": str(source.source), "camera": str(camera_file)}],
        "min_score": 0.1,
        "heartbeat_s": 2.0,
        "threads": 2,
        "pace": "fast",
        "start_time": source.start_time.isoformat(),
    }
    if seconds is not None:
        node["duration_s"] = seconds
    return write_yaml(layout.work / "node.yaml", node)


def job_settings(layout: Layout, cameras: Path, bootstrap: str) -> dict[str, Any]:
    """The streaming jobs' configuration: windows of a second, since the clip is short."""
    return {
        "kafka": {"bootstrap_servers": bootstrap},
        "table_root": str(layout.tables),
        "checkpoint_root": str(layout.work / "checkpoints"),
        "cameras": str(cameras),
        "window_s": 1,
        "allowed_lateness_s": 2.0,
        # Each micro-batch costs its second or so of two cores that the detector needs as well.
        "trigger_s": {"tracking": 5.0, "facts": 15.0, "archive": 20.0},
    }


def write_yaml(path: Path, document: dict[str, Any]) -> Path:
    """Write ``document`` to ``path``."""
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path
