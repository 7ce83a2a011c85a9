"""The agent: brings a node's models to what is desired, one bounded step after the other.

``DesiredModels`` is a declaration. The agent compares it with what the node has, and does what is missing: fetch, verify,
prepare, check parity, then run in the shadow or serve. What it cannot do it says, and the node goes on with what it has.

Invariants
- The model that serves is replaced only by one that is whole, believed, and has parity on this node.
- What serves is recorded before it serves: after a crash the node starts with a model that it has.
- A manifest that failed here is not tried again; one that could not be believed is, with the next revision; a source that does
  not answer is tried again with back-off. Nothing is tried in a hot loop.
- Every call is bounded, and makes no thread: a thread or a simulated clock can drive it. ``take``, ``step``, ``status`` and
  ``close`` belong to one caller; the frame loop has ``switch``.
"""

import hashlib
import logging
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sightline_contract.errors import ConfigError, DownloadError, StorageError, TrustError
from sightline_contract.manifest import Manifest, payload_of, read_envelope
from sightline_contract.rollout import Assignment, DesiredModels, ModelStatus, Phase, Slot
from sightline_contract.targets import Target
from sightline_edge.config import ModelsConfig, Tls
from sightline_edge.rollout.bundle import Bundles, parts_of
from sightline_edge.rollout.download import Fetcher, Wait
from sightline_edge.rollout.models import CheckParity, Engine, Load, Loaded, one_line
from sightline_edge.rollout.start import Start, count_start, own_model, ref_of
from sightline_edge.rollout.store import OWN, State, Store
from sightline_edge.rollout.switch import ModelSwitch
from sightline_edge.rollout.trusted import Trusted
from sightline_edge.rollout.unsealing import open_key, public_pem

logger = logging.getLogger(__name__)

# When nothing is to be done, a step is of use again after so long.
IDLE_US: Final = 1_000_000
_RETRY_FIRST_US: Final = 2_000_000
_RETRY_MOST_US: Final = 300_000_000
_STATED_ANEW_US: Final = 600_000_000
_MODELS: Final = "models"


@dataclass(frozen=True)
class Tools:
    """What the agent has others do."""

    own: Callable[[], Engine]  # loads the model of the node's own settings
    load: Load
    parity: CheckParity
    # Makes a signed statement about the boot state that answers a nonce, at a time; None where the site asks for none.
    attest: Callable[[str, int], str] | None = None


@dataclass(frozen=True)
class _Wanted:
    """An assignment, the slot for it, and its name: the hex digest of its manifest."""

    slot: Slot
    name: str
    assignment: Assignment


