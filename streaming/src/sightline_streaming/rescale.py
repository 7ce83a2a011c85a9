"""Takes the tracking query to another number of shards and state partitions, with its state and its place in Kafka.

The old checkpoint stays as it is but for one file, and the new one, ``tracking-2`` after ``tracking``, begins with seeds. The
steps: seeds, manifest, the new checkpoint's numbers, and last the old one's note that the query moved. Until that note is
there the old checkpoint is the query's and everything can be done again; from then on it is the new one. Nobody can go on from
both: the note stands where every release looks for the numbers of a checkpoint, and the old one has them no more.

The last micro-batch must be whole: one that was planned and not committed may or may not have written its facts.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sightline_contract.errors import ConfigError, StateError, StorageError
from sightline_streaming.checkpoints import IDENTITY_FILE, MOVED_TO, Checkpoints, read_identity, write_identity
from sightline_streaming.config import JobConfig, load_job_config
from sightline_streaming.core.memory import Memory, empty_memory
from sightline_streaming.core.resharding import reshard
from sightline_streaming.core.site import shard_config
from sightline_streaming.core.state import Identity, restore, snapshot
from sightline_streaming.failures import explain_failure
from sightline_streaming.packed_state import unpack_state
from sightline_streaming.seeds import Offsets, Seeds, read_seeds, write_seeds
from sightline_streaming.session import build_session
from sightline_streaming.sharding import shard_keys
from sightline_streaming.small_files import SmallFiles

QUERY = "tracking"

_OFFSET_LOG_VERSION = "v1"


@dataclass(frozen=True)
class Numbers:
    """What a checkpoint of the tracking query is begun under, by the configuration's names."""

    shards: int
    shuffle_partitions: int

    def __str__(self) -> str:
        return f"shards: {self.shards}, shuffle_partitions: {self.shuffle_partitions}"


@dataclass(frozen=True)
class Outcome:
    """Where the query goes on. ``moved`` is False where it was there already."""

    location: str
    numbers: Numbers
    moved: bool
    cameras: int = 0


def rescale(spark: SparkSession, config: JobConfig, shards: int, shuffle_partitions: int) -> Outcome:
    """Move the tracking query below ``config.checkpoint_root`` to these numbers; safe to run again after any interruption.

    Raises StorageError where a driver holds the checkpoint, StateError where its last micro-batch is not committed or its state
    cannot be read, ConfigError where there is no checkpoint.
    """
    root, wanted = config.checkpoint_root.rstrip("/"), Numbers(shards, shuffle_partitions)
    if SmallFiles(spark, f"{root}/{QUERY}").read(IDENTITY_FILE) is None:
        raise ConfigError(f"{root}: has no checkpoint of the tracking job: correct checkpoint_root")
    checkpoints = Checkpoints(spark, root)
    try:
        name, begun = checkpoints.find(QUERY)
        now = Numbers(**begun) if begun else wanted
        if now == wanted:
            return Outcome(f"{root}/{name}", wanted, moved=False)
        return _move(spark, config, root, name, now, wanted)
    finally:
        checkpoints.release()


def run(
    config_file: Path,
    assignments: Iterable[str],
    shards: int | None,
    shuffle_partitions: int | None,
    *,
    master: str | None = None,
    jars: Sequence[Path] = (),
) -> str:
    """rescale() for a configuration file, in a session of its own; returns a line that says what came of it.

    Numbers that are not given are the configuration's. ``master`` and ``jars`` where no spark-submit gave them.
    """
    config = load_job_config(config_file, os.environ, assignments)
    spark = build_session("sightline-rescale", config, master, jars)
    try:
        outcome = rescale(spark, config, shards or config.shards, shuffle_partitions or config.shuffle_partitions)
    except (PySparkException, Py4JError) as error:
        raise explain_failure(QUERY, error) from error
    finally:
        spark.stop()
    if not outcome.moved:
        return f"{outcome.location} has these numbers already: {outcome.numbers}"
    return f"{outcome.cameras} cameras moved to {outcome.location}: start the tracking job with {outcome.numbers}"


