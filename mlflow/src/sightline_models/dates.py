"""Times as people write and read them."""

import re
from datetime import UTC, datetime, timedelta

from sightline_contract.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(value: object) -> float:
    """Seconds of ``30s``, ``10m``, ``24h``, ``2d`` or of a plain number of seconds; raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise ValueError("is no duration such as 30s, 10m, 24h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


def seconds_of(text: str, option: str) -> float:
    """Seconds of a duration such as ``30d``, ``12h``, ``45m`` or ``90s``; raises ConfigError, also for none at all."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise ConfigError(f"{option} {text}: is no duration: write it as in 30d, 12h, 45m or 90s")
    return seconds


def as_time(at_us: int) -> datetime:
    """UTC us as a time; raises OverflowError beyond the year 9999."""
    return EPOCH + timedelta(microseconds=at_us)


def as_date(at_us: int) -> str:
    """UTC us for people."""
    return f"{as_time(at_us):%Y-%m-%d %H:%M} UTC"
