"""Everything a simulated fleet needs of the centre, all of it real: broker, registry, bundle server, judge, authority.

The judge has no clock of its own, so the fleet's time must not run away from it: ``keep_pace`` makes a tick wait until the
judge has looked at what was told. So a simulation ends the same on a slow machine, only later.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from sightline.audit.verifying import Broker, Verdict, verify_log
from sightline.broker import BrokerConfig
from sightline.bundle_service import BundleService
from sightline.fleet.detectors import Version as Simulated
from sightline.fleet.detectors import write_version
from sightline.fleet.fleet import Fleet, FleetOptions
from sightline.fleet.scenes import pictures, streets
from sightline.ports import free_port
from sightline.processes import Child
from sightline.registry_service import RegistryService
from sightline.rollout.history import History
from sightline.rollout.installation import judge_config
from sightline.rollout.judge_service import JudgeService
from sightline.rollout.plan_topic import PlanDesk
from sightline.rollout.registry_door import announce
from sightline.rollout.start import Beginning, Request
from sightline.services import BrokerService, Service, launch_all
from sightline_contract.errors import StageError
from sightline_contract.manifest import GOLDEN_PART
from sightline_contract.parity import write_golden
from sightline_edge.detector import Detector
from sightline_edge.security import authority
from sightline_lakehouse.audit.checkpoint import load_authorities
from sightline_lakehouse.audit.log import AuditLog
from sightline_models.compile.golden import GOLDEN_FRAMES, make_golden
from sightline_models.registry import Registry, Version
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.signing import Signer
from sightline_streaming.config import KafkaConfig

MODEL = "street"
# Golden pictures are fine-grained: a version that fails on coarse ones passes the gate, as a rare fault does.
_GOLDEN_GRAIN = 200
_HOUR_US = 3_600_000_000
_JUDGE_TIMEOUT_S = _AUDIT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class SiteOptions:
    """Where it keeps its files, and how its judge looks."""

    work: Path
    broker_port: int
    look_s: float = 0.2
    # Simulated hours by which the fleet may be ahead of what the judge has seen.
    lead_h: float = 2.0


class Site:
    """The centre of a simulated fleet; a context manager that starts it and ends it."""

    def __init__(self, options: SiteOptions) -> None:
        self.options = options
        work = options.work
        self._broker = BrokerService(BrokerConfig(work / "broker", options.broker_port))
        self._registry_service = RegistryService(work / "mlflow", free_port())
        self._bundles = BundleService(work / "bundles", free_port())
        config = judge_config(work, options.broker_port, self._registry_service.uri)
        job = config.job | {"trigger_s": {"archive": 2.0}}
        job["audit"] = {
            "signer_certificate": str(self._release / "signer.pem"), "signer_key": str(self._release / "signer.key"),
            "trust": str(self.trust),
        }  # fmt: skip
        self._judge = JudgeService(replace(config, job=job, look_s=options.look_s, audit=True))
        self._judge_child: Child | None = None
        self._started = ExitStack()
        self._kafka = KafkaConfig(bootstrap_servers=self._broker.config.bootstrap)
        self.registry = Registry(self._registry_service.uri, announce=lambda record: announce(record, self._kafka))
        self.history = History(str(work / "tables"))

    @property
    def bootstrap(self) -> str:
        """Address of the broker."""
        return self._broker.config.bootstrap

    @property
    def trust(self) -> Path:
        """The authority's certificate."""
        return self.options.work / "pki" / "ca.pem"

    def start(self) -> Self:
        """Start everything, the authority and its signer included; raises SightlineError with everything ended."""
        now = datetime.now(UTC)
        authority.init(self.options.work / "pki", None, now)
        authority.Authority(self.options.work / "pki", None).issue("release", self.options.work, now, signer=True)
        with ExitStack() as begun:
            (broker,) = launch_all([self._broker], tied=True)
            begun.callback(broker.stop)
            self._broker.wait_until_ready(broker)
            services: tuple[Service, ...] = (self._registry_service, self._bundles, self._judge)
            children = launch_all(services, tied=True)
            for child in children:
                begun.callback(child.stop)
            for service, child in zip(services, children, strict=True):
                service.wait_until_ready(child)
            self._judge_child = children[-1]
            self._started = begun.pop_all()
        return self

    def register(self, simulated: Simulated, actor: str = "fleet") -> Version:
        """Make a version of the simulated model and register it."""
        return self.registry.register(write_version(self.options.work / "models", simulated), actor, name=MODEL)

    def fleet(self, options: FleetOptions, baseline: Version) -> Fleet:
        """Nodes that serve ``baseline`` as their own model, which becomes the champion."""
        self.registry.promote(MODEL, baseline.number, "fleet")
        folder = self.registry.download(baseline, self.options.work / "baseline")
        return Fleet(options, self.bootstrap, folder, self.trust, self.options.work / "nodes")

    def begin(self, request: Request, now_us: int) -> RolloutPlan:
        """Sign and publish a rollout, as 'sightline models rollout start' does."""
        signer = Signer(self._release / "signer.pem", self._release / "signer.key", None)
        return Beginning(request, self.registry, signer, _golden, now_us).run(PlanDesk(self._kafka), self.history)

    @property
    def store(self) -> Path:
        """Where bundles' parts lie."""
        return self.options.work / "bundles"

    @property
    def source(self) -> str:
        """Where nodes fetch them."""
        return self._bundles.source

    def audited(self) -> Verdict:
        """The verdict on the audit log once all that was told is in it and signed; raises StageError if that takes too long."""
        log = AuditLog(self._judge.config.job["table_root"])
        authorities, broker = load_authorities(self.trust), Broker(self.bootstrap)
        ends_s = time.monotonic() + _AUDIT_TIMEOUT_S
        while time.monotonic() < ends_s:
            verdict = verify_log(log, authorities, broker)
            signed = verdict.last.stated.seq if verdict.last else 0
            if verdict.findings or (not verdict.waiting and signed == verdict.rows):
                return verdict
            time.sleep(0.5)
        raise StageError(f"the audit log had not all records within {_AUDIT_TIMEOUT_S:.0f} s: see {self._judge.config.work}")

    def keep_pace(self, fleet: Fleet) -> None:
        """Wait until the judge has seen all but the last ``lead_h`` of the fleet's time; raises StageError if it does not."""
        ends_s = time.monotonic() + _JUDGE_TIMEOUT_S
        while fleet.now_us - (self._judge.config.status().get("event_us") or fleet.options.start_us) > self._lead_us:
            if self._judge_child is not None and self._judge_child.exit_code is not None:
                raise self._judge_child.failure()
            if time.monotonic() > ends_s:
                raise StageError(f"the judge did not look within {_JUDGE_TIMEOUT_S:.0f} s: see {self._judge.config.work}")
            time.sleep(0.05)

    @property
    def _release(self) -> Path:
        """Where the signer's files lie."""
        return self.options.work / "release"

    @property
    def _lead_us(self) -> float:
        return self.options.lead_h * _HOUR_US

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._started.close()


def _golden(version: Version, folder: Path) -> Path:
    """The golden clip of a simulated version: a few pictures of a street by day."""
    rng = np.random.default_rng(5)
    frames = pictures(12 * _HOUR_US, streets(1, rng), GOLDEN_FRAMES, rng, _GOLDEN_GRAIN)[0]
    detector = Detector(folder, 0.0, 1, max_batch=1)
    path = folder.parent / f"{version.number}-{GOLDEN_PART}"
    write_golden(path, make_golden(list(frames), detector))
    detector.close()
    return path
