"""Canaries that do not report: a version that kills its node sends no figures to compare."""

from collections.abc import Sequence

from sightline_models.judge.figures import Arm, ArmWindow
from sightline_models.judge.metrics import LABELS, Sample, Series
from sightline_models.judge.pairs import hour_of
from sightline_models.judge.rules import Rules
from sightline_models.judge.verdict import Cohort


def silence_of(windows: Sequence[ArmWindow], cohort: Cohort, rules: Rules, until_us: int) -> Series:
    """Share of the canaries that are missing in a window, above the control's.

    A window tells nothing where most of the control is missing, too: then the centre or the network is the cause. A single
    node of several has a plug that somebody pulled; a version's fault shows on two. Expected is whoever reported in an earlier
    window, and canaries that vanished before their first: a node that comes later was not missing before.
    """
    series = Series("silence", LABELS["silence"], rules.margins.silent_share, rules.bad_share)
    closed = [w for w in windows if w.start_us + w.window_s * 1e6 <= until_us]
    nodes = {arm: {w.start_us: w.nodes for w in closed if w.arm is arm} for arm in Arm}
    canaries, controls = cohort.vanished, 0
    for start in sorted(nodes[Arm.CONTROL] if cohort.controls else nodes[Arm.CANARY]):
        here, there = nodes[Arm.CANARY].get(start, 0), nodes[Arm.CONTROL].get(start, 0)
        canaries, controls = max(canaries, here + cohort.vanished), max(controls, there)
        control = 1 - there / controls if controls else 0.0
        if start < cohort.settled_us or control > 0.5 or not canaries:
            continue
        missing = canaries - here
        canary = missing / canaries
        bad = canary - control > series.margin and (missing > 1 or canaries == 1)
        series.samples.append(Sample(start, hour_of(start), canary, control, canary - control, bad))
    return series
