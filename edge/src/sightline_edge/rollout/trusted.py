"""Which bundles a node believes. Pure: text and numbers in, a manifest or a TrustError out; no file, clock or network.

Rules, in the order in which they are checked. Nothing of a later rule is looked at before the earlier ones hold:

1. Form. An envelope of at most 64 KiB, of the manifest's payload type, whose payload is a manifest in its one written form.
   (The payload is parsed after the signature only.)
2. Signature. One of the signatures is ECDSA P-256 with SHA-256 over the pre-authentication encoding, by a certificate that the
   trusted authority itself signed, that is for signing code and for nothing else, that is valid now and was when the manifest
   was issued, and whose serial is not refused. A node's or broker's certificate signs no model; an intermediate authority is
   none.
3. Expiry. The manifest's end is not past. "Now" is never before the newest time that a trusted signature stated: a node whose
   clock was set back takes no expired bundle.
4. Number. Not lower than that of the highest manifest ever served; equal only if it is that manifest. Going back to older
   content takes a newer manifest, with a higher number (a signed rollback).
5. Target. It is one that this node can run.
6. Parts. Every part has the size and digest that this manifest states, whatever place it came from.

A manifest for the shadow must have a number above the served one, and does not raise it: a candidate that is only looked at
may not shut out the bundle that is signed to return.

What is in service goes on: neither its expiry nor its signer's stops it, and a restart resumes it (``resume``) by the digest
that the node kept. Expiry keeps a withheld or old bundle from being *taken into* service; a camera that goes blind on a date
is worse than a model that is a month old.

The clock's floor is raised by signed times alone, never by this node's own clock: one glitch into the future would otherwise
expire every bundle for good.

The order and rules 3 and 4 are those of TUF (The Update Framework 1.0.33, section 5, detailed client workflow); DSSE 1.0.2;
RFC 5280 (path validation, which ``cryptography.x509.verification`` does).
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from sightline_contract.errors import TrustError
from sightline_contract.manifest import Manifest, Part, Sealed, manifest_digest, payload_of, read_envelope, read_manifest
from sightline_contract.targets import Target
from sightline_edge.rollout.signatures import check_path, signer_of

_PURPOSE = ExtendedKeyUsageOID.CODE_SIGNING
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Trusted:
    """What this node believes now: the authority, what it can run, and how far its numbers have come."""

    def __init__(
        self,
        trust_pem: bytes,
        targets: Sequence[Target],
        served: int = 0,
        served_digest: str = "",
        clock_floor_us: int = 0,
        refused_signers: Collection[str] = (),
    ) -> None:
        """Take up what the node kept; raises TrustError where ``trust_pem`` holds no authority.

        ``trust_pem`` may hold two authorities while one follows the other. ``served`` and ``served_digest`` are the highest
        number that this node ever served and its manifest's digest, ``clock_floor_us`` the newest signed time that it
        saw; ``refused_signers`` are serials in hexadecimal, as 'sightline pki show' prints them.
        """
        try:
            self._authorities = x509.load_pem_x509_certificates(trust_pem)
        except ValueError as error:
            raise TrustError("signature: the trusted authority's file holds no certificate in PEM: give its ca.pem") from error
        self._targets = tuple(targets)
        self._refused = frozenset(serial.lower().lstrip("0") for serial in refused_signers)
        self.served = served
        self.served_digest = served_digest
        self.clock_floor_us = clock_floor_us

    def accept(self, envelope_text: str, now_us: int, *, shadow: bool = False) -> Manifest:
        """The manifest in the envelope, if rules 1 to 5 hold; raises TrustError naming the one that does not.

        It raises the clock's floor, and nothing else: ``serve`` says that the manifest went into service.
        """
        now_us = max(now_us, self.clock_floor_us)
        manifest = self._signed_manifest(envelope_text, now_us)
        if now_us >= manifest.expires_us:
            raise TrustError(
                f"expiry: {_name(manifest)} expired on {_time(manifest.expires_us):%Y-%m-%d %H:%M} UTC, "
                f"it is {_time(now_us):%Y-%m-%d %H:%M}: sign it again with a higher number"
            )
        self._check_number(manifest, shadow=shadow)
        self._check_target(manifest)
        self.clock_floor_us = max(self.clock_floor_us, manifest.issued_us)
        return manifest

    def serve(self, manifest: Manifest) -> None:
        """Note that ``manifest``, which was accepted, went into service; raises TrustError where that would be going back."""
        self._check_number(manifest, shadow=False)
        self.served, self.served_digest = manifest.number, manifest_digest(manifest)

    def resume(self, envelope_text: str, digest: str) -> Manifest:
        """The manifest of this digest, which this node served, read again; raises TrustError if it is another one.

        Its number does not count: what served before is resumed, too, where the newest cannot. Nor does time, nor a signer that
        was refused since: the signature must have been good on the day of issue.
        """
        manifest = self._signed_manifest(envelope_text, None)
        if (found := manifest_digest(manifest)) != digest:
            raise TrustError(f"digest: {_name(manifest)} has {found[:19]} and not {digest[:19]}, which this node served")
        self._check_target(manifest)
        return manifest

    def _signed_manifest(self, envelope_text: str, now_us: int | None) -> Manifest:
        """Rules 1 and 2. Without ``now_us`` the certificate is judged as of the day of issue, and may be refused today."""
        envelope = read_envelope(envelope_text)
        payload = payload_of(envelope)
        now = None if now_us is None else _time(now_us)
        refused = self._refused if now else frozenset[str]()
        signer = signer_of(envelope, payload, self._authorities, _PURPOSE, now, refused)
        manifest = read_manifest(payload)
        check_path(signer, self._authorities, _PURPOSE, _time(manifest.issued_us))
        return manifest

    def _check_number(self, manifest: Manifest, *, shadow: bool) -> None:
        if manifest.number < self.served or (shadow and manifest.number == self.served):
            place = "in the shadow" if shadow else "again"
            raise TrustError(
                f"number: {_name(manifest)} is not above number {self.served}, which this node served, and is not run {place}: "
                "to go back, sign the old model with a higher number"
            )
        if manifest.number == self.served and manifest_digest(manifest) != self.served_digest:
            raise TrustError(
                f"number: {_name(manifest)} is another manifest than the one of this number that this node served "
                f"({manifest_digest(manifest)[:19]} and not {self.served_digest[:19]}): two were signed with one number"
            )

    def _check_target(self, manifest: Manifest) -> None:
        if manifest.target not in self._targets:
            runs = ", ".join(map(str, self._targets)) or "nothing"
            raise TrustError(f"target: {_name(manifest)} is for {manifest.target}, this node runs {runs}")


def check_part(name: str, stated: Part | Sealed, size: int, digest: str) -> None:
    """Rule 6, of what was fetched (``part.fetched``) and of what was opened (``part``); raises TrustError.

    ``size`` is in bytes, ``digest`` as the contract writes it (``sha256:...``).
    """
    if size != stated.bytes:
        raise TrustError(f"digest: part {name!r} has {size} bytes and not {stated.bytes}: fetch it again")
    if digest != stated.digest:
        raise TrustError(
            f"digest: part {name!r} has {digest[:19]} and not {stated.digest[:19]}: it is of another bundle or damaged"
        )


def _name(manifest: Manifest) -> str:
    return f"{manifest.model_name} {manifest.model_version}, number {manifest.number},"


def _time(at_us: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError as error:
        raise TrustError(f"form: {at_us} us is no time") from error
