"""The jobs' configuration: what stands above what, and one line for what is wrong."""

from pathlib import Path

import pytest

from sightline_contract.errors import ConfigError
from sightline_streaming.config import JobConfig, KafkaConfig, TlsConfig, load_job_config

EXAMPLE = Path(__file__).parents[2] / "streaming/configs/local.yaml"


def test_the_example_is_read() -> None:
    config = load_job_config(EXAMPLE, {})
    assert config.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert config.trigger_s.tracking == 2


def test_command_line_stands_above_environment_above_file() -> None:
    environment = {"SIGHTLINE_JOB__SHARDS": "8", "SIGHTLINE_JOB__KAFKA__BOOTSTRAP_SERVERS": "kafka:9093", "HOME": "/root"}
    config = load_job_config(EXAMPLE, environment, ["shards=16", "trigger_s.facts=0.5"])
    assert config.shards == 16
    assert config.kafka.bootstrap_servers == "kafka:9093"
    assert config.trigger_s.facts == 0.5
    assert config.window_s == 60


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("shards", "is not KEY=VALUE"),
        ("shards=none", "shards: Input should be a valid integer"),
        ("shard=4", "shard: Extra inputs are not permitted"),
        ("kafka=127.0.0.1:9092", "kafka: Input should be a valid dictionary"),
        ("starting_offsets=newest", "starting_offsets: String should match"),
        ("cameras=[", "is not a YAML value"),
        ("kafka.options={ssl.protocol: TLSv1.2}", "'ssl.protocol' belongs to bootstrap_servers and tls"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(assignment: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_job_config(EXAMPLE, {}, [assignment])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tls_is_told_to_both_kafka_clients() -> None:
    tls = TlsConfig(ca_file=Path("/ca.pem"), identity_file=Path("/me.pem"))
    kafka = KafkaConfig(bootstrap_servers="kafka:9093", tls=tls, options={"request.timeout.ms": "9000"})
    assert kafka.client_options() == {
        "bootstrap.servers": "kafka:9093",
        "security.protocol": "SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "/ca.pem",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": "/me.pem",
        "request.timeout.ms": "9000",
    }
    assert kafka.librdkafka_options()["ssl.key.location"] == "/me.pem"


def test_a_configuration_cannot_be_changed() -> None:
    config: JobConfig = load_job_config(EXAMPLE, {})
    with pytest.raises(ValueError, match="frozen"):
        config.shards = 8  # type: ignore[misc]
