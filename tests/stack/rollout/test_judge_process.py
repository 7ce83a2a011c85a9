"""The judge as a process, with a real broker, Spark and Delta; the fleet is messages."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from judged_fleet import JudgedFleet
from model_messages import START_US, figures
from rollout_fleet import NAME, NEW, OLD, as_usual

from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port
from sightline_contract.errors import TrustError
from sightline_contract.events import AuditKind
from sightline_contract.rollout import Figures, Slot
from sightline_edge.rollout.unsealing import public_pem, unwrap_key
from sightline_models.rollout.keys import waiting as waiting_in
from sightline_models.rollout.plan import Kind, SealedWith, Wanted
from sightline_models.sealing import content_key_digest, content_key_in

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def here(jars, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgedFleet]:
    """One installation and fleet for all: a test starts a rollout of its own on them."""
    home = tmp_path_factory.mktemp("judged")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        installation = JudgedFleet(home, broker)
        installation.start()
        yield installation
        installation.judge.stop()
        installation.fleet.close()


def bad(version: str, slot: Slot) -> Figures:
    """The new version misses six objects of ten."""
    return figures(NEW, name=NAME, detections=40) if version == NEW else as_usual(version, slot)


def test_a_version_that_sees_less_is_rolled_back_and_every_touched_node_gets_its_return_ticket(here: JudgedFleet) -> None:
    plan = here.begin("bad", bad)
    here.until(lambda: "restored" in here.steps("bad"))
    rows = {row["step"]: row for row in here.rows("bad")}
    assert any("detections" in reason for reason in rows["rolled_back"]["reasons"])
    assert set(here.fleet.live.values()) == {OLD}
    (touched,) = {frozenset(row["nodes"]) for row in rows.values() if row["nodes"]}
    told = [desired for desired in here.fleet.heard if desired.rollout_id == plan.rollout_id]
    back = [desired for desired in told if desired.revision == max(each.revision for each in told)]
    assert {desired.node_id for desired in back} == touched
    assert len(touched) == 2


def test_what_people_want_on_the_way_is_done(here: JudgedFleet) -> None:
    plan = here.begin("asked")
    here.until(lambda: "serving" in here.steps("asked"))
    here.ask(plan.model_copy(update={"wanted": Wanted.PAUSE, "edit": 1}))
    here.until(lambda: "paused" in here.steps("asked"))
    here.ask(plan.model_copy(update={"wanted": Wanted.ABORT, "edit": 2}))
    here.until(lambda: "restored" in here.steps("asked"))
    assert here.steps("asked")[-2:] == ["aborted", "restored"]
    assert set(here.fleet.live.values()) == {OLD}


def test_nodes_that_come_late_or_with_another_key_get_theirs_while_it_runs_and_after_its_end(
    here: JudgedFleet, tmp_path: Path
) -> None:
    """Protection: the judge's look when keys come; and the serial in revisions, without which a known node takes no new key."""
    content = [content_key_in(tmp_path / f"{NAME}-{version}.key") for version in (NEW, OLD)]
    sealed_with = SealedWith(candidate=content_key_digest(content[0]), baseline=content_key_digest(content[1]))
    private = {node: ec.generate_private_key(ec.SECP256R1()) for node in [*here.fleet.live, "late"]}
    here.fleet.public_keys = {node: public_pem(key) for node, key in private.items() if node != "node-1"}
    here.begin("sealed", sealed=True, sealed_with=sealed_with, rings=(1.0,))
    here.until(lambda: "started" in here.steps("sealed"))
    assert {desired.node_id for desired in here.fleet.heard if desired.rollout_id == "sealed"} == set()

    def opens(node: str) -> bool:
        """Whether the newest message for the node has its key."""
        desired = here.fleet.desired.get(node)
        if desired is None or desired.rollout_id != "sealed" or desired.serve is None:
            return False
        try:
            return unwrap_key(desired.serve.wrapped_key or "", private[node], node) == content[0]
        except TrustError:
            return False

    def waiting() -> int:
        """Nodes that the tables have, and that have no key yet."""
        return len(waiting_in(here.plan("sealed"), here.installation.history.statuses().values(), here.keys("sealed")))

    def give() -> list[str]:
        command = [sys.executable, "-m", "sightline", "models", "rollout", "keys", "--keys", str(tmp_path)]
        done = subprocess.run(
            [*command, "--config", str(here.config.job_path)], check=True, timeout=120, stdout=subprocess.PIPE, text=True
        )
        return sorted(line.partition(":")[0] for line in done.stdout.splitlines())

    here.until(lambda: waiting() == 7)
    assert give() == [f"node-{number}" for number in range(8) if number != 1]
    here.until(lambda: all(opens(node) for node in private if node not in ("node-1", "late")))
    here.until(lambda: "completed" in here.steps("sealed"))
    before = here.fleet.desired["node-3"].revision
    private["node-3"] = ec.generate_private_key(ec.SECP256R1())  # a new device
    here.fleet.public_keys["node-3"] = public_pem(private["node-3"])
    here.fleet.live["late"], here.fleet.shadow["late"] = "0", None
    here.until(lambda: waiting() == 2)
    assert give() == ["late", "node-3"]
    here.until(lambda: opens("late") and opens("node-3"))
    assert here.fleet.live["late"] == NEW
    assert here.fleet.desired["node-3"].revision > before
    given = [record.node_id for record in here.audits() if record.kind == AuditKind.KEY_GIVEN]
    assert sorted(given) == sorted([*(f"node-{number}" for number in range(8) if number != 1), "late", "node-3"])
    del here.fleet.live["late"], here.fleet.shadow["late"]
    here.fleet.public_keys.clear()


