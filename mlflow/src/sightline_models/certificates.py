"""Who signed an envelope, as the centre sees it: for people who inspect a bundle, and for nodes' statements.

A node's own check is ``sightline_edge/rollout/signatures.py``. The two rooms know nothing of one another, so this is a second,
shorter reader of the same rules; what nodes believe is decided there, and a test hands the same envelopes to both.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.manifest import Envelope, Signature, decode_base64, pre_authentication_encoding
from sightline_models.dates import as_time

SIGNS_MODELS = ExtendedKeyUsageOID.CODE_SIGNING
IS_A_NODE = ExtendedKeyUsageOID.CLIENT_AUTH


def read_authorities(path: Path) -> list[x509.Certificate]:
    """The authorities' certificates in a PEM file; raises ConfigError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): give the authority's ca.pem") from error
    except ValueError as error:
        raise ConfigError(f"{path}: holds no certificate in PEM: give the authority's ca.pem") from error


def signer_name(
    envelope: Envelope,
    payload: bytes,
    authorities: Sequence[x509.Certificate],
    now_us: int,
    purpose: x509.ObjectIdentifier = SIGNS_MODELS,
) -> str:
    """The common name of who signed, for ``purpose`` alone and valid now; raises TrustError where no signature is good."""
    signed = pre_authentication_encoding(envelope.payloadType, payload)
    defects = []
    for signature in envelope.signatures:
        try:
            return _checked(signature, signed, authorities, as_time(now_us), purpose)
        except TrustError as defect:
            defects.append(defect)
    raise defects[0]


def _checked(
    signature: Signature, signed: bytes, authorities: Sequence[x509.Certificate], now: datetime, purpose: x509.ObjectIdentifier
) -> str:
    def is_for(_policy: object, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
        if list(usage) != [purpose]:
            raise ValueError("its certificate is for something else")

    end = ExtensionPolicy.permit_all().require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, is_for)
    policy = PolicyBuilder().store(Store(list(authorities))).time(now).max_chain_depth(0)
    policy = policy.extension_policies(ee_policy=end, ca_policy=ExtensionPolicy.webpki_defaults_ca())
    try:
        certificate = x509.load_pem_x509_certificate(signature.certificate.encode())
        policy.build_client_verifier().verify(certificate, [])
        name = str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    except VerificationError as error:
        reason = str(error).split(" (encountered")[0].removeprefix("validation failed: ")
        raise TrustError(f"signature: its certificate is not to be believed: {reason}") from error
    except (ValueError, IndexError, x509.InvalidVersion) as error:
        raise TrustError("signature: its certificate cannot be read") from error
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(f"signature: the key of {name!r} is not of the curve P-256")
    try:
        key.verify(decode_base64(signature.sig, "signature"), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise TrustError(f"signature: that of {name!r} is not over this content") from error
    return name
