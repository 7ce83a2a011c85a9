"""Beginning a rollout: versions from the registry, bundles for what the fleet runs on, signatures, a plan.

Two manifests are signed for each target: the candidate's, and the baseline's return ticket with a higher number, so that who
judges needs no key. Numbers grow over all rollouts of the installation, which PlanDesk sees to.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sightline.rollout.attesting import Attested
from sightline.rollout.giving import ContentKeys, Wrapped, announce_keys, made_content_key, wrap
from sightline.rollout.history import History
from sightline.rollout.plan_topic import PlanDesk
from sightline.rollout.registry_door import number_of
from sightline_contract.errors import ConfigError, ModelError
from sightline_contract.manifest import ENGINE_PART, Thresholds, write_envelope
from sightline_contract.rollout import ModelStatus
from sightline_contract.targets import Precision, Runtime, Target, parse_target
from sightline_models.bundle import build_bundle
from sightline_models.judge.rules import Rules
from sightline_models.registry import Alias, Registry, Version
from sightline_models.registry_engines import download_engine, engine_targets, was_refused
from sightline_models.rollout.keys import waiting
from sightline_models.rollout.plan import Bundles, Kind, RolloutPlan
from sightline_models.signing import Signer

_US: Final = 1_000_000

MakeGolden = Callable[[Version, Path], Path]
"""The golden clip's file of a version whose model folder is given."""


@dataclass(frozen=True)
class Request:
    """What somebody asks for. Times in s; ``version`` and ``baseline`` are numbers or aliases of the registry."""

    model_name: str
    version: str
    baseline: str
    actor: str
    store: Path
    sources: tuple[str, ...]
    rings: tuple[float, ...] = (0.05, 0.25, 1.0)
    shadow_s: float = 3600.0
    expires_s: float = 30 * 86400.0
    rules: Rules = field(default_factory=Rules)
    thresholds: Thresholds = field(default_factory=Thresholds)
    note: str = ""
    targets: tuple[str, ...] = ()  # instead of those that nodes report
    keys: Path | None = None  # folder of content keys: parts are sealed
    require_attestation: bool = False
    attested: Attested | None = None  # whether a node's statement vouches for its public key; None: not asked
    for_s: float | None = None  # an A/B comparison of so long


