"""What a streaming job must be told, and where it may be told: command line over environment over YAML file.

One configuration serves all jobs of an installation. The command line's ``--set KEY=VALUE`` and the environment's
``SIGHTLINE_JOB__KEY=VALUE`` name a key with dots or double underscores between its levels (``kafka.bootstrap_servers``,
``SIGHTLINE_JOB__KAFKA__BOOTSTRAP_SERVERS``); values are YAML.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from sightline_contract.errors import ConfigError
from sightline_contract.settings import Settings, load_settings

ENVIRONMENT_PREFIX = "SIGHTLINE_JOB__"

Location = Annotated[str, StringConstraints(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class TlsConfig(Settings):
    """Mutual TLS with PEM files, which Kafka's Java client and librdkafka both read."""

    ca_file: Path
    # Private key and certificate chain in one file.
    identity_file: Path


class KafkaConfig(Settings):
    """The central broker."""

    bootstrap_servers: Location
    tls: TlsConfig | None = None
    # Further settings of the Java client, for tuning; who connects and how is tls's, which every client here reads.
    options: dict[str, str] = Field(default_factory=dict)
    # Stop rather than go on without messages that the topic's retention removed before they were read.
    fail_on_data_loss: bool = True

    @field_validator("options")
    @classmethod
    def _only_tunes(cls, options: dict[str, str]) -> dict[str, str]:
        for name in options:
            if name.startswith(("security.", "ssl.", "sasl.", "bootstrap.")):
                raise ValueError(f"{name!r} belongs to bootstrap_servers and tls")
        return options

    def client_options(self) -> dict[str, str]:
        """Settings of Kafka's Java client."""
        options = {"bootstrap.servers": self.bootstrap_servers}
        if self.tls:
            options |= {
                "security.protocol": "SSL",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.tls.ca_file),
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.tls.identity_file),
            }
        return options | self.options

    def librdkafka_options(self) -> dict[str, str]:
        """The same connection for librdkafka."""
        options = {"bootstrap.servers": self.bootstrap_servers}
        if self.tls:
            options |= {
                "security.protocol": "ssl",
                "ssl.ca.location": str(self.tls.ca_file),
                "ssl.certificate.location": str(self.tls.identity_file),
                "ssl.key.location": str(self.tls.identity_file),
            }
        return options


class AuditConfig(Settings):
    """Who signs checkpoints of the audit log: PEM files of 'sightline pki issue NAME --signer', kept outside of the tables."""

    signer_certificate: Path
    signer_key: Path
    # Certificate of the authority that issued it, whose signers' earlier checkpoints are believed.
    trust: Path


class Triggers(Settings):
    """How often each job begins a micro-batch, s; one that takes longer is followed by the next at once."""

    tracking: Seconds = 2.0
    facts: Seconds = 5.0
    archive: Seconds = 10.0
    models: Seconds = 2.0
    # A real-time batch sends every alert at once; between two of them a second or so passes without any.
    alerts_batch: Annotated[float, Field(ge=5, le=3600)] = 300.0


class JobConfig(Settings):
    """One installation's streaming jobs."""

    kafka: KafkaConfig
    # Folder or object store address (s3a://…) of the tables; checkpoints must not lie inside it.
    table_root: Location
    checkpoint_root: Location
    # A camera file, or a folder of them.
    cameras: Path

    # Keys of the tracking state. A checkpoint keeps the numbers that it was begun with, until it is rescaled.
    shards: Annotated[int, Field(ge=1, le=4096)] = 4
    shuffle_partitions: Annotated[int, Field(ge=1, le=4096)] = 2

    window_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    # A camera's window closes when the camera's own frames are so far past its end.
    allowed_lateness_s: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    # Windows of gold.model_detections: what is judged in windows of so many seconds, or a multiple.
    model_window_s: Annotated[int, Field(ge=1, le=3600)] = 10
    # A batch dated further ahead of its arrival than this is refused: one wrong clock must not close every window.
    max_future_s: Seconds = 60.0

    # Where a job without a checkpoint begins.
    starting_offsets: Annotated[str, StringConstraints(pattern="^(earliest|latest)$")] = "earliest"
    max_offsets_per_trigger: Annotated[int, Field(ge=1)] | None = None
    # What facts takes of the fact log at once, in bytes of its files: ten seconds of 5,000 cameras. They pass through the
    # driver, whose Python holds five times as much. Less than arrives in trigger_s.facts would never catch up.
    max_fact_bytes_per_trigger: Annotated[int, Field(ge=1)] = 128 << 20
    trigger_s: Triggers = Triggers()
    # Without it nobody signs the audit log, unless 'sightline audit checkpoint' does.
    audit: AuditConfig | None = None

    # Further settings of Spark, above ours.
    spark: dict[str, str] = Field(default_factory=dict)


def load_job_config(path: Path, environment: Mapping[str, str], assignments: Iterable[str] = ()) -> JobConfig:
    """The configuration of ``path`` with the environment's and the command line's values above it; raises ConfigError."""
    overrides = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (key and equals):
            raise ConfigError(f"--set {assignment}: is not KEY=VALUE: write for instance --set shards=8")
        overrides[key] = value
    return load_settings(path, JobConfig, overrides)
