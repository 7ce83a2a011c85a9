"""The job scripts as a user runs them: under spark-submit on a cluster, and with something wrong."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import pytest
import yaml
from confluent_kafka import Producer
from deltalake import DeltaTable

from sightline.broker import Broker
from sightline.java import find_java
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import TRACKER_FACTS
from sightline_streaming.fact_frames import all_facts

SCRIPTS = Path(__file__).parents[2] / "streaming/jobs"
SPARK_HOME = Path(pyspark.__file__).parent
LOOPBACK = "127.0.0.1"


def environment() -> dict[str, str]:
    return os.environ | {"SPARK_LOCAL_IP": LOOPBACK, "PYSPARK_PYTHON": sys.executable, "JAVA_HOME": str(find_java().home)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def daemon(log: Path, *words: str) -> Iterator[None]:
    """A process of Spark's standalone cluster."""
    command = [SPARK_HOME / "bin/spark-class", *words]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment())
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(log: Path, pattern: str, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not (log.exists() and re.search(pattern, log.read_text(errors="replace"))):
        assert time.monotonic() < deadline, f"{pattern!r} not in {log}"
        time.sleep(0.1)


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A standalone master with workers, on loopback; gives its address."""
    port, scratch = free_port(), str(folder / "work")
    url = f"spark://{LOOPBACK}:{port}"
    deploy = "org.apache.spark.deploy"
    master = (f"{deploy}.master.Master", "--host", LOOPBACK, "--port", str(port), "--webui-port", str(free_port()))
    worker = (f"{deploy}.worker.Worker", "--host", LOOPBACK, "--cores", "1", "--memory", "1g", "--work-dir", scratch, url)
    with daemon(folder / "master.log", *master), ExitStack() as running:
        wait_for(folder / "master.log", "I have been elected leader")
        logs = [folder / f"worker-{i}.log" for i in range(workers)]
        for log in logs:
            running.enter_context(daemon(log, *worker, "--webui-port", "0"))
        for log in logs:
            wait_for(log, "Successfully registered with master")
        yield url


def write_config(folder: Path, bootstrap: str) -> Path:
    (folder / "camera.yaml").write_text("{camera_id: cluster, frame_size: [640, 480], frame_rate: 10}")
    file = folder / "job.yaml"
    document = {
        "kafka": {"bootstrap_servers": bootstrap},
        "table_root": str(folder / "tables"),
        "checkpoint_root": str(folder / "checkpoints"),
        "cameras": str(folder / "camera.yaml"),
        "window_s": 1,
    }
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.mark.spark
@pytest.mark.kafka
@pytest.mark.slow
def test_spark_submit_tracks_a_filled_topic_on_a_standalone_cluster(
    broker: Broker, jars: dict[str, tuple[Path, ...]], tmp_path: Path, make_batch: Callable[[str, int], bytes]
) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(6):
        producer.produce(DETECTIONS.name, key="cluster", value=make_batch("cluster", number))
    assert producer.flush(20) == 0
    config = write_config(tmp_path, broker.bootstrap)
    with cluster(tmp_path, workers=2) as master:
        submit = [SPARK_HOME / "bin/spark-submit", "--master", master, "--jars", ",".join(map(str, jars["spark"]))]
        quick = "-XX:TieredStopAtLevel=1"
        sizes = ["--driver-memory", "1g", "--executor-memory", "1g", "--conf", "spark.ui.enabled=false"]
        sizes += ["--driver-java-options", quick, "--conf", f"spark.executor.extraJavaOptions={quick}"]
        script = [SCRIPTS / "tracking.py", "--config", config, "--drain"]
        command = [*submit, *sizes, *script]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = all_facts(DeltaTable(f"{tmp_path}/tables/{TRACKER_FACTS.path}").to_pyarrow_table()).to_pylist()
    own = [row for row in facts if row["camera_id"] == "cluster"]
    assert sum(row["observations"] for row in own if row["kind"] == "segment") == 60
    assert sum(row["frames_received"] for row in own if row["kind"] == "health") == 60
    # Both workers ran an executor.
    assert len(list((tmp_path / "work").glob("app-*/*"))) == 2


def run_script(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, *arguments]
    return subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=120, check=False)


def test_a_wrong_setting_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    config = write_config(tmp_path, "127.0.0.1:9092")
    done = run_script(SCRIPTS / "facts.py", "--config", config, "--set", "shards=0")
    assert done.returncode == 1
    assert done.stderr == f"error: {config}: shards: Input should be greater than or equal to 1\n"


def test_kafka_that_does_not_answer_is_one_line_within_seconds(tmp_path: Path) -> None:
    config = write_config(tmp_path, f"{LOOPBACK}:{free_port()}")
    started = time.monotonic()
    done = run_script(SCRIPTS / "alerts.py", "--config", config)
    assert time.monotonic() - started < 60
    assert done.returncode == 1
    assert re.fullmatch(r"error: Kafka at 127\.0\.0\.1:\d+ does not answer .*\n", done.stderr)


def test_an_unknown_job_is_told_with_the_known_ones(tmp_path: Path) -> None:
    config = write_config(tmp_path, "127.0.0.1:9092")
    done = run_script("-m", "sightline_streaming.cli", "--config", config, "--jobs", "tracking,count")
    assert done.returncode == 1
    assert done.stderr == "error: job 'count': is not one of tracking, facts, alerts, archive\n"