class Beginning:
    """One start, step by step; every step raises SightlineError and leaves nothing that a node could see."""

    def __init__(
        self,
        request: Request,
        registry: Registry,
        signer: Signer,
        golden: MakeGolden,
        now_us: int,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``warn`` gets a line for each node that is given no key of sealed parts."""
        self._request = request
        self._registry = registry
        self._signer = signer
        self._golden = golden
        self._now_us = now_us
        self._warn = warn

    def run(self, desk: PlanDesk, history: History) -> RolloutPlan:
        """Publish the plan."""
        self._require_none_runs(desk, history)
        candidate, baseline = self._version(self._request.version), self._version(self._request.baseline)
        if candidate.number == baseline.number:
            raise ConfigError(f"{candidate} is the baseline itself: name another version")
        statuses = history.statuses()
        with tempfile.TemporaryDirectory(prefix="rollout-") as scratch:
            plan = self._plan(desk, candidate, baseline, statuses, Path(scratch))
        made = self._wrapped(plan, candidate, baseline, statuses)
        actor, now_us, kafka = self._request.actor, self._now_us, desk.kafka
        desk.begin(plan, made.keys, lambda: announce_keys(plan, made.keys, made.reasons, actor, now_us, kafka))
        for node_id, why in made.refused.items():
            self._warn(f"{node_id}: gets no key: {why}")
        return plan

    def _require_none_runs(self, desk: PlanDesk, history: History) -> None:
        for rollout_id in desk.plans:
            if not history.is_over(rollout_id):
                raise ConfigError(
                    f"rollout {rollout_id} still runs: wait for it, or end it with 'sightline models rollout abort REASON'"
                )

    def _version(self, text: str) -> Version:
        name = self._request.model_name
        if text.isdigit():
            return self._registry.version(name, number_of(text))
        found = self._registry.by_alias(name, text)
        if found is None:
            raise ConfigError(
                f"{name}: no version is {text!r}: give a number or an alias of 'sightline models versions {name}'"
            )
        return found

    def _plan(
        self, desk: PlanDesk, candidate: Version, baseline: Version, statuses: Mapping[str, ModelStatus], scratch: Path
    ) -> RolloutPlan:
        request = self._request
        number = max((plan.return_number for plan in desk.plans.values()), default=0) + 1
        is_ab = request.for_s is not None
        # The other arm of a comparison serves the baseline already where that is the champion.
        other = is_ab and Alias.CHAMPION not in baseline.aliases
        numbers = {"candidate": number, "baseline": number + 1} if other else {"candidate": number}
        numbers["back"] = number + len(numbers)
        bundles = {}
        for target in self._targets(candidate, baseline, statuses):
            envelopes = {
                what: self._envelope(candidate if what == "candidate" else baseline, target, each, scratch)
                for what, each in numbers.items()
            }
            bundles[str(target)] = Bundles(**envelopes)
        event_us = max((status.reported_us for status in statuses.values()), default=self._now_us)
        return RolloutPlan(
            rollout_id=f"{request.model_name}-{candidate.number}-{number}",
            kind=Kind.AB if is_ab else Kind.ROLLOUT,
            model_name=request.model_name,
            version=str(candidate.number),
            baseline_version=str(baseline.number),
            number=number,
            return_number=numbers["back"],
            rings=request.rings,
            shadow_s=request.shadow_s,
            rules=request.rules,
            started_us=self._now_us,
            actor=request.actor,
            note=request.note,
            bundles=bundles,
            sources=request.sources,
            sealed=request.keys is not None,
            sealed_with=content.names if (content := self._content(candidate, baseline)) else None,
            require_attestation=request.require_attestation,
            until_us=None if request.for_s is None else event_us + round(request.for_s * _US),
        )

    def _targets(self, candidate: Version, baseline: Version, statuses: Mapping[str, ModelStatus]) -> list[Target]:
        """The best target of each node that both versions can be bundled for; those asked for, if any were."""
        if self._request.targets:
            return [self._asked_target(text, (candidate, baseline)) for text in self._request.targets]
        wanted: Counter[str] = Counter()
        for status in statuses.values():
            able = (text for text in status.targets if all(can_run(version, text) for version in (candidate, baseline)))
            wanted[next(able, "")] += 1
        if not statuses:
            raise ConfigError("no node has reported its targets in the last day: name them with --target")
        if not (found := sorted(text for text in wanted if text)):
            have = sorted({text for status in statuses.values() for text in status.targets})
            raise ModelError(f"{candidate}: has no engine for what nodes run ({', '.join(have)}): compile it")
        return [parse_target(text) for text in found]

    def _asked_target(self, text: str, versions: tuple[Version, ...]) -> Target:
        try:
            target = parse_target(text)
        except ValueError as error:
            raise ConfigError(f"--target: {error}") from error
        for version in versions:
            if not can_run(version, text):
                raise ModelError(f"{version}: has no engine for {text}: compile it")
        return target

    def _envelope(self, version: Version, target: Target, number: int, scratch: Path) -> str:
        folder = scratch / f"{version.name}-{version.number}"
        if not folder.exists():
            self._registry.download(version, scratch)
        manifest = build_bundle(
            folder,
            target=target,
            golden=self._golden(version, folder),
            thresholds=self._request.thresholds,
            store=self._request.store,
            number=number,
            issued_us=self._now_us,
            expires_us=self._now_us + round(self._request.expires_s * _US),
            engine=self._engine(version, target, scratch),
            content_key=self._key(version),
        )
        return write_envelope(self._signer.sign(manifest))

    def _engine(self, version: Version, target: Target, scratch: Path) -> Path | None:
        if str(target) not in engine_targets(version):
            return None
        into = scratch / f"{version.number}-{target}"
        into.mkdir(exist_ok=True)
        files = [path for path in download_engine(self._registry, version, target, into).rglob("*") if path.is_file()]
        if len(files) != 1:
            raise ModelError(f"{version}: its engine for {target} is {len(files)} files, and a bundle's {ENGINE_PART} is one")
        return files[0]

    def _key(self, version: Version) -> bytes | None:
        keys = self._request.keys
        return made_content_key(keys, version.name, str(version.number)) if keys else None

    def _content(self, candidate: Version, baseline: Version) -> ContentKeys | None:
        new, old = self._key(candidate), self._key(baseline)
        return ContentKeys(new, old) if new and old else None

    def _wrapped(
        self, plan: RolloutPlan, candidate: Version, baseline: Version, statuses: Mapping[str, ModelStatus]
    ) -> Wrapped:
        """Keys for the nodes that announce a public key; who comes later gets them by 'rollout keys'."""
        if (content := self._content(candidate, baseline)) is None:
            return Wrapped((), {}, {})
        return wrap(plan.rollout_id, content, waiting(plan, statuses.values(), {}), None, self._request.attested)


def can_run(version: Version, text: str) -> bool:
    """Whether a version can be bundled for a target: as it is, or as an engine that was made for it and not refused."""
    if was_refused(version, text):
        return False
    if text in engine_targets(version):
        return True
    try:
        target = parse_target(text)
    except ValueError:
        return False
    return target.runtime is not Runtime.TENSORRT and target.precision is Precision.FP32
