"""From an assignment to a whole model in the store, and from there to files that a runtime can read.

Sealed parts stay as they were fetched. That they can be opened, and are what the manifest says, is seen before their model is
made, chunk by chunk; the key that opened them is kept beside them, wrapped, so that a node without a link starts with them.
"""

from collections.abc import Generator

from cryptography.hazmat.primitives.asymmetric import ec

from sightline_contract.errors import TrustError
from sightline_contract.manifest import Manifest
from sightline_contract.model_files import ModelFiles, ModelFolder
from sightline_contract.rollout import Assignment
from sightline_edge.rollout.download import Fetcher, Wait
from sightline_edge.rollout.store import Store, hex_of
from sightline_edge.rollout.unsealing import SealedModel, unsealed, unwrap_key


class Bundles:
    """Makes models of bundles. A manifest that comes here is one that the node believes."""

    def __init__(self, store: Store, fetcher: Fetcher, key: ec.EllipticCurvePrivateKey | None, node_id: str) -> None:
        """``key`` is the node's for sealed parts; without it those are refused."""
        self._store = store
        self._fetcher = fetcher
        self._key = key
        self._node_id = node_id

    def obtain(self, manifest: Manifest, name: str, assignment: Assignment) -> Generator[Wait, None, None]:
        """Have the model ``name`` in the store. Raises TrustError, DownloadError and StorageError as ``Fetcher.fetch`` does.

        Small parts first: what is wrong with a bundle shows before its large parts are paid for.
        """
        sealed = _is_sealed(manifest)
        wrapped = (assignment.wrapped_key or self._store.wrapped_key(name)) if sealed else None
        content_key = self._content_key(wrapped) if sealed else b""
        if self._store.has(name) and self._store.damage(name, manifest):
            self._store.discard(name)
        for part_name, part in sorted(manifest.parts.items(), key=lambda item: item[1].fetched.bytes):
            if not self._store.has_part(part):
                yield from self._fetcher.fetch(part.fetched, assignment.sources)
            yield 0
            if part.sealed is not None:
                for _ in unsealed(self._store.part(part), content_key, part_name, part):
                    pass  # what is wrong with it is raised
                yield 0
        self._store.make(name, manifest, assignment.envelope, wrapped)

    def files(self, manifest: Manifest, name: str) -> ModelFiles:
        """The files of the model ``name``, which is in the store; raises TrustError where its sealed parts cannot be opened."""
        if not _is_sealed(manifest):
            return ModelFolder(self._store.model(name))
        return SealedModel(self._store.model(name), manifest.parts, self._content_key(self._store.wrapped_key(name)))

    def _content_key(self, wrapped: str | None) -> bytes:
        if self._key is None:
            raise TrustError("sealing: the bundle is sealed and this node has no key: set models.key")
        if wrapped is None:
            raise TrustError(
                "sealing: the bundle is sealed and its key did not come: run 'sightline models rollout keys' at the centre"
            )
        return unwrap_key(wrapped, self._key, self._node_id)


def _is_sealed(manifest: Manifest) -> bool:
    return any(part.sealed for part in manifest.parts.values())


def parts_of(manifest: Manifest) -> set[str]:
    """Names in the store of all that is fetched for a manifest."""
    return {hex_of(part.fetched.digest) for part in manifest.parts.values()}
