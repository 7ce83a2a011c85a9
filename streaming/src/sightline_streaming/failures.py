"""A failed streaming query as one line: what happened, where, what to do."""

import re

from sightline_contract.errors import BrokerError, SightlineError, StageError, StateError, StorageError

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
        r"CANNOT_LOAD_STATE_STORE|CHECKSUM_VERIFICATION_FAILED",
        StateError,
        "start the job once more; if it says so again, state files are damaged: give it a new checkpoint_root and table_root, "
        "and it tells again what Kafka holds (docs/reliability.md)",
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
_TRACEBACK = "Traceback (most recent call last)"
_PYTHON_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b")
# What Spark says of the query, the job and the task around the heart of the matter.
_AROUND = re.compile(
    r"\[STREAM_FAILED\].*?terminated with exception: |Job aborted due to stage failure: .*?Lost task .*?\(TID \d+\) \(.*?\): "
    r"| ?SQLSTATE: \w+"
)


def explain_failure(query: str, error: BaseException) -> SightlineError:
    """The error to raise for a query that ended with ``error``."""
    cause = root_cause(str(error))
    for pattern, kind, advice in _KNOWN:
        if re.search(pattern, cause):
            return kind(f"{query}: {_short(cause)}: {advice}")
    return StageError(f"{query}: {_short(cause)}: {_DEFAULT_ADVICE}")


def root_cause(message: str) -> str:
    """What an exception of Spark says at its heart, in one line; of a Python traceback within it, the exception's line."""
    text = re.split(r"\nCaused by: ", message.partition("=== Streaming Query ===")[0])[-1]
    lines = []
    for line in _AROUND.sub("", text).splitlines():
        if line.startswith(("\tat ", "\t...")):
            break
        if line.strip():
            lines.append(line.strip())
    if any(_TRACEBACK in line for line in lines):
        raised = [line for line in lines if _PYTHON_ERROR.match(line) and _TRACEBACK not in line]
        lines = [(raised or lines)[-1]]
    return " ".join(lines) or "ended without saying why"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"
