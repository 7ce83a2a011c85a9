"""``sightline demo --scenario rollout``: a fleet is given a version that misbehaves at night alone, and then a good one.

A hundred nodes run the real agent in one process; broker, model registry, bundle server and judge are those of the local stack.
A day of the fleet takes seconds. Nobody watches: the judge takes the one back, and brings the other to every node.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from sightline.audit.verifying import whole_line
from sightline.demo.layout import fresh_layout
from sightline.demo.rollout_report import Report, print_report, write_summary
from sightline.demo.stages import Stages
from sightline.fleet.detectors import Behaviour, Version
from sightline.fleet.fleet import Fleet, FleetOptions
from sightline.fleet.picture import draw_rings
from sightline.fleet.site import MODEL, Site, SiteOptions
from sightline.fleet.trial import RULES, Outcome, let_pass, marks_of, request_for, roll_out
from sightline.jars import fetch_jars
from sightline.ports import require_free
from sightline.rollout.start import Request

_NODES = 100
_HOUR_US = 3_600_000_000
# Short enough to watch; the first version is observed for a day, since that is what its rules must ask for to see a night.
_GOOD_OBSERVED_S, _LAST_S = 5 * 3600.0, 3600.0
_SHADOW_H = 2.0
# From 06:00, when the fleet's time begins: the shadow and the first hours of the first version are by day. More than the fleet
# may be ahead of the judge, so that the centre knows the nodes when it is asked for a rollout.
_QUIET_H = 3


@dataclass(frozen=True)
class RolloutOptions:
    """What the command line asked for."""

    out: Path
    broker_port: int
    nodes: int = _NODES


class RolloutDemo:
    """One run of the scenario."""

    def __init__(self, options: RolloutOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._stages = Stages(console)
        require_free(options.broker_port, "the broker", "stop what uses it, or choose another port with --port")
        self._layout = fresh_layout(options.out)

    def run(self) -> Report:
        """Roll out twice; raises SightlineError, with every process ended."""
        with self._stages:
            with self._stages.stage("jars"):
                fetch_jars("kafka")
                fetch_jars("spark")
            site = Site(SiteOptions(self._layout.work, self._options.broker_port))
            with ExitStack() as running:
                with self._stages.stage("start the centre"):
                    running.enter_context(site)
                report = self._roll(site)
        picture = draw_rings(report.samples, report.marks, "Which version how many nodes serve", self._layout.out / "rings.png")
        report = replace(report, picture=picture)
        write_summary(self._layout.summary, report)
        print_report(report, self._layout.summary, self._console)
        return report

    def _roll(self, site: Site) -> Report:
        with self._stages.stage("register three versions"):
            baseline, nightly, good = (
                site.register(Version(MODEL, str(number), behaviour))
                for number, behaviour in enumerate((Behaviour.BASELINE, Behaviour.NIGHT, Behaviour.GOOD), 1)
            )
        # Few nodes see more frames each, so that as much is known of a canary in an hour; many need fewer.
        options = FleetOptions(nodes=self._options.nodes, frames=16, least_frames=4)
        with site.fleet(options, baseline) as fleet:
            with self._stages.stage("a quiet morning"):
                until_us = fleet.now_us + _QUIET_H * _HOUR_US
                let_pass(site, fleet, lambda: fleet.now_us >= until_us)
            first = self._one(
                site, fleet, f"version {nightly.number}: bad at night", request_for(site, nightly, shadow_h=_SHADOW_H)
            )
            rules = RULES.model_copy(update={"observe": _GOOD_OBSERVED_S, "observe_last": _LAST_S})
            second = self._one(site, fleet, f"version {good.number}: a good one", request_for(site, good, rules, _SHADOW_H))
            outcomes = (first, second)
            marks = [mark for outcome in outcomes for mark in marks_of(outcome)]
            aliases = {f"{version.number}": version.aliases for version in site.registry.versions(MODEL)}
            with self._stages.stage("verify the audit log"):
                audit = _audited(site)
            return Report(outcomes, tuple(fleet.samples), tuple(marks), aliases, fleet.unserved, self._stages.elapsed_s, audit)

    def _one(self, site: Site, fleet: Fleet, name: str, request: Request) -> Outcome:
        with self._stages.stage(name) as stage:
            return roll_out(site, fleet, request, lambda steps: stage.say(steps[-1].name.value if steps else "begun"))


def _audited(site: Site) -> str:
    verdict = site.audited()
    if verdict.findings:
        return f"NOT whole: {verdict.findings[0]}"
    return whole_line(verdict, trusted=True)
