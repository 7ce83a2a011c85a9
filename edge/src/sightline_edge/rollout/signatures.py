"""Who signed an envelope: a certificate that the trusted authority signed, for the purpose that is asked. Pure.

The path is one step long: the site's authority allows no intermediate ones. Purposes are exclusive: a certificate for signing
code that is also for connecting, or the other way round, is not taken, so that no key serves two ends.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from sightline_contract.errors import TrustError
from sightline_contract.manifest import Envelope, Signature, decode_base64, pre_authentication_encoding


def signer_of(
    envelope: Envelope,
    payload: bytes,
    authorities: Sequence[x509.Certificate],
    purpose: x509.ObjectIdentifier,
    now: datetime | None,
    refused: Collection[str] = (),
) -> x509.Certificate:
    """The certificate of the first signature that is good; raises TrustError with the first one's defect if none is.

    ``refused``: serials in hexadecimal. ``now`` None: the certificate's path is checked as of the day on which it began.
    """
    signed = pre_authentication_encoding(envelope.payloadType, payload)
    defects = []
    for signature in envelope.signatures:
        try:
            certificate = _read_certificate(signature)
            check_path(certificate, authorities, purpose, now or certificate.not_valid_before_utc)
            if f"{certificate.serial_number:x}" in refused:
                raise TrustError(f"signature: the certificate of {name_of(certificate)} is refused by this node's settings")
            _check_signature(signature, signed, certificate)
        except TrustError as defect:
            defects.append(defect)
        else:
            return certificate
    raise defects[0]


def check_path(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate], purpose: x509.ObjectIdentifier, at: datetime
) -> None:
    """Raise TrustError unless an authority signed ``certificate`` for ``purpose`` alone, and both are valid at ``at``."""
    name = name_of(certificate)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise TrustError(
            f"signature: the certificate of {name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and not at {at:%Y-%m-%d %H:%M}"
        )
    _check_purpose(certificate, purpose, name)
    policy = PolicyBuilder().store(Store(list(authorities))).time(at).max_chain_depth(0)
    # The end's extensions are checked above; those of the authority as the web's rules have it.
    policy = policy.extension_policies(ee_policy=ExtensionPolicy.permit_all(), ca_policy=ExtensionPolicy.webpki_defaults_ca())
    try:
        policy.build_client_verifier().verify(certificate, [])
    except VerificationError as error:
        raise TrustError(
            f"signature: the certificate of {name} is not by the trusted authority, or that one has ended"
        ) from error


def name_of(certificate: x509.Certificate) -> str:
    """The certificate's common name, for people; quoted, since a foreign one may hold anything."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return repr(str(names[0].value)[:64] if names else "")


def _read_certificate(signature: Signature) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(signature.certificate.encode())
        written = certificate.public_bytes(Encoding.PEM).decode()
    except (ValueError, x509.InvalidVersion) as error:
        raise TrustError("signature: the signature's certificate is none in PEM") from error
    if written != signature.certificate or signature.keyid not in ("", certificate.fingerprint(hashes.SHA256()).hex()):
        raise TrustError("signature: the signature's certificate is not in its one form, or not the one that keyid names")
    return certificate


def _check_purpose(certificate: x509.Certificate, purpose: x509.ObjectIdentifier, name: str) -> None:
    try:
        usages = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        signs = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise TrustError(f"signature: the certificate of {name} does not say what it is for") from error
    if usages != [purpose] or is_authority or not signs:
        found = ", ".join(_short(usage) for usage in usages)
        raise TrustError(
            f"signature: the certificate of {name} is for {found or 'nothing'} and not for {_short(purpose)} alone"
        )


def _check_signature(signature: Signature, signed: bytes, certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(f"signature: the key of {name_of(certificate)} is not of the curve P-256")
    try:
        key.verify(decode_base64(signature.sig, "signature"), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise TrustError(
            f"signature: that of {name_of(certificate)} is not over this content: it was changed, or signed as something else"
        ) from error


def _short(usage: x509.ObjectIdentifier) -> str:
    # The library's table of names is its own; a usage that it does not know shows as its number.
    name = cast(str, getattr(usage, "_name", ""))
    return name if name and name != "Unknown OID" else usage.dotted_string
