"""A site with an authority, a signer of models and a node, and small bundles that they make. The model is never run."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sightline_contract.manifest import Envelope, Manifest, Thresholds, write_envelope
from sightline_contract.targets import Target, parse_target
from sightline_edge.rollout.trusted import Trusted
from sightline_edge.security.authority import Authority, init
from sightline_models.bundle import build_bundle
from sightline_models.signing import Signer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1e6)
DAY_US = 24 * 3600 * 1_000_000
CPU = parse_target("onnxruntime-any-x86_64-fp32")
GPU = parse_target("tensorrt-10.6.0-sm_90-fp16")


def model_folder(folder: Path, content: bytes = b"weights" * 1000, **card: Any) -> Path:
    """A model folder whose model has ``content``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    values = {
        "name": "tiny",
        "version": "1",
        "source": "made here",
        "licence": "none",
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "input": {"name": "image", "size": [16, 16], "layout": "NHWC", "channels": "RGB", "resize": "stretch"},
        "output": {"name": "boxes", "decode": "boxes_score_class"},
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(values | card))
    return folder


@dataclass(frozen=True)
class SiteOfModels:
    """A site's folder: ``pki``, ``release`` (signer.pem, signer.key), ``gate`` (a node), ``store``."""

    folder: Path
    begin: datetime = NOW  # of its certificates

    @property
    def trust_pem(self) -> bytes:
        return (self.folder / "pki" / "ca.pem").read_bytes()

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def issue(self, name: str, **options: Any) -> Path:
        return Authority(self.folder / "pki", None).issue(name, self.folder, self.begin, **options)

    def signer(self, name: str = "release") -> Signer:
        return Signer(self.folder / name / "signer.pem", self.folder / name / "signer.key", None)

    def bundle(self, number: int, content: bytes = b"weights" * 1000, target: Target = CPU, **changes: Any) -> Manifest:
        """Build one. ``changes``: of build_bundle's arguments, and ``version``."""
        folder = model_folder(self.folder / f"model-{number}", content, version=str(changes.pop("version", 1)))
        golden, engine = folder / "clip.npz", folder / "made.engine"
        golden.write_bytes(b"frames")
        engine.write_bytes(b"engine of " + content)
        wanted: dict[str, Any] = {
            "golden": golden,
            "thresholds": Thresholds(),
            "store": self.store,
            "issued_us": NOW_US,
            "expires_us": NOW_US + 30 * DAY_US,
            "engine": engine if target == GPU else None,
        }
        return build_bundle(folder, target=target, number=number, **wanted | changes)

    def signed(self, manifest: Manifest) -> str:
        return write_envelope(self.signer().sign(manifest))

    def trusted(self, **kept: Any) -> Trusted:
        return Trusted(self.trust_pem, (CPU,), **kept)


def make_site(folder: Path, begin: datetime = NOW) -> SiteOfModels:
    """A new authority, with one signer and one node."""
    init(folder / "pki", None, begin)
    site = SiteOfModels(folder, begin)
    site.issue("release", signer=True)
    site.issue("gate")
    return site


def changed(envelope: str, **fields: Any) -> str:
    """The envelope with other fields, signatures kept."""
    return write_envelope(Envelope.model_validate_json(envelope).model_copy(update=fields))
