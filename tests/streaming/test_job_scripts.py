"""The job scripts as a user runs them, with something wrong."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

from sightline.java import find_java

SCRIPTS = Path(__file__).parents[2] / "streaming/jobs"
LOOPBACK = "127.0.0.1"


def environment() -> dict[str, str]:
    return os.environ | {"SPARK_LOCAL_IP": LOOPBACK, "PYSPARK_PYTHON": sys.executable, "JAVA_HOME": str(find_java().home)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


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
    assert done.stderr == "error: job 'count': is not one of tracking, facts, alerts, archive, audit, models\n"


def test_the_audit_log_has_one_writer(tmp_path: Path) -> None:
    config = write_config(tmp_path, "127.0.0.1:9092")
    done = run_script("-m", "sightline_streaming.cli", "--config", config, "--jobs", "archive,audit")
    assert done.returncode == 1
    assert done.stderr == "error: job 'audit': 'archive' keeps the audit log already: leave one of them out\n"
