"""The driver is killed with SIGKILL, wherever it is, and started again: nothing is lost and nothing is there twice."""

import random
import time
from collections.abc import Callable

import pyarrow as pa
import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun, leave_between_commits
from pyspark.sql import SparkSession

from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import CAMERA_HEALTH, DEAD_LETTERS, TRACKER_FACTS
from sightline_streaming.delta_sink import append_with_spark
from sightline_streaming.fact_tables import TABLE_OF_KIND

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.slow]

RunOf = Callable[[SmallCity], FaultyRun]


def test_a_driver_killed_between_delta_s_commit_and_spark_s_tells_every_fact_once(run_of: RunOf, uplink: Uplink) -> None:
    """Protection: the marks (query id, batch) in the commits of Delta's sink and of BatchSink; without the one the log
    holds 80 messages of each camera's 60, without the other the tables behind it hold 70.
    """
    city = SmallCity(60)
    run = run_of(city)
    uplink.send(city.messages)
    uplink.flush()
    run.start()
    run.wait_for_commits(3)
    run.wait_for_commits(2, CAMERA_HEALTH)
    run.kill()
    leave_between_commits(run.checkpoints / "tracking", [run.tables / TRACKER_FACTS.path])
    leave_between_commits(run.checkpoints / "facts", [run.tables / table.path for table in TABLE_OF_KIND.values()])
    run.finish("driver killed between Delta's commit and Spark's")
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1])
def test_a_driver_killed_at_random_moments_tells_every_fact_once(run_of: RunOf, uplink: Uplink, seed: int) -> None:
    """Protection: the checkpoint; with one of its own for each start, 135 messages of each camera's 120 are counted."""
    chance = random.Random(seed)
    city = SmallCity(120, seed)
    run = run_of(city)
    run.settings["max_offsets_per_trigger"] = 30  # so that there is something left to do after the last kill
    uplink.send(city.messages)
    uplink.flush()
    run.start()
    run.wait_for_commits(1)
    for _ in range(3):
        time.sleep(chance.uniform(0, 2))
        run.kill()
        before = run.commits()
        with run.recovery("driver killed at a random moment"):
            run.start()
            run.wait_for_commits(before + 1)
    run.drain()
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)


def test_a_batch_that_spark_writes_again_for_an_object_store_adds_no_row(spark: SparkSession, tmp_path) -> None:
    """Protection: txnAppId and txnVersion; without them the second run appends its row again."""
    create_local_tables(str(tmp_path), (DEAD_LETTERS,))
    location = str(tmp_path / DEAD_LETTERS.path)
    values = dict.fromkeys(arrow_schema(DEAD_LETTERS).names) | {
        "source_topic": "detections", "source_partition": 0, "source_offset": 1, "reason": "by hand", "arrived_at": 0,
        "event_date": 0,
    }  # fmt: skip
    rows = pa.Table.from_pylist([values], arrow_schema(DEAD_LETTERS))
    for application, batch in (("one", 0), ("one", 1), ("one", 1), ("another", 0), ("one", 0)):
        append_with_spark(spark, rows, location, application, batch)
    assert spark.read.format("delta").load(location).count() == 3
