"""``sightline bench fleet``: a fleet is given good and bad versions, while nodes lose links and power; what each did to it."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from sightline.demo.rollout_report import outcome_table
from sightline.fleet.detectors import Behaviour, Version
from sightline.fleet.fleet import Fleet, FleetOptions
from sightline.fleet.picture import draw_rings
from sightline.fleet.site import MODEL, Site, SiteOptions
from sightline.fleet.trial import Outcome, let_pass, marks_of, request_for, roll_out
from sightline.jars import fetch_jars
from sightline.ports import free_port
from sightline.results.terminal import plain_console
from sightline_models.registry import Version as Registered
from sightline_models.rollout.steps import StepName

_HOUR_US = 3_600_000_000
# Shares of the fleet that are cut off from the centre, and that lose power, while a version is rolled out.
_CUT, _DARK = 0.04, 0.01
_FIRST_H = 4


@dataclass(frozen=True)
class Trial:
    """One rollout of the benchmark; ``shadow_h`` of 0 has canaries serve it unseen."""

    behaviour: Behaviour
    shadow_h: float
    end: StepName

    def __str__(self) -> str:
        return f"{self.behaviour}, {'no shadow' if not self.shadow_h else 'shadow first'}"


# Bad ones first: all of them meet the same baseline. Without a shadow, so that the judge of rings meets every one of them;
# with it, the shadow's judge does, save for the version that is good by day.
TRIALS = (
    *(Trial(each, 0, StepName.RESTORED) for each in (Behaviour.SHIFTED, Behaviour.SLOW, Behaviour.CRASHING, Behaviour.NIGHT)),
    *(Trial(each, 2, StepName.RESTORED) for each in (Behaviour.SHIFTED, Behaviour.SLOW, Behaviour.CRASHING)),
    Trial(Behaviour.GOOD, 2, StepName.COMPLETED),
)


@dataclass(frozen=True)
class Result:
    """What became of the trials, in their order."""

    outcomes: tuple[Outcome, ...]
    caught_up: bool  # nodes that were cut off or dark serve the champion at the end
    left_alone: bool  # while cut off, no node changed its model
    unserved_frames: int


def run_trials(work: Path, nodes: int, trials: tuple[Trial, ...] = TRIALS, picture: Path | None = None) -> Result:
    """Run the trials one after the other on one fleet; raises SightlineError."""
    with Site(SiteOptions(work, free_port(), lead_h=4.0)) as site:
        baseline = site.register(Version(MODEL, "1", Behaviour.BASELINE))
        versions = [
            site.register(Version(MODEL, str(number), trial.behaviour))
            for number, trial in enumerate(trials, baseline.number + 1)
        ]
        with site.fleet(FleetOptions(nodes=nodes), baseline) as fleet:
            _pass(site, fleet, _FIRST_H)
            trouble = _Trouble(fleet)
            outcomes = [trouble.during(site, version, trial.shadow_h) for version, trial in zip(versions, trials, strict=True)]
            trouble.end()
            _pass(site, fleet, _FIRST_H)
            champion = site.registry.by_alias(MODEL, "champion")
            caught_up = champion is not None and all(node.version == str(champion.number) for node in fleet.nodes)
            if picture is not None:
                ends = [mark for outcome in outcomes for mark in marks_of(outcome)[-1:]]  # more would hide each other
                draw_rings(fleet.samples, ends, f"{nodes} nodes, {len(trials)} versions", picture)
            return Result(tuple(outcomes), caught_up, trouble.left_alone, fleet.unserved)


class _Trouble:
    """Links and power that nodes lose while a version is rolled out, and get back after it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rng = np.random.default_rng(11)
        self._cut: list[int] = []
        self._dark: list[int] = []
        self._versions: dict[int, str] = {}
        self.left_alone = True

    def during(self, site: Site, version: Registered, shadow_h: float) -> Outcome:
        """Roll out with other nodes in trouble than before."""
        self.end()
        count = len(self._fleet.nodes)
        chosen = self._rng.permutation(count)[: round(count * (_CUT + _DARK))].tolist()
        self._cut, self._dark = chosen[: round(count * _CUT)], chosen[round(count * _CUT) :]
        self._versions = {i: self._fleet.nodes[i].version for i in self._cut}
        self._fleet.cut(self._cut, linked=False)
        for i in self._dark:
            self._fleet.nodes[i].switch_off()
        return roll_out(site, self._fleet, request_for(site, version, shadow_h=shadow_h))

    def end(self) -> None:
        """Everything is back."""
        self.left_alone &= all(self._fleet.nodes[i].version == before for i, before in self._versions.items())
        self._versions = {}
        self._fleet.cut(self._cut, linked=True)
        for i in self._dark:
            self._fleet.nodes[i].switch_on(self._fleet.now_us)
        self._cut, self._dark = [], []


def _pass(site: Site, fleet: Fleet, hours: float) -> None:
    until_us = fleet.now_us + hours * _HOUR_US
    let_pass(site, fleet, lambda: fleet.now_us >= until_us)


def bench_fleet(nodes: int, out: Path, console: Console | None = None) -> None:
    """Run all trials; prints a table, and writes ``fleet.json`` and ``fleet.png`` into ``out``."""
    console = console or plain_console()
    for kind in ("kafka", "spark"):
        fetch_jars(kind)
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="sightline-fleet-") as work:
        result = run_trials(Path(work), nodes, picture=out / "fleet.png")
    console.print(outcome_table(result.outcomes, f"{nodes} nodes, in trouble: {_CUT:.0%} cut off, {_DARK:.0%} without power"))
    document = {
        "nodes": nodes,
        "caught_up": result.caught_up,
        "left_alone": result.left_alone,
        "unserved_frames": result.unserved_frames,
        "trials": [
            {
                "trial": str(trial), "version": outcome.version, "end": outcome.end.value, "served": outcome.served,
                "detect_h": outcome.detect_h, "restore_h": outcome.restore_h, "wall_s": round(outcome.wall_s, 1),
                "reasons": outcome.reasons,
            }
            for trial, outcome in zip(TRIALS, result.outcomes, strict=True)
        ],
    }  # fmt: skip
    (out / "fleet.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    console.print(
        f"frames without a model: {result.unserved_frames}; all caught up: {result.caught_up}; figures: {out / 'fleet.json'}"
    )
