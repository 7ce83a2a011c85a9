"""Shard keys and Spark's own partitioning."""

import pytest
from pyspark.sql import SparkSession

from sightline_contract.ids import shard_of
from sightline_streaming.sharding import partition_of, shard_keys
from sightline_streaming.tracking import shard_column


@pytest.mark.parametrize(("shards", "partitions"), [(1, 1), (4, 2), (8, 2), (16, 4), (5, 3), (2, 4)])
def test_shards_spread_evenly_over_partitions(shards: int, partitions: int) -> None:
    keys = shard_keys(shards, partitions)
    assert len(set(keys)) == shards
    assert [partition_of(key, partitions) for key in keys] == [shard % partitions for shard in range(shards)]


@pytest.mark.spark
def test_partitions_are_those_of_spark(spark: SparkSession) -> None:
    rows = spark.range(200).selectExpr("int(id) - 100 as key", "pmod(hash(int(id) - 100), 7) as partition").collect()
    assert [partition_of(row.key, 7) for row in rows] == [row.partition for row in rows]


@pytest.mark.spark
def test_a_camera_goes_to_the_contracts_shard_and_a_message_without_key_to_some(spark: SparkSession) -> None:
    cameras = [f"camera-{i}" for i in range(50)]
    messages = spark.createDataFrame([(camera.encode(),) for camera in cameras] + [(None,)], "key binary")
    found = [row.shard for row in messages.select(shard_column(5, 2).alias("shard")).collect()]
    keys = shard_keys(5, 2)
    assert found[:-1] == [keys[shard_of(camera, 5)] for camera in cameras]
    assert found[-1] in keys
