"""Why a broker refused, or was refused, in one line that says what to do.

It reads what librdkafka (``error_cb``, delivery reports, ``KafkaException.args[0]``) and OpenSSL say; in TLS 1.3 a broker
judges the client's certificate after the client's handshake is done, so the reason comes with the first read (RFC 8446, 4.4.2.4
and 6.2). Kafka's door is closed before ``_ALL_BROKERS_DOWN`` and ``_MSG_TIMED_OUT``, which do not say why: keep the error
before. No line holds a key, a passphrase or a password.
"""

import socket
import ssl
from datetime import UTC, datetime

from confluent_kafka import KafkaError
from paho.mqtt.reasoncodes import ReasonCode

from sightline_contract.errors import ConfigError
from sightline_edge.config import Tls
from sightline_edge.health.masking import mask_password
from sightline_edge.security.tls import check_tls, common_name, ssl_context

# OpenSSL's words, in the order in which they are looked for, and what they mean to an operator.
_DOOR = (
    (
        ("alert certificate required", "peer did not return a certificate"),
        "wants a certificate of its authority and was shown none: set 'tls' to files that 'sightline pki issue' made there",
    ),
    (("alert certificate expired",), "this node's certificate has expired: 'sightline pki issue NAME --renew'"),
    (
        ("alert unknown ca",),
        "does not know the authority that signed this node's certificate: issue one by the broker's authority",
    ),
    (
        ("alert certificate unknown", "alert bad certificate", "alert unsupported certificate", "alert decrypt error"),
        "does not accept this node's certificate (expired, or of another authority?): 'sightline pki issue NAME --renew'",
    ),
    (("alert certificate revoked", "alert access denied"), "this node's certificate is barred: ask who runs the broker"),
    (
        ("alert handshake failure", "alert protocol version", "unsupported protocol", "no protocols available"),
        "does not speak TLS 1.3, and nothing older is spoken here: set ssl.enabled.protocols=TLSv1.3 (Kafka) "
        "or tls_version tlsv1.3 (Mosquitto)",
    ),
    (
        ("wrong version number", "packet length too long", "record layer failure"),
        "does not speak TLS on this port: take its TLS port, or leave 'tls' out",
    ),
    (
        ("eof occurred in violation of protocol", "unexpected eof"),
        "closed the door on this node's certificate, as Mosquitto does with one of another authority: take the broker's own",
    ),
    (
        ("hostname mismatch", "ip address mismatch"),
        "its certificate does not name the host that was dialled: dial one that it names, or issue it again with --server HOST",
    ),
    (
        ("certificate verify failed",),
        "its certificate is not of the authority in 'tls.ca', has expired, or does not name the host that was dialled: "
        "take the broker's ca.pem, or issue the broker's again with --server HOST",
    ),
)
_RULES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "may not use this topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "may not use this consumer group (its name must begin with the node's and a colon)",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "may not do this to the cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "may not use this transactional id",
}
_WITHOUT_REASON = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT)


def explain(error: KafkaError | ReasonCode | OSError, where: str, tls: Tls | None = None, now: datetime | None = None) -> str:
    """One line for ``error`` at ``where``, such as "Kafka at 10.0.0.5:9093, topic events"; ``tls`` is what the client used.

    A defect of the client's own files is told before what the broker made of it. ``error`` may be librdkafka's, the MQTT
    client's (its reason code in MQTT 5) or a socket's (``ssl.SSLError``).
    """
    who = _name(tls)
    if isinstance(error, KafkaError) and error.code() in _RULES:
        return f"{where}: {who} {_RULES[error.code()]}: 'sightline pki acls {who} --apply' gives a node its rights"
    text = error.str() if isinstance(error, KafkaError) else str(error)
    if "not authorized" in text.lower():
        return f"{where}: {who} may not use this topic: put it into the broker's acl_file (sightline pki acls)"
    own = _own_defect(tls, now)
    if own is not None:
        return f"{where}: {own}"
    for words, meaning in _DOOR:
        if any(word in text.lower() for word in words):
            return f"{where}: {meaning}"
    if tls is None and isinstance(error, KafkaError) and error.code() in _WITHOUT_REASON:
        return f"{where}: {_tidy(text)}, without TLS: check the broker and its address; where it wants TLS, set 'tls'"
    return f"{where}: {_tidy(text)}: check the broker and its address"


def refused_at_the_door(host: str, port: int, tls: Tls, timeout_s: float = 2.0) -> str | None:
    """Knock with ``tls`` and tell in one line why the broker refuses; None where it lets this node in.

    The MQTT client loses the reason of a connection that was closed; this asks for it again. A broker that lets a client in
    waits for its first message, so that silence for ``timeout_s`` is consent.
    """
    where = f"broker at {host}:{port}"
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            ssl_context(tls).wrap_socket(plain, server_hostname=host) as secure,
        ):
            return None if _lets_in(secure) else explain(OSError("unexpected eof"), where, tls)
    except OSError as error:
        return explain(error, where, tls)


def _lets_in(secure: ssl.SSLSocket) -> bool:
    try:
        return secure.recv(1) != b""
    except TimeoutError:
        return True


def _own_defect(tls: Tls | None, now: datetime | None) -> str | None:
    try:
        if tls is not None:
            check_tls(tls, now or datetime.now(UTC))
    except ConfigError as defect:
        return str(defect)
    return None


def _name(tls: Tls | None) -> str:
    try:
        return common_name(tls) if tls is not None else "this client"
    except ConfigError:
        return "this client"


def _tidy(text: str) -> str:
    return " ".join(mask_password(text).split())