class Agent:
    """A node's agent, with the model that serves loaded."""

    def __init__(
        self,
        config: ModelsConfig,
        node_id: str,
        targets: tuple[Target, ...],
        state: Path,
        tools: Tools,
        now_us: int,
        *,
        tls: Tls | None = None,
        beside: bool = False,
    ) -> None:
        """Open ``state``/models, mend what a crash left, and load the model that serves.

        ``targets``: what the node runs, best first. ``tls`` is the node's, for https sources. ``beside``: see ModelSwitch.
        Raises SightlineError where not even the node's own model can be loaded, or where settings or disk are of no use.
        """
        self._config = config
        self._node_id = node_id
        self._targets = targets
        self._tools = tools
        self._now_us = self._reported_us = now_us
        try:
            trust = config.trust.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"models.trust {config.trust}: cannot be read ({error.strerror}): give the site's ca.pem"
            ) from error
        key = open_key(config.key) if config.key else None
        self._public_key = public_pem(key) if key else None
        self._store = Store(state / _MODELS)
        kept = self._store.state
        self._trusted = Trusted(trust, targets, kept.served, kept.served_digest, kept.clock_us, config.refused_signers)
        self._fetcher = Fetcher(self._store.parts, self._store.partial, config.max_bytes_per_s, tls, lambda: self._now_us)
        self._bundles = Bundles(self._store, self._fetcher, key, node_id)
        self._start = Start(self._store, config, tools.load, self._bundles.files, self._trusted.resume)
        live = self._start.live() or self._own()
        self.switch = ModelSwitch(live, self._own, config.error_limit, config.error_window, beside=beside)
        if live.name:
            self.switch.release_before(self._before)
        # Models on trial that this process runs, and since when.
        self._on_trial = {live.name: now_us} if live.name in self._store.state.starts else {}
        self._shadow: Loaded | None = None
        self._doubted: dict[str, str] = {}  # not believed, until the next revision
        self._work: Generator[Wait, None, None] | None = None
        self._working: _Wanted | None = None
        self._settled = False
        self._failures = 0
        self._retry_us = 0
        self._reason = ""
        self._random = random.Random(node_id)  # noqa: S311 - spreads retries of a fleet
        self._desired = kept.desired
        self._wanted = _wanted(self._desired)
        self._stated: tuple[str, int, str | None] | None = None  # nonce, time, statement

    @property
    def state(self) -> State:
        """What the node remembers."""
        return self._store.state

    def take(self, desired: DesiredModels) -> bool:
        """Follow this from the next step on; False where it is not for this node, or not newer than what is followed."""
        if desired.node_id != self._node_id or (self._desired and desired.revision <= self._desired.revision):
            return False
        self._desired, self._wanted = desired, _wanted(desired)
        self._doubted.clear()
        self._failures, self._retry_us, self._reason = 0, 0, ""
        self._settled = False
        if self._working is not None and self._working not in self._wanted:
            self._drop_work()
        self._save(self.state.changed(desired=desired))
        return True

    def step(self, now_us: int) -> Wait:
        """Do the next piece of work; returns after how many microseconds the next step is of use."""
        self._now_us = now_us
        if reverted := self.switch.reverted():
            self._note_reverted(reverted.name, reverted.reason)
        if self._on_trial:
            self._end_trials(now_us)
        if self._settled:
            return IDLE_US
        if now_us < self._retry_us:
            return min(self._retry_us - now_us, IDLE_US)
        return self._advance()

    def status(self, now_us: int) -> ModelStatus:
        """What the node says of its models, with the figures since the last call."""
        from_us, self._reported_us = self._reported_us, now_us
        phase, reason = self._phase()
        shadow = self.switch.shadow
        return ModelStatus(
            node_id=self._node_id,
            site=self._config.site,
            hardware=str(self._targets[0]) if self._targets else "",
            targets=tuple(map(str, self._targets)),
            from_us=from_us,
            reported_us=now_us,
            rollout_id=self._desired.rollout_id if self._desired else "",
            revision=self._desired.revision if self._desired else 0,
            phase=phase,
            reason=reason,
            live=self.switch.live.ref,
            shadow=shadow.loaded.ref if shadow else None,
            figures=self.switch.figures(),
            attestation=self._attestation(now_us),
            public_key=self._public_key,
        )

    @property
    def phase(self) -> Phase:
        """Where the node is with what is desired."""
        return self._phase()[0]

    def close(self, *, orderly: bool = True) -> None:
        """End; ``orderly`` where the process has outlived its models. The frame loop has ended."""
        self._drop_work()
        if orderly:
            starts = {name: count - (name in self._on_trial) for name, count in self.state.starts.items()}
            self._save(self.state.changed(starts=starts))
        self.switch.close()
        self._fetcher.close()
        self._store.close()

    # --- From what is desired to work

    def _advance(self) -> Wait:
        """One piece of the work at hand, or of the next."""
        try:
            if self._work is None and not self._begin():
                self._tidy()
                self._settled = True
                return IDLE_US
            return next(self._work) if self._work else 0
        except StopIteration:
            self._drop_work()
            self._failures, self._reason = 0, ""
        except (DownloadError, StorageError) as error:
            return self._try_later(error)
        except Exception as error:  # noqa: BLE001 - a runtime may fail in any way, and the node goes on with what it has
            self._refuse(error)
        return 0

    def _begin(self) -> bool:
        """Find the next piece of work; whether there is any."""
        names = {wanted.slot: wanted.name for wanted in self._wanted}
        if self._shadow is not None and self._shadow.name not in names.values():
            self._shadow = None
            self.switch.offer_shadow(None)
        for wanted in self._wanted:
            if not self._has(wanted) and self._why_not(wanted.name) is None:
                self._working, self._work = wanted, self._pursue(wanted)
                return True
        return False

    def _has(self, wanted: _Wanted) -> bool:
        if wanted.name == self.state.live:
            return True
        return wanted.slot is Slot.SHADOW and self._shadow is not None and self._shadow.name == wanted.name

    def _why_not(self, name: str) -> str | None:
        return self.state.refused.get(name) or self._doubted.get(name)

    def _pursue(self, wanted: _Wanted) -> Generator[Wait, None, None]:
        """Bring one model into its slot."""
        manifest = self._trusted.accept(wanted.assignment.envelope, self._now_us, shadow=wanted.slot is Slot.SHADOW)
        self._save(self.state.changed(clock_us=self._trusted.clock_floor_us))
        yield 0
        self._tidy(parts_of(manifest))
        yield from self._bundles.obtain(manifest, wanted.name, wanted.assignment)
        yield 0
        loaded = self._shadow if self._shadow is not None and self._shadow.name == wanted.name else None
        if loaded is None:
            loaded = yield from self._prepare(manifest, wanted.name)
        if wanted.slot is Slot.SHADOW:
            self._shadow = loaded
            self.switch.offer_shadow(loaded)
            logger.info("model %s runs in the shadow", _words(manifest))
            return
        try:
            self._serve(manifest, loaded)
        except Exception:  # it may have expired meanwhile, or the disk refuses: it did not serve, and did not fail
            if loaded is not self._shadow:
                loaded.engine.close()
                self._end_trial(wanted.name)
            raise

    def _end_trial(self, name: str) -> None:
        """Forget that this process began with a model."""
        self._on_trial.pop(name, None)
        self._save(self.state.changed(starts={known: count for known, count in self.state.starts.items() if known != name}))

    def _prepare(self, manifest: Manifest, name: str) -> Generator[Wait, None, Loaded]:
        """Load a model and have it prove itself on its golden clip."""
        files = self._bundles.files(manifest, name)
        count_start(self._store, name, self._config.trial_starts)
        self._on_trial[name] = self._now_us
        engine = self._tools.load(files, manifest.target)
        try:
            yield 0
            self._tools.parity(files, manifest.target, engine)
            yield 0
        except BaseException:
            engine.close()
            raise
        return Loaded(ref_of(manifest, name), engine, name)

    def _serve(self, manifest: Manifest, loaded: Loaded) -> None:
        """Record what serves, then have it serve from the next frame on."""
        state = self.state
        self._trusted.accept(_envelope_of(self._working), self._now_us)  # what took hours to fetch may have expired
        self._store.write(
            state.changed(
                live=loaded.name,
                previous=state.live,
                served=manifest.number,
                served_digest=f"sha256:{loaded.name}",
                clock_us=self._trusted.clock_floor_us,
                starts={**state.starts, loaded.name: 1},
            )
        )
        self._trusted.serve(manifest)  # what the disk has not is not served: its number counts from now on
        self._on_trial[loaded.name] = self._now_us
        if self._shadow is loaded:
            self._shadow = None
        self.switch.offer(loaded)
        logger.info("model %s serves from now on", _words(manifest))

    # --- When it does not go as desired

    def _refuse(self, error: Exception) -> None:
        wanted, reason = self._working, one_line(error)
        self._drop_work()
        if wanted is None:
            logger.error("%s", reason)
            return
        self._on_trial.pop(wanted.name, None)
        starts = {name: count for name, count in self.state.starts.items() if name != wanted.name}
        live = self.switch.live.ref
        logger.error("model %s is refused: %s; %s %s goes on", wanted.name[:12], reason, live.model_name, live.model_version)
        if isinstance(error, TrustError):
            self._doubted[wanted.name] = reason
            self._save(self.state.changed(starts=starts))
        else:
            self._save(self.state.refusing(wanted.name, reason).changed(starts=starts))

    def _try_later(self, error: Exception) -> Wait:
        self._drop_work()
        longest_us = min(_RETRY_FIRST_US << min(self._failures, 10), _RETRY_MOST_US)
        wait_us = round(longest_us * self._random.uniform(0.5, 1.0))
        self._failures += 1
        self._retry_us = self._now_us + wait_us
        if self._reason != str(error):
            logger.warning("%s", error)
        self._reason = str(error)
        return min(wait_us, IDLE_US)

    def _note_reverted(self, name: str, reason: str) -> None:
        live = self.switch.live
        logger.error(
            "model %s was put back: %s; %s %s serves again", name[:12], reason, live.ref.model_name, live.ref.model_version
        )
        self._on_trial.pop(name, None)
        starts = {known: count for known, count in self.state.starts.items() if known != name}
        self._save(self.state.refusing(name, reason).changed(live=live.name, previous=OWN, starts=starts))
        self._settled = False

    def _drop_work(self) -> None:
        if self._work is not None:
            self._work.close()
        self._work = self._working = None

    def _end_trials(self, now_us: int) -> None:
        """Models that ran for so long are no longer on trial."""
        trial_us = self._config.trial_s * 1e6
        stood = [name for name, since_us in self._on_trial.items() if now_us - since_us >= trial_us]
        for name in stood:
            del self._on_trial[name]
            if name == self.switch.live.name:
                self.switch.release_before(self._before)
        if stood:
            self._save(self.state.changed(starts={n: count for n, count in self.state.starts.items() if n not in stood}))

    def _own(self) -> Loaded:
        return own_model(self._tools.own())

    def _before(self) -> Loaded | None:
        """The model before the live one, from the disk; None where there is none, or it is of no use."""
        name = self.state.previous
        try:
            return self._start.kept(name) if name else None
        except Exception as error:  # noqa: BLE001 - the node's own model is left
            logger.warning("model %s cannot serve: %s", name[:12], one_line(error))
            return None

    def _phase(self) -> tuple[Phase, str]:
        shadow = self.switch.shadow
        runs = {Slot.LIVE: self.switch.live.name, Slot.SHADOW: shadow.loaded.name if shadow else OWN}
        for wanted in self._wanted:
            if reason := self._why_not(wanted.name):
                return Phase.REFUSED, reason
        follows = all(wanted.name in (runs[wanted.slot], runs[Slot.LIVE]) for wanted in self._wanted)
        return (Phase.FOLLOWING, "") if follows else (Phase.FETCHING, self._reason)

    def _attestation(self, now_us: int) -> str | None:
        """The node's statement, which answers what is desired of it; made anew for each revision, and now and then."""
        if self._tools.attest is None:
            return None
        nonce = f"{self._desired.rollout_id}/{self._desired.revision}" if self._desired else ""
        if self._stated is None or self._stated[0] != nonce or now_us - self._stated[1] >= _STATED_ANEW_US:
            try:
                text: str | None = self._tools.attest(nonce, now_us)
            except Exception as error:  # noqa: BLE001 - a site's own part; what it is worth is for the centre to say
                logger.warning("models.attestation: no statement can be made: %s", one_line(error))
                text = None
            self._stated = nonce, now_us, text
        return self._stated[2]

    def _tidy(self, fetching: set[str] | None = None) -> None:
        names = {self.state.live, self.state.previous, self.switch.live.name, *(wanted.name for wanted in self._wanted)}
        self._store.tidy(names - {OWN}, fetching or set())
        self._save(self.state.changed(starts={name: count for name, count in self.state.starts.items() if name in names}))

    def _save(self, state: State) -> None:
        """Write the record; where the disk refuses it, the node goes by it all the same."""
        try:
            self._store.remember(state)
        except StorageError as error:
            logger.error("%s", error)


def _wanted(desired: DesiredModels | None) -> tuple[_Wanted, ...]:
    """What is to serve, then what is to run in the shadow."""
    return tuple(_each_wanted(desired)) if desired else ()


def _each_wanted(desired: DesiredModels) -> Iterator[_Wanted]:
    for slot, assignment in ((Slot.LIVE, desired.serve), (Slot.SHADOW, desired.shadow)):
        if assignment is not None:
            yield _Wanted(slot, _name(assignment.envelope), assignment)


def _name(envelope: str) -> str:
    """The hex digest of the manifest in an envelope, believed or not; of the text itself where it is no envelope."""
    try:
        content = payload_of(read_envelope(envelope))
    except TrustError:
        content = envelope.encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()


def _envelope_of(wanted: _Wanted | None) -> str:
    return wanted.assignment.envelope if wanted else ""


def _words(manifest: Manifest) -> str:
    return f"{manifest.model_name} {manifest.model_version}, number {manifest.number},"
