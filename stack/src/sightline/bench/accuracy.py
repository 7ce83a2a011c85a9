"""``sightline bench accuracy``: the oracle. A simulated city through the real jobs, and their counts judged by the truth."""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sightline.bench.accuracy_facts import Known, logged_facts, table_facts, true_facts
from sightline.bench.accuracy_judge import Verdict, judge
from sightline.bench.accuracy_report import print_verdict
from sightline.simulate.city import City, city_plans


@dataclass(frozen=True)
class Choice:
    """What the command line asked for."""

    cameras: int = 200
    minutes: float = 60.0
    seed: int = 1
    traffic: str = "mixed"
    scene: str = "all"
    faults: str = "some"
    core: bool = False
    examples: int = 0


def bench_accuracy(choice: Choice, json_path: Path | None, work: Path | None) -> Verdict:
    """Run, judge, print; raises SightlineError."""
    console = Console()
    seconds = round(choice.minutes * 60)
    plans = city_plans(choice.cameras, choice.traffic, choice.scene, choice.faults)
    # In the past, so that nothing is ahead of its arrival.
    start_us = (int(time.time()) // 60 - seconds // 60 - 15) * 60_000_000
    city = City(plans, seconds, choice.seed, start_us)
    began = time.monotonic()
    counted, figures = _run(choice, city, work, console)
    figures["wall_s"] = time.monotonic() - began
    truth = city.truth()
    true, unseen = true_facts(truth)
    verdict = judge(truth, true, unseen, counted, choice.examples)
    figures["frames"] = verdict.sent["frames_received"]
    print_verdict(verdict, figures, console)
    if json_path:
        document = {"choice": asdict(choice), "run": figures} | verdict.as_json()
        json_path.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    return verdict


def _run(choice: Choice, city: City, work: Path | None, console: Console) -> tuple[Known, dict[str, Any]]:
    forwards = {config.camera_id: config.lines[0].forward for config in city.configs}
    if choice.core:
        from sightline.bench.accuracy_core import run_core

        return logged_facts(run_core(city), forwards), {"through": "core"}
    from sightline.bench.accuracy_jobs import run_jobs

    with tempfile.TemporaryDirectory(prefix="sightline-accuracy-") as folder:
        home = work or Path(folder)
        figures = run_jobs(city, home, console)
        return table_facts(home / "tables", forwards), {"through": "jobs"} | figures
