"""A node's side of mutual TLS 1.3: what librdkafka and the MQTT client are told, and what is checked before they are started.

Invariants: both sides show a certificate of the same authority; the broker's must name the host that was dialled; nothing
older than TLS 1.3 is spoken, whatever the broker offers; no public authority is trusted.

librdkafka (up to 2.16) has no setting for the protocol's version. Its ``ssl.cipher.suites`` rules TLS 1.2 and older alone
(those of TLS 1.3 are another list of OpenSSL) and must not be empty: so it is given a suite that needs a pre-shared key, which
this client does not have. OpenSSL then offers no suite of TLS 1.2, and a broker that speaks nothing newer finds none in common.
A MinProtocol in OPENSSL_CONF would do the same, but from outside of the product.

Sources: RFC 8446; RFC 9325 (recommended use of TLS); RFC 6125 (host names); OpenSSL's SSL_CTX_set_cipher_list(3).
"""

import itertools
import ssl
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sightline_contract.errors import ConfigError
from sightline_edge.config import Tls
from sightline_edge.disk import require_private

# A suite of TLS 1.2 that cannot be used without a pre-shared key.
_NO_TLS_1_2 = "ECDHE-PSK-CHACHA20-POLY1305"

_WITH_NEW = "issue it again with 'sightline pki issue NAME --renew'"


def librdkafka_options(tls: Tls) -> dict[str, str | bool]:
    """Options of librdkafka for mutual TLS 1.3 with host names verified. They go above an operator's own options."""
    return {
        "security.protocol": "ssl",
        "ssl.ca.location": str(tls.ca),
        "ssl.certificate.location": str(tls.certificate),
        "ssl.key.location": str(tls.key),
        "ssl.cipher.suites": _NO_TLS_1_2,
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https",
    }


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """A client's context for the MQTT client's ``tls_set_context``: mutual TLS 1.3. Raises ConfigError."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(tls.ca)
        # Without this answer OpenSSL would ask for a locked key's passphrase on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except OSError as error:
        raise ConfigError(f"{tls.certificate}: cannot be used for TLS ({error.strerror or error}): {_WITH_NEW}") from error
    return context


def check_tls(tls: Tls, now: datetime) -> None:
    """Raise ConfigError, in one line, for what would make every broker refuse this node, or for a key that others may read."""
    check_files(tls)
    check_validity(tls, now)


def check_files(tls: Tls) -> None:
    """Raise ConfigError for files that time does not mend: missing, not of one another, readable by others."""
    path = _path(tls)
    _check_key(tls, path[0])


def check_validity(tls: Tls, now: datetime) -> None:
    """Raise ConfigError where a certificate has expired, or is not valid yet as this device's clock has it."""
    path = _path(tls)
    for certificate in path:
        file = tls.ca if certificate is path[-1] else tls.certificate
        if now > certificate.not_valid_after_utc:
            raise ConfigError(f"{file}: expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: {_WITH_NEW}")
        if now < certificate.not_valid_before_utc:
            begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            raise ConfigError(f"{file}: is not valid before {begin}: check this device's clock ({now:%Y-%m-%d %H:%M})")


def days_left(tls: Tls, now: datetime) -> float:
    """Days until the node's certificate or its authority's ends, whichever is first; negative after it. Raises ConfigError."""
    return (min(certificate.not_valid_after_utc for certificate in _path(tls)) - now) / timedelta(days=1)


def common_name(tls: Tls) -> str:
    """The name by which brokers know the holder: the certificate's common name. Raises ConfigError."""
    names = _certificates(tls.certificate)[0].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if not names:
        raise ConfigError(f"{tls.certificate}: has no common name: {_WITH_NEW}")
    return str(names[0].value)


def _check_key(tls: Tls, certificate: x509.Certificate) -> None:
    content = _read(tls.key)
    require_private(tls.key)
    try:
        key = load_pem_private_key(content, None)
    except TypeError as error:
        raise ConfigError(f"{tls.key}: is locked with a passphrase, which a node cannot type: give an unlocked one") from error
    except ValueError as error:
        raise ConfigError(f"{tls.key}: is no private key in PEM: {_WITH_NEW}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise ConfigError(
            f"{tls.key}: does not belong to {tls.certificate}: take both from one folder of 'sightline pki issue'"
        )


def _path(tls: Tls) -> list[x509.Certificate]:
    """The node's certificate, those between if the file holds any, and the authority that signed the last of them."""
    path = _certificates(tls.certificate)
    for certificate, issuer in itertools.pairwise(path):
        if not _signed_by(certificate, issuer):
            raise _not_signed(tls)
    authority = next((each for each in _certificates(tls.ca) if _signed_by(path[-1], each)), None)
    if authority is None:
        raise _not_signed(tls)
    return [*path, authority]


def _not_signed(tls: Tls) -> ConfigError:
    return ConfigError(f"{tls.certificate}: is not signed by {tls.ca}: take both from one folder of 'sightline pki issue'")


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: holds no certificate in PEM: {_WITH_NEW}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error
