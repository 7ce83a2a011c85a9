"""How often the judge is right, over many seeds: ``python tests/support/judge_rates.py --seeds 1000``.

Prints the first table of docs/rollout.md; the judge looks after every so many windows and stops where it decides. With
``--edge`` the second one: one metric alone, with bad windows drawn at a rate, independent or lasting.
"""

import argparse
import math
from collections import Counter
from statistics import NormalDist, median

import arms
import numpy as np

from sightline_models.judge.judge import judge
from sightline_models.judge.metrics import LABELS
from sightline_models.judge.rules import Rules
from sightline_models.judge.sequential import log_wealth_path
from sightline_models.judge.verdict import Cohort, Decision, Verdict

SCENARIOS = {
    "good": arms.GOOD,
    "shifted confidences": arms.SHIFTED,
    "slow": arms.SLOW,
    "errors": arms.ERRORS,
    "dies": arms.DIES,
    "bad at night": arms.BLIND_AT_NIGHT,
}


def decided(
    seed: int,
    version: arms.Version,
    rules: Rules,
    look_every: int = 1,
    canaries: int = 5,
    controls: int = 95,
    hours: int = 30,
    before_h: float = 12.0,
) -> tuple[Verdict, int]:
    """The first verdict that is not to go on, and after how many windows it came."""
    before, windows = arms.windows_of(seed, version, hours=hours, canaries=canaries, controls=controls, before_h=before_h)
    window_us = int(rules.window * 1e6)
    cohort = Cohort(arms.START_US, canaries, controls, arms.START_US, arms.START_US)
    last = int(hours * 3600 / rules.window)
    for number in range(look_every, last + 1, look_every):
        now_us = arms.START_US + number * window_us
        until = [window for window in windows if window.start_us < now_us]
        verdict = judge(until, rules, now_us, cohort, before, stages=4)
        if verdict.decision is not Decision.CONTINUE:
            return verdict, number
    return verdict, last


def first_alarm(bad: np.ndarray, evidence: float, p0: float) -> int | None:
    """The first window after which one metric's evidence is enough; None if it never is."""
    hours = (np.arange(len(bad)) // 6) % 24
    reached = np.flatnonzero(log_wealth_path(bad.tolist(), hours.tolist(), p0, 144) >= math.log(evidence))
    return int(reached[0]) + 1 if reached.size else None


def lasting(rng: np.random.Generator, share: float, keeps: float, windows: int = 144) -> np.ndarray:
    """Windows of which ``share`` are bad: those where an AR(1) process of unit variance exceeds its quantile."""
    noise = rng.standard_normal(windows)
    for index in range(1, windows):
        noise[index] = keeps * noise[index - 1] + math.sqrt(1 - keeps**2) * noise[index]
    return noise > NormalDist().inv_cdf(1 - share)


def print_edge(runs: int) -> None:
    """False alarms of good versions, and windows until a bad one is found."""
    rules = Rules()
    evidence = len(LABELS) * 4 / rules.alpha
    print(f"{runs} runs each, evidence {evidence:.0f} of 144 windows; bad windows that last: AR(1) of 0, 0.5, 0.7, 0.9")
    for share in (0.02, 0.05, 0.1, 0.2):
        rates = []
        for keeps in (0.0, 0.5, 0.7, 0.9):
            rng = np.random.default_rng(1)
            drawn = (lasting(rng, share, keeps) for _ in range(runs))
            rates.append(sum(first_alarm(bad, evidence, rules.bad_share) is not None for bad in drawn) / runs)
        print(f"good, {share:.0%} bad windows: " + "  ".join(f"{rate:.1%}" for rate in rates), flush=True)
    rng = np.random.default_rng(1)
    alone = sum(
        first_alarm(lasting(rng, rules.bad_share, 0.0), 1 / rules.alpha, rules.bad_share) is not None for _ in range(runs)
    )
    print(f"good, {rules.bad_share:.0%} bad windows, evidence {1 / rules.alpha:.0f}: {alone / runs:.1%}")
    for share in (0.5, 0.7, 0.9, 1.0):
        rng = np.random.default_rng(1)
        found = [first_alarm(rng.random(144) < share, evidence, rules.bad_share) or 144 for _ in range(runs)]
        print(f"bad, {share:.0%} bad windows: found after {median(found):g}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--look-every", type=int, default=1, help="windows between two looks")
    parser.add_argument("--canaries", type=int, default=5)
    parser.add_argument("--only", choices=SCENARIOS)
    parser.add_argument("--hours", type=int, default=30)
    parser.add_argument("--edge", type=int, metavar="RUNS", help="one metric alone, so many runs each")
    arguments = parser.parse_args()
    if arguments.edge:
        print_edge(arguments.edge)
        return
    rules = Rules()
    for name, version in SCENARIOS.items():
        if arguments.only not in (None, name):
            continue
        runs = [
            decided(seed, version, rules, arguments.look_every, arguments.canaries, 19 * arguments.canaries, arguments.hours)
            for seed in range(arguments.seeds)
        ]
        counts = Counter(verdict.decision.value for verdict, _ in runs)
        windows = sorted(number for verdict, number in runs if verdict.decision is Decision.ROLL_BACK)
        when = f"windows to detect: least {windows[0]}, median {median(windows):g}, most {windows[-1]}" if windows else ""
        print(f"{name:22s} {arguments.seeds} seeds  {dict(counts)}  {when}", flush=True)


if __name__ == "__main__":
    main()
