"""The edge node as a child process: what it prints is its progress, and at the end its summary."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.processes import Child, last_line, start

_LOOK_INTERVAL_S = 0.25


def start_node(config: Path, log_path: Path) -> Child:
    """Start ``sightline edge run`` and return at once."""
    command: list[str | Path] = [sys.executable, "-m", "sightline", "edge", "run", "--config", config, "--progress-json"]
    return start("edge node", command, log_path)


def follow_node(node: Child, show: Callable[[int, int | None], None]) -> dict[str, Any]:
    """Call ``show(frames, of)`` until the node ends; returns its summary. Raises StageError where it fails."""
    while node.exit_code is None:
        progress = _last_record(node)
        if "frames" in progress:
            show(progress["frames"], progress.get("of"))
        time.sleep(_LOOK_INTERVAL_S)
    node.check()
    summary: dict[str, Any] = _last_record(node).get("summary", {})
    return summary


def _last_record(node: Child) -> dict[str, Any]:
    """The log's last line where it is JSON: a log line, or half a record, shows nothing."""
    try:
        record = json.loads(last_line(node.log_path))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