def test_a_comparison_ends_in_time_with_a_table_and_plots(here: JudgedFleet, tmp_path: Path) -> None:
    until_us = START_US + (here.fleet.second + 120) * 1_000_000
    here.begin("compared", bad, kind=Kind.AB, rings=(0.5,), until_us=until_us)
    here.until(lambda: "restored" in here.steps("compared"))
    assert here.steps("compared")[-2] in ("compared", "rolled_back")
    command = [sys.executable, "-m", "sightline", "models", "ab", "report", "compared", "--out", str(tmp_path)]
    subprocess.run([*command, "--config", str(here.config.job_path)], check=True, timeout=120)
    table = (tmp_path / "comparison.md").read_text()
    assert f"| metric | {NAME} {OLD} | {NAME} {NEW} |" in table
    (row,) = (line.split("|") for line in table.splitlines() if line.startswith("| detections a frame |"))
    assert (float(row[2]), float(row[3])) == (pytest.approx(2, rel=0.01), pytest.approx(0.8, rel=0.01))
    assert (tmp_path / "detections-a-frame.png").stat().st_size > 1000


def test_a_good_version_reaches_the_whole_fleet_though_the_judge_is_killed_on_the_way(here: JudgedFleet) -> None:
    """Protection: the rows that the judge goes on from; without Judge._steps() the rollout begins anew."""
    plan = here.begin("good", shadow_s=30.0)
    here.until(lambda: "serving" in here.steps("good"))
    here.kill()
    before = here.steps("good")
    here.fleet.step()  # the fleet goes on with what it was told
    here.start()
    here.until(lambda: "completed" in here.steps("good"))
    rows = here.rows("good")
    steps = [row["step"] for row in rows]
    assert steps[: len(before)] == before
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert steps == [
        "started", "shadowing", "shadow_passed", "serving", "observing", "promoted", "serving", "observing", "completed",
    ]  # fmt: skip
    here.fleet.step()
    assert set(here.fleet.live.values()) == {NEW}
    assert set(here.fleet.shadow.values()) == {None}
    told = {(desired.node_id, desired.revision) for desired in here.fleet.heard if desired.rollout_id == plan.rollout_id}
    assert len(told) == len(here.fleet.live) + 2  # two nodes had the shadow first
    audited = {record.record_id for record in here.audits() if record.record_id.startswith("good:")}
    assert audited == {f"good:{seq}" for seq in range(len(rows))}
    assert here.config.status()["waiting"] > 0  # aliases and tags: no registry was named
