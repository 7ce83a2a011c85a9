"""A failed streaming query as one line: what happened, where, what to do."""

import re

from sightline_contract.errors import BrokerError, SightlineError, StageError, StorageError

# What the deepest cause says, and what that means. The first that fits wins.
_KNOWN: tuple[tuple[str, type[SightlineError], str], ...] = (
    (
        r"No space left on device|DiskErrorException|Disk quota",
        StorageError,
        "free space on the disk, then start the job again",
    ),
    (
        r"CONCURRENT_STREAM_LOG_UPDATE|Concurrent update to the log",
        StorageError,
        "another driver runs on this checkpoint: stop one",
    ),
    (
        r"some data may have been missed|OffsetOutOfRange|data loss",
        BrokerError,
        "messages were removed before they were read: set kafka.fail_on_data_loss to false to go on without them",
    ),
    (
        r"org\.apache\.kafka\.|bootstrap",
        BrokerError,
        "see whether Kafka runs and admits this job, then start the job again",
    ),
    (
        r"Permission denied|AccessDenied|FileSystemException",
        StorageError,
        "see whether the job may write there",
    ),
)
_DEFAULT_ADVICE = "it continues from its checkpoint when started again; --debug shows the whole trace"
_MAX_LENGTH = 300


def explain_failure(query: str, trace: str) -> SightlineError:
    """The error to raise for a query that ended with the JVM's stack trace ``trace``."""
    cause = deepest_cause(trace)
    for pattern, error, advice in _KNOWN:
        if re.search(pattern, cause):
            return error(f"{query}: {_short(cause)}: {advice}")
    return StageError(f"{query}: {_short(cause)}: {_DEFAULT_ADVICE}")


def deepest_cause(trace: str) -> str:
    """The last "Caused by" of a JVM stack trace in one line; of a Python traceback within it, the last line."""
    message = re.split(r"\n\s*Caused by: ", "\n" + trace)[-1]
    lines = []
    for line in message.splitlines():
        if line.startswith(("\tat ", "\t...")) or line.strip().startswith("at org.apache"):
            break
        if line.strip():
            lines.append(line.strip())
    if any("Traceback (most recent call last)" in line for line in lines):
        return lines[-1]
    return " ".join(lines) or "ended without saying why"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"
