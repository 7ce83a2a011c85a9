"""The tracking job under spark-submit on a standalone cluster of several workers: the same facts as in one process."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml
from deltalake import DeltaTable

from sightline.cluster import StandaloneCluster, signal_driver
from sightline_contract.ids import shard_of
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import TRACKER_FACTS
from sightline_streaming.fact_frames import all_facts
from sightline_streaming.tracking import compile_kernels

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

SCRIPT = Path(__file__).parents[2] / "streaming/jobs/tracking.py"
CAMERAS = [f"cluster-{number}" for number in range(6)]


def facts_of(table_root: str) -> list[str]:
    """The facts of this test's cameras, in no order."""
    log = DeltaTable(f"{table_root}/{TRACKER_FACTS.path}").to_pyarrow_table()
    rows: list[dict[str, Any]] = all_facts(log).to_pylist()
    return sorted(repr(row) for row in rows if row["camera_id"] in CAMERAS)


@pytest.mark.spark
@pytest.mark.kafka
@pytest.mark.slow
def test_two_workers_tell_the_facts_that_one_process_tells(site: "Site", make_batch: Callable[[str, int], bytes]) -> None:
    assert {shard_of(camera, site.config.shards) % site.config.shuffle_partitions for camera in CAMERAS} == {0, 1}
    for camera in CAMERAS:
        site.send(DETECTIONS, *(make_batch(camera, number) for number in range(6)), key=camera)
    site.run("tracking")
    alone = facts_of(site.config.table_root)

    compile_kernels()  # once for this machine: otherwise by each worker
    config, status = site.folder / "job.yaml", site.folder / "status.json"
    roots = {"table_root": f"{site.folder}/cluster/tables", "checkpoint_root": f"{site.folder}/cluster/checkpoints"}
    config.write_text(yaml.safe_dump(site.config.model_dump(mode="json") | roots))
    with StandaloneCluster(site.folder / "cluster", workers=2) as cluster:
        sizes = {"spark.cores.max": "2", "spark.executor.cores": "1"}
        submitted = cluster.submit("tracking", SCRIPT, ["--config", config, "--status", status], settings=sizes)
        submitted.wait_until(lambda: status.exists() and '"ready"' in status.read_text(), 120, "the job takes input")
        signal_driver(submitted, signal.SIGUSR1)
        submitted.check(timeout_s=120)
        logs = [folder / "stderr" for folder in cluster.executors()]
        ran = [log.read_text().count("Running task") for log in logs]
        assert listeners() == {"127.0.0.1"}
    assert len(ran) == 2
    assert all(ran)
    assert len(alone) > 6 * 6
    assert facts_of(roots["table_root"]) == alone


def listeners() -> set[str]:
    """Addresses on which processes of the cluster listen."""
    children = psutil.Process().children(recursive=True)
    words = {child: child.cmdline() for child in children if child.status() != psutil.STATUS_ZOMBIE}
    found = {
        connection.laddr.ip.removeprefix("::ffff:")
        for child in words
        if any(word.startswith("org.apache.spark.deploy.") for word in words[child])
        for connection in child.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert found
    return found
