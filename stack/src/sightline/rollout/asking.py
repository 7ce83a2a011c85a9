"""What the commands do: begin a rollout, change what is wanted of the one that runs, look at one."""

import getpass
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sightline.bundle_service import DEFAULT_BUNDLE_PORT
from sightline.cache import clips_dir
from sightline.ports import LOOPBACK
from sightline.rollout.attesting import Attested, attester
from sightline.rollout.golden import GoldenClips
from sightline.rollout.installation import Installation
from sightline.rollout.key_giver import Giver
from sightline.rollout.key_topic import read_keys
from sightline.rollout.plan_topic import PlanDesk, newest_plan, read_plans, write_plan
from sightline.rollout.start import Beginning, Request
from sightline.rollout.view import Look
from sightline.sample_clip import fetch_sample_clip
from sightline_contract.errors import ConfigError
from sightline_contract.manifest import Thresholds
from sightline_contract.settings import load_settings
from sightline_models.dates import seconds_of
from sightline_models.judge.rules import Rules
from sightline_models.registry import Registry
from sightline_models.rollout.plan import Wanted
from sightline_models.signing import Signer, passphrase_from_environment


@dataclass(frozen=True)
class Asked:
    """A command's options as they were written."""

    model: str
    version: str
    baseline: str
    rings: tuple[float, ...]
    shadow: str
    rules: Path | None
    expires: str
    store: Path | None
    sources: list[str] | None
    targets: list[str] | None
    clip: Path | None
    seal: Path | None
    thresholds: Path | None
    note: str = ""
    require_attestation: bool = False
    attest_policy: Path | None = None
    trust: Path | None = None
    for_: str | None = None

    def request(self, home: Path) -> Request:
        """What they mean; raises ConfigError."""
        attested = key_attester(self.attest_policy, self.trust)
        if self.seal and self.require_attestation and attested is None:
            raise ConfigError(
                "--seal with --require-attestation: say which statements are good, --attest-policy and --trust: "
                "keys go to nodes whose statement names theirs"
            )
        return Request(
            model_name=self.model,
            version=self.version,
            baseline=self.baseline,
            actor=getpass.getuser(),
            store=self.store or home / "bundles",
            sources=tuple(self.sources or (f"http://{LOOPBACK}:{DEFAULT_BUNDLE_PORT}",)),
            rings=self.rings,
            shadow_s=0.0 if self.shadow in ("0", "0s") else seconds_of(self.shadow, "--shadow"),
            expires_s=seconds_of(self.expires, "--expires"),
            rules=load_settings(self.rules, Rules) if self.rules else Rules(),
            thresholds=load_settings(self.thresholds, Thresholds) if self.thresholds else Thresholds(),
            note=self.note,
            targets=tuple(self.targets or ()),
            keys=self.seal,
            require_attestation=self.require_attestation,
            attested=attested,
            for_s=None if self.for_ is None else seconds_of(self.for_, "--for"),
        )


def begin(asked: Asked, signer: Path, key: Path, registry: str, home: Path, installation: Installation) -> str:
    """Begin what was asked for; returns its id. Raises SightlineError."""
    request = asked.request(home)
    release = Signer(signer, key, passphrase_from_environment())  # first: a wrong passphrase shuts nobody out
    golden = GoldenClips(asked.clip or fetch_sample_clip(clips_dir()))
    beginning = Beginning(request, Registry(registry), release, golden, time.time_ns() // 1000, _warn)
    return beginning.run(PlanDesk(installation.config.kafka), installation.history).rollout_id


def ask(installation: Installation, wanted: Wanted, note: str, actor: str) -> str:
    """Change what is wanted of the newest rollout, which must be running; returns a line that says so."""
    plan = newest_plan(read_plans(installation.config.kafka), None)
    if installation.history.is_over(plan.rollout_id):
        raise ConfigError(f"rollout {plan.rollout_id} is over: there is nothing to {wanted.value}")
    edited = plan.model_copy(update={"wanted": wanted, "edit": plan.edit + 1, "actor": actor, "note": note})
    write_plan(edited, installation.config.kafka)
    return f"{plan.rollout_id}: {wanted.value} is asked for"


def look_at(installation: Installation, rollout_id: str | None) -> Look:
    """What is known of a rollout, or of the newest one; raises ConfigError where there is none."""
    plan = newest_plan(read_plans(installation.config.kafka), rollout_id)
    history = installation.history
    keys = read_keys(installation.config.kafka).get(plan.rollout_id, {}) if plan.sealed else {}
    return Look(plan, history.steps(plan.rollout_id), history.statuses(), installation.judge_status(), keys)


def give_keys(installation: Installation, folder: Path, policy: Path | None, trust: Path | None, *, follow: bool) -> None:
    """Give keys of sealed parts to nodes that wait for them, once or until SIGTERM or Ctrl-C; raises SightlineError."""
    giver = Giver(installation, folder, key_attester(policy, trust), getpass.getuser(), _tell, _warn)
    if not follow:
        giver.once()
        return
    to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: to_stop.set())
    giver.follow(to_stop)


def key_attester(policy: Path | None, trust: Path | None) -> Attested | None:
    """Whether statements vouch for nodes' public keys; None where nobody asks for it. Raises ConfigError."""
    return attester(policy, trust, key_named=True) if policy or trust else None


def _tell(line: str) -> None:
    print(line, flush=True)


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
