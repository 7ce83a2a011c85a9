"""Files of the tracking state are damaged: a snapshot is made good from the changelogs, a damaged changelog is refused."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun, copy_of, damage

from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.faults]

# A snapshot every third batch, at once.
_OFTEN = {
    "spark.sql.streaming.stateStore.minDeltasForSnapshot": "3",
    "spark.sql.streaming.stateStore.maintenanceInterval": "500ms",
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyRun, SmallCity, Uplink]]:
    """A run that was killed when its state had snapshots and changelogs behind them."""
    folder = tmp_path_factory.mktemp("killed")
    city = SmallCity(60)
    with Broker(BrokerConfig(folder / "broker", free_port())) as broker:
        uplink = Uplink(broker.bootstrap)
        uplink.send(city.messages)
        uplink.flush()
        # So few messages at once that there is something left to do after the kill: else no start reads the state.
        settings = {"spark": _OFTEN, "max_offsets_per_trigger": 15}
        run = FaultyRun(folder / "run", broker.bootstrap, city.configs, settings)
        try:
            run.start(jobs="tracking")
            run.wait_for_commits(5)
            time.sleep(1.2)
            run.kill()
            yield run, city, uplink
        finally:
            run.stop()


def truncate(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def overwrite(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(each ^ 0xFF for each in content[middle : middle + 8]) + content[middle + 8 :]


def newest(run: FaultyRun, kind: str) -> list[Path]:
    """The newest state file of each partition that the next start needs."""
    committed = max(int(path.name) for path in (run.checkpoints / "tracking/commits").iterdir() if path.name.isdigit())
    found = []
    for partition in (run.checkpoints / "tracking/state/0").glob("[0-9]*"):
        versions = {int(path.stem): path for path in partition.glob(f"*.{kind}") if not path.name.startswith(".")}
        found.append(versions[max(version for version in versions if version <= committed + 1)])
    assert found
    return found


def damaged(killed_run: FaultyRun, to: Path, kind: str, change: Callable[[bytes], bytes], checksums: bool) -> FaultyRun:
    """A copy of the killed run with damaged files, and the checksum files beside them only where the storage has some."""
    run = replace(killed_run, home=to)
    copy_of(killed_run.tables, run.tables)
    copy_of(killed_run.checkpoints, run.checkpoints)
    for file in newest(run, kind):
        if kind == "changelog":
            # Snapshots are made in the background: there is none of the newest version yet, so that its changelog is needed.
            for snapshot in (file.with_suffix(".zip"), file.with_name(f".{file.stem}.zip.crc")):
                snapshot.unlink(missing_ok=True)
        damage(file, change)
        if not checksums:
            file.with_name(f".{file.name}.crc").unlink()
    return run


def test_a_truncated_snapshot_is_made_good_from_the_changelogs(killed, tmp_path: Path) -> None:
    """Protection: stateStore.autoSnapshotRepair; without it the job is refused at every start."""
    killed_run, city, uplink = killed
    run = damaged(killed_run, tmp_path, "zip", truncate, checksums=False)
    run.finish("state snapshot truncated")
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)


@pytest.mark.parametrize(("change", "checksums"), [(truncate, True), (overwrite, False)])
def test_a_damaged_changelog_is_refused_in_one_line_and_nothing_is_written(
    killed, tmp_path: Path, change: Callable[[bytes], bytes], checksums: bool
) -> None:
    """Protection: checksums in the changelog's own format and beside it, and failures.py, which says what to do; without the
    latter the line said that the job goes on when it is started again.
    """
    killed_run, _, _ = killed
    run = damaged(killed_run, tmp_path, "changelog", change, checksums)
    before = run.commits()
    run.start("--drain", jobs="tracking")
    line = run.last_words()
    assert "state" in line
    assert "new checkpoint_root and table_root" in line
    assert run.commits() == before


def test_after_a_damaged_changelog_a_new_checkpoint_and_table_root_read_everything_again(killed, tmp_path: Path) -> None:
    """The way out that the line names: what Kafka still holds is told again, exactly, beside the old tables."""
    killed_run, city, uplink = killed
    run = replace(killed_run, home=tmp_path)
    run.finish()
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)
