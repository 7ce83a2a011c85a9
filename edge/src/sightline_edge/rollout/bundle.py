"""From an assignment to a whole model in the store: parts fetched, opened where they are sealed, and put together."""

from collections.abc import Generator, Sequence

from cryptography.hazmat.primitives.asymmetric import ec

from sightline_contract.errors import StorageError, TrustError
from sightline_contract.manifest import Manifest, Part
from sightline_contract.rollout import Assignment
from sightline_edge.rollout.download import Fetcher, Wait
from sightline_edge.rollout.store import Store, hex_of
from sightline_edge.rollout.unsealing import unseal, unwrap_key


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
        for _, part in sorted(manifest.parts.items(), key=lambda item: item[1].fetched.bytes):
            if not (self._store.parts / hex_of(part.digest)).exists():
                yield from self._fetch(part, assignment)
                yield 0
        self._store.make(name, manifest, assignment.envelope)

    def _fetch(self, part: Part, assignment: Assignment) -> Generator[Wait, None, None]:
        if part.sealed is None:
            yield from self._fetcher.fetch(part, assignment.sources)
            return
        content_key = self._content_key(assignment)
        sealed = yield from self._fetcher.fetch(part.sealed, assignment.sources)
        yield 0
        try:
            unseal(sealed, self._store.parts / hex_of(part.digest), content_key, part)
        except OSError as error:
            raise StorageError(
                f"{self._store.parts}: a sealed part could not be opened ({error.strerror}): make room"
            ) from error
        finally:
            sealed.unlink(missing_ok=True)

    def _content_key(self, assignment: Assignment) -> bytes:
        if self._key is None:
            raise TrustError("sealing: the bundle is sealed and this node has no key: set models.key")
        if assignment.wrapped_key is None:
            raise TrustError("sealing: the bundle is sealed and its key did not come: start the rollout again for this node")
        return unwrap_key(assignment.wrapped_key, self._key, self._node_id)


def parts_of(manifest: Manifest) -> set[str]:
    """Names in the store of all that is fetched and made for a manifest."""
    parts: Sequence[Part] = tuple(manifest.parts.values())
    return {hex_of(part.digest) for part in parts} | {hex_of(part.fetched.digest) for part in parts}