def _move(spark: SparkSession, config: JobConfig, root: str, name: str, now: Numbers, wanted: Numbers) -> Outcome:
    old, new = SmallFiles(spark, f"{root}/{name}"), SmallFiles(spark, f"{root}/{_next_name(name)}")
    if new.names("offsets"):
        raise StorageError(
            f"{new.folder}: has run, though {old.folder} did not move there: put it out of the way, then rescale again"
        )
    batch, offsets, states = _whole(spark, old, now)
    window_us = shard_config([], window_s=config.window_s).rules.window_us
    before = [_memory(states.get(number), window_us, Identity(number, now.shards)) for number in range(now.shards)]
    after = reshard(before, wanted.shards)
    seeds = {
        number: snapshot(memory, window_us, Identity(number, wanted.shards))
        for number, memory in enumerate(after)
        if memory.names
    }
    write_seeds(new, Seeds(seeds, offsets, name, batch))
    write_identity(new, vars(wanted))
    write_identity(old, (read_identity(old) or {}) | {MOVED_TO: _next_name(name)})
    return Outcome(new.folder, wanted, moved=True, cameras=sum(len(memory.names) for memory in after))


def _next_name(name: str) -> str:
    generation = name.removeprefix(QUERY).removeprefix("-")
    return f"{QUERY}-{int(generation or 1) + 1}"


def _memory(state: bytes | None, window_us: int, identity: Identity) -> Memory:
    return empty_memory() if state is None else restore(unpack_state(state), window_us, identity)


def _whole(spark: SparkSession, files: SmallFiles, numbers: Numbers) -> tuple[int, Offsets, Mapping[int, bytes]]:
    """Last micro-batch, the offsets after it, and the states by shard number: Spark's, else the seed that waits for one."""
    seeds = read_seeds(files)
    planned, committed = (_newest(files, log) for log in ("offsets", "commits"))
    if planned != committed:
        raise StateError(
            f"{files.folder}: micro-batch {planned} is not committed: start the tracking job once with --drain, then rescale"
        )
    waiting = seeds.states if seeds else {}
    if planned is not None:
        return planned, _offsets(files, planned), {**waiting, **_kept(spark, files.folder, planned, numbers)}
    if seeds is None:
        raise StateError(f"{files.folder}: has no micro-batch and so no state: delete it, and begin with the new numbers")
    return seeds.batch, seeds.offsets, waiting


def _newest(files: SmallFiles, log: str) -> int | None:
    return max((int(name) for name in files.names(log) if name.isdigit()), default=None)


def _offsets(files: SmallFiles, batch: int) -> Offsets:
    """The offsets after a micro-batch: the log has a line with its version, one of settings, and one for each source."""
    version, _, *sources = (files.read(f"offsets/{batch}") or b"\n").decode().splitlines()
    if version != _OFFSET_LOG_VERSION or len(sources) != 1:
        raise StateError(f"{files.folder}/offsets/{batch}: is no offset log of version {_OFFSET_LOG_VERSION} with one source")
    offsets: Offsets = json.loads(sources[0])
    return offsets


def _kept(spark: SparkSession, location: str, batch: int, numbers: Numbers) -> dict[int, bytes]:
    """The states that Spark keeps, by shard number."""
    # The reader asks the driver's coordinator of state stores, which comes with its first look at streams; without one the
    # reader waits for minutes, and fails.
    _ = spark.streams.active
    rows = (
        spark.read.format("statestore").option("batchId", batch).load(location).select("key.*", "value.groupState.*").collect()
    )
    number_of = {key: number for number, key in enumerate(shard_keys(numbers.shards, numbers.shuffle_partitions))}
    return {number_of[row.shard]: bytes(row.shard_state) for row in rows}
