"""Which model serves when the node starts: the one that did, if it can and if the node survives it; else the one before it.

A model is on trial from its swap until it has run for ``trial_s``; a candidate in the shadow is, too, since it can take the
process down as well. Each process that begins with a model on trial is counted before the model is loaded, so that one that
kills the process while it loads is counted, too; one that ends in order is taken off again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sightline_contract.errors import ModelError, StorageError, TrustError
from sightline_contract.manifest import Manifest
from sightline_contract.model_files import ModelFiles
from sightline_contract.rollout import ModelRef
from sightline_edge.config import ModelsConfig
from sightline_edge.rollout.models import Engine, Load, Loaded, one_line
from sightline_edge.rollout.store import OWN, State, Store

logger = logging.getLogger(__name__)


def ref_of(manifest: Manifest, name: str) -> ModelRef:
    """How a manifest's model is named in what the node reports."""
    return ModelRef(
        model_name=manifest.model_name, model_version=manifest.model_version, number=manifest.number, digest=f"sha256:{name}"
    )


def own_model(engine: Engine) -> Loaded:
    """The model of the node's own settings."""
    return Loaded(ModelRef(model_name=engine.card.name, model_version=engine.card.version), engine, OWN)


def count_start(store: Store, name: str, limit: int) -> None:
    """Note that this process begins with a model on trial, before it is loaded; raises ModelError if that is once too often."""
    starts = store.state.starts.get(name, 0)
    if starts >= limit:
        raise ModelError(f"crashes: the node did not survive this model {starts} times: it is not started again")
    store.write(store.state.changed(starts={**store.state.starts, name: starts + 1}))


@dataclass
class Start:
    """Loads what the store's record names."""

    store: Store
    config: ModelsConfig
    load: Load
    files: Callable[[Manifest, str], ModelFiles]  # of a model in the store; raises TrustError where it cannot be opened
    resume: Callable[[str, str], Manifest]  # envelope, and digest of the manifest that was served; raises TrustError

    def live(self) -> Loaded | None:
        """The model that serves, the one before it where that cannot be; None stands for the node's own.

        The record says afterwards what serves. Raises StorageError where it cannot be written.
        """
        while (name := self.store.state.live) != OWN:
            try:
                if name in self.store.state.starts:
                    count_start(self.store, name, self.config.trial_starts)
                return self.kept(name)
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever keeps a model from starting, another one must serve
                self._put_back(name, error)
        return None

    def kept(self, name: str) -> Loaded:
        """A model of the store, checked and loaded; raises SightlineError, or whatever a runtime raises."""
        manifest = self._manifest(name)
        if damage := self.store.damage(name, manifest):
            self.store.discard(name)
            raise TrustError(f"disk: {damage}: it is fetched again")
        return Loaded(ref_of(manifest, name), self.load(self.files(manifest, name), manifest.target), name)

    def _manifest(self, name: str) -> Manifest:
        envelope = self.store.envelope(name)
        if envelope is None:
            raise TrustError("disk: the model is not there: it is fetched again")
        # What is on the disk is not believed: the record's digest is, and the signature on the day of issue.
        return self.resume(envelope, f"sha256:{name}")

    def _put_back(self, name: str, error: Exception) -> None:
        state: State = self.store.state
        reason = one_line(error)
        logger.error("model %s cannot serve: %s; the one before it does", name[:12], reason)
        if not isinstance(error, TrustError):  # a model that can be fetched again is not at fault itself
            state = state.refusing(name, reason)
        starts = {known: count for known, count in state.starts.items() if known != name}
        self.store.write(state.changed(live=state.previous, previous=OWN, starts=starts))
