"""How often the judge is right, over many seeds: ``python tests/support/judge_rates.py --seeds 1000``.

Prints the table of docs/rollout.md. The judge looks after every so many windows and stops where it decides.
"""

import argparse
from collections import Counter
from statistics import median

import arms

from sightline_models.judge.judge import judge
from sightline_models.judge.rules import Rules
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--look-every", type=int, default=1, help="windows between two looks")
    parser.add_argument("--canaries", type=int, default=5)
    parser.add_argument("--only", choices=SCENARIOS)
    parser.add_argument("--hours", type=int, default=30)
    arguments = parser.parse_args()
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
