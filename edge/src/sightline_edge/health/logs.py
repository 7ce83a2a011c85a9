"""The process's log lines: for people, or one JSON object a line; no secret in either.

Formatters mask, not the code that logs: what a library says, an exception's text and a record's extras go the same way.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from sightline_edge.config import LogConfig, LogFormat
from sightline_edge.health.masking import mask, mask_mapping, mask_tracebacks

# librdkafka's own lines repeat what the node tells itself, many times a second while a broker is away.
_QUIET = ("sightline_edge.librdkafka",)


def configure(config: LogConfig, node_id: str, stream: TextIO | None = None) -> None:
    """Log to ``stream`` (standard error) from now on; what was configured before is replaced. Tracebacks are masked too."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json(node_id) if config.format is LogFormat.JSON else _Text())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    mask_tracebacks()


class _Text(logging.Formatter):
    """``LEVEL message``, as a terminal wants it; the traceback below."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class _Json(JsonFormatter):
    """time (UTC, RFC 3339), level, logger, node_id, message, then the extras, and exc_info with the traceback."""

    def __init__(self, node_id: str) -> None:
        super().__init__("%(message)s", static_fields={"node_id": node_id}, json_default=str)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        fields = mask_mapping(log_data)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data.clear()
        log_data.update({"time": at, "level": record.levelname.lower(), "logger": record.name} | fields)
