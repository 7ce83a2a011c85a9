"""A judge that is killed again and again, most often while it writes: the rollout goes on as if nothing had been."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Thread

import pytest
from judged_fleet import JudgedFleet
from rollout_fleet import NEW

from sightline.broker import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.spark, pytest.mark.slow, pytest.mark.faults]

LONGEST_LIFE_S = 8.0
WAIT_S = 800


@pytest.fixture
def judged(own_broker: Broker, tmp_path: Path) -> Iterator[JudgedFleet]:
    judged = JudgedFleet(tmp_path, own_broker)
    judged.start()
    yield judged
    judged.judge.stop()
    judged.fleet.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_judge_that_is_killed_while_it_writes_goes_on_where_it_was(judged: JudgedFleet, seed: int) -> None:
    """Protection: SmallFiles without checksums; with them a kill between a file and its checksum is a judge's last."""
    random = Random(seed)
    plan = judged.begin("killed", shadow_s=30.0)
    deadline = time.monotonic() + WAIT_S
    while "completed" not in judged.steps("killed"):
        assert time.monotonic() < deadline, judged.config.status()
        killer = Thread(
            target=_kill_at_write, args=(judged, random.choice((0, 0, 0.0002, 0.001, 0.01, 0.1)), random.randint(1, 3))
        )
        killer.start()
        while killer.is_alive():
            judged.fleet.step()
            time.sleep(0.1)
        judged.start()
    rows = judged.rows("killed")
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert [row["step"] for row in rows] == [
        "started", "shadowing", "shadow_passed", "serving", "observing", "promoted", "serving", "observing", "completed",
    ]  # fmt: skip
    judged.fleet.step()
    assert set(judged.fleet.live.values()) == {NEW}
    told = {(desired.node_id, desired.revision) for desired in judged.fleet.heard if desired.rollout_id == plan.rollout_id}
    assert len(told) == len(judged.fleet.live) + 2  # two nodes had the shadow first
    audited = {record.record_id for record in judged.audits() if record.record_id.startswith("killed:")}
    assert audited == {f"killed:{seq}" for seq in range(len(rows))}


def _kill_at_write(judged: JudgedFleet, after_s: float, nth: int) -> None:
    """Kill the judge so long after its ``nth`` write of the journal, or when it has lived its time."""
    journal = Path(judged.config.job["checkpoint_root"]) / "judge" / "journal.json"
    born_s = time.monotonic()
    known = _written(journal)
    while time.monotonic() - born_s < LONGEST_LIFE_S:
        if (now := _written(journal)) != known:
            known, nth = now, nth - 1
            if nth == 0:
                time.sleep(after_s)
                break
    judged.kill()


def _written(path: Path) -> int:
    """A number that changes with each write."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_mtime_ns ^ found.st_ino
