"""Audit records of commands at the centre, to the audit topic: none is lost where the broker is away.

A record is first a file in ``HOME/audit-pending``, on the disk with its name, and goes when the broker has acknowledged it.
What was left there is sent first, by the next command that announces something or by ``sightline audit send``. A crash between
the two sends a record twice, which the audit log keeps once (sightline_lakehouse.audit.chain).
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sightline.services import default_home
from sightline_contract.errors import BrokerError, StorageError
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT
from sightline_edge.disk import sync_folder, write_file

PENDING: Final = "audit-pending"
_TIMEOUT_S: Final = 10.0

Tell = Callable[[str], None]


def announcer(
    bootstrap: str,
    *,
    options: Mapping[str, Any] | None = None,
    home: Path | None = None,
    tell: Tell = print,
) -> Callable[[AuditRecord], None]:
    """A function that publishes a record and returns when the broker has it or it is kept; ``tell`` gets a line in that case.

    It raises StorageError where the record can be neither sent nor kept. ``options`` are librdkafka's, such as TLS files.
    """
    folder = (home or default_home()) / PENDING

    def announce(record: AuditRecord) -> None:
        keep(folder, record)
        try:
            send_pending(folder, bootstrap, options)
        except BrokerError as error:
            tell(f"audit: {record.kind} is kept in {folder}, and sent by the next command or 'sightline audit send' ({error})")

    return announce


def keep(folder: Path, record: AuditRecord) -> Path:
    """Write the record into the folder, on the disk when this returns; raises StorageError."""
    content = record.model_dump_json().encode()
    # Names rise with time, so that records are sent in their order.
    path = folder / f"{record.at_us:020d}-{hashlib.sha256(content).hexdigest()[:32]}.json"
    aside = path.with_suffix(f".{os.getpid()}.new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(aside, content)
        aside.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(f"{folder}: the audit record cannot be kept ({error.strerror}): free the disk, try again") from error
    return path


def send_pending(folder: Path, bootstrap: str, options: Mapping[str, Any] | None = None) -> int:
    """Send what waits in the folder, oldest first, and return how many the broker took; raises BrokerError for the rest."""
    from confluent_kafka import KafkaException, Producer

    waiting = sorted(folder.glob("*.json"))
    if not waiting:
        return 0
    limits = {"acks": "all", "linger.ms": 0, "message.timeout.ms": round(_TIMEOUT_S * 1000), "log_level": 0}
    failures: list[str] = []
    sent: list[Path] = []

    def report(path: Path) -> Callable[[Any, Any], None]:
        def done(error: Any, _message: Any) -> None:
            if error is None:
                sent.append(path)
                path.unlink(missing_ok=True)  # another command may have sent it as well
            else:
                failures.append(error.str())

        return done

    try:
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **limits, **(options or {})})
        for path in waiting:
            record = _read(path)
            if record is not None:
                producer.produce(AUDIT.name, key=record.node_id, value=record.model_dump_json(), on_delivery=report(path))
        left = producer.flush(_TIMEOUT_S + 1)
    except (KafkaException, BufferError) as error:
        raise BrokerError(f"topic {AUDIT.name} at {bootstrap}: takes no record ({error}): see whether Kafka runs") from error
    if left or failures:
        reason = failures[0] if failures else "no answer"
        raise BrokerError(f"topic {AUDIT.name} at {bootstrap}: {reason}: see whether Kafka runs")
    return len(sent)


def _read(path: Path) -> AuditRecord | None:
    """None where another command has sent it meanwhile; raises StorageError."""
    try:
        return AuditRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StorageError(f"{path}: is no audit record: move it away, and restore it from a copy") from error
