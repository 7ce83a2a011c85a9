"""A node's own files: what is wrong with them is told before any broker is asked."""

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tls_broker import Certificates

from sightline_contract.errors import ConfigError
from sightline_edge.config import Tls
from sightline_edge.security.authority import Authority, init
from sightline_edge.security.tls import check_tls, common_name, days_left, librdkafka_options, ssl_context

NOW = datetime.now(UTC)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "ours")


@pytest.fixture
def node(certificates: Certificates) -> Tls:
    return certificates.issue("gate-1")


def test_what_the_authority_issued_is_accepted(node: Tls) -> None:
    check_tls(node, NOW)
    assert common_name(node) == "gate-1"
    assert days_left(node, NOW) == pytest.approx(30, abs=0.1)


def test_days_left_is_negative_after_the_end(certificates: Certificates) -> None:
    assert days_left(certificates.issue("gate-1", age_days=31), NOW) == pytest.approx(-1, abs=0.1)


def test_days_left_heeds_an_authority_that_ends_first(tmp_path: Path) -> None:
    made = datetime.now(UTC)
    init(tmp_path / "pki", None, made, years=1)
    folder = Authority(tmp_path / "pki", None).issue("gate-1", tmp_path, made, days=300)
    tls = Tls(ca=folder / "ca.pem", certificate=folder / "node.pem", key=folder / "node.key")
    assert days_left(tls, made) == pytest.approx(300, abs=0.1)


def readable_by_others(node: Tls) -> Tls:
    node.key.chmod(0o644)
    return node


def readable_by_the_group(node: Tls) -> Tls:
    node.key.chmod(0o640)
    return node


def broken(node: Tls) -> Tls:
    node.certificate.write_text("no certificate")
    return node


def key_is_a_certificate(node: Tls) -> Tls:
    node.key.write_bytes(node.certificate.read_bytes())
    return node


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (readable_by_others, r"node\.key: others may read it \(mode 0644\): chmod 600"),
        (readable_by_the_group, r"node\.key: others may read it \(mode 0640\): chmod 600"),
        (broken, r"node\.pem: holds no certificate in PEM"),
        (key_is_a_certificate, r"node\.key: is no private key in PEM"),
        (
            lambda node: node.model_copy(update={"ca": Path("/nowhere/ca.pem")}),
            r"/nowhere/ca\.pem: cannot be read \(No such file",
        ),
        (lambda node: node.model_copy(update={"key": Path("/nowhere/node.key")}), r"/nowhere/node\.key: cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(node: Tls, spoil: Callable[[Tls], Tls], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_tls(spoil(node), NOW)
    assert re.search(told, str(refused.value))
    assert "\n" not in str(refused.value)
    assert "PRIVATE KEY" not in str(refused.value)


def test_an_expired_certificate_is_told(certificates: Certificates) -> None:
    with pytest.raises(ConfigError, match=r"node\.pem: expired on .* --renew"):
        check_tls(certificates.issue("gate-1", age_days=31), NOW)


def test_a_clock_that_is_behind_is_told(node: Tls) -> None:
    with pytest.raises(ConfigError, match=r"is not valid before .* check this device's clock"):
        check_tls(node, NOW - timedelta(days=2))


def test_a_clock_that_is_an_hour_behind_or_less_does_not_matter(node: Tls) -> None:
    # Not NOW, which is when the file was read: in a long run that is minutes before the certificate is made.
    check_tls(node, datetime.now(UTC) - timedelta(minutes=55))


def test_a_certificate_of_another_authority_is_told(node: Tls, tmp_path: Path) -> None:
    foreign = Certificates(tmp_path / "foreign").issue("gate-1")
    with pytest.raises(ConfigError, match="is not signed by"):
        check_tls(foreign.model_copy(update={"ca": node.ca}), NOW)


def test_a_key_of_another_certificate_is_told(node: Tls, certificates: Certificates) -> None:
    other = certificates.issue("gate-2")
    with pytest.raises(ConfigError, match="does not belong to"):
        check_tls(node.model_copy(update={"key": other.key}), NOW)


def test_while_an_authority_is_replaced_both_may_stand_in_one_file(node: Tls, tmp_path: Path) -> None:
    newer = Certificates(tmp_path / "newer").issue("gate-1")
    both = tmp_path / "both.pem"
    both.write_bytes(newer.ca.read_bytes() + node.ca.read_bytes())
    for tls in (node, newer):
        check_tls(tls.model_copy(update={"ca": both}), NOW)


def test_the_mqtt_clients_context_takes_tls_1_3_and_verified_hosts_only(node: Tls) -> None:
    context = ssl_context(node)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1  # no public authority is trusted


def test_a_context_of_files_that_do_not_fit_is_told(node: Tls, certificates: Certificates) -> None:
    with pytest.raises(ConfigError, match="cannot be used for TLS"):
        ssl_context(node.model_copy(update={"key": certificates.issue("gate-2").key}))


def test_librdkafka_verifies_the_broker_and_its_name(node: Tls) -> None:
    options = librdkafka_options(node)
    assert options["security.protocol"] == "ssl"
    assert options["enable.ssl.certificate.verification"] is True
    assert options["ssl.endpoint.identification.algorithm"] == "https"
