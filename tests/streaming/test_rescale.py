"""A rescale of the tracking job: what it tells then is what it would have told, and no step can leave two lives or none."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deltalake import DeltaTable

from sightline_contract.errors import ConfigError, StateError, StorageError
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import TRACKER_FACTS
from sightline_streaming.core.state import Identity, restore
from sightline_streaming.fact_frames import all_facts
from sightline_streaming.rescale import Outcome, rescale
from sightline_streaming.seeds import Seeds, read_seeds
from sightline_streaming.small_files import SmallFiles

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from tests.streaming.conftest import Site

pytestmark = pytest.mark.slow

MakeBatch = Callable[[str, int], bytes]

WINDOW_US = 1_000_000
PARTITIONS = "spark.sql.shuffle.partitions"


@pytest.fixture
def partitions(spark: "SparkSession") -> Iterator[Callable[[int], None]]:
    """Sets the session's number of state partitions, which the tests share, for one test."""
    before = spark.conf.get(PARTITIONS)
    yield lambda number: spark.conf.set(PARTITIONS, number)
    spark.conf.set(PARTITIONS, before)


class Walk:
    """Several cameras' walks, and two installations that follow them: one that is rescaled on the way, and one that is not."""

    def __init__(self, site: "Site", make_batch: MakeBatch) -> None:
        self.cameras = [f"{site.camera}-{number}" for number in range(7)]
        camera = (site.folder / "camera.yaml").read_text()
        (site.folder / "cameras").mkdir()
        for name in self.cameras:
            (site.folder / f"cameras/{name}.yaml").write_text(camera.replace(site.camera, name))
        config = site.config.model_copy(update={"cameras": site.folder / "cameras"})
        other = {"table_root": f"{site.folder}/plain/tables", "checkpoint_root": f"{site.folder}/plain/checkpoints"}
        self.site = replace(site, config=config)
        self.plain = replace(site, config=config.model_copy(update=other))
        self._make_batch = make_batch

    def send(self, *numbers: int, cameras: slice = slice(None)) -> None:
        for name in self.cameras[cameras]:
            self.site.send(DETECTIONS, *(self._make_batch(name, number) for number in numbers), key=name)

    def go_on(self) -> None:
        """Both take what is there."""
        self.site.run("tracking")
        self.plain.run("tracking")

    def rescale(self, shards: int, shuffle_partitions: int) -> Outcome:
        outcome = rescale(self.site.spark, self.site.config, shards, shuffle_partitions)
        numbers = {"shards": shards, "shuffle_partitions": shuffle_partitions}
        self.site = replace(self.site, config=self.site.config.model_copy(update=numbers))
        return outcome

    def facts(self, site: "Site") -> list[dict[str, Any]]:
        everything = all_facts(DeltaTable(f"{site.config.table_root}/{TRACKER_FACTS.path}").to_pyarrow_table()).to_pylist()
        return [row for row in everything if row["camera_id"] in self.cameras]

    def require_same_facts(self) -> None:
        told, expected = self.facts(self.site), self.facts(self.plain)
        assert {row["camera_id"] for row in expected} == set(self.cameras)
        assert sorted(map(repr, told)) == sorted(map(repr, expected))


@pytest.fixture
def a_walk(site: "Site", make_batch: MakeBatch) -> Walk:
    return Walk(site, make_batch)


def forget_last_commit(checkpoint: Path) -> None:
    """What a driver leaves that was killed after its sink's commit and before Spark's own."""
    commits = checkpoint / "commits"
    last = max(int(path.name) for path in commits.iterdir() if path.name.isdigit())
    (commits / str(last)).unlink()
    (commits / f".{last}.crc").unlink(missing_ok=True)


@pytest.mark.spark
@pytest.mark.kafka
def test_a_job_goes_on_with_more_shards_and_partitions_and_tells_the_same_facts(
    a_walk: Walk, partitions: Callable[[int], None]
) -> None:
    """Protections: the seed of a shard without state (without it tracks begin anew); the manifest's offsets (without them the
    topic is read again); the sink's mark of query and batch (without it batch 0 of the new checkpoint is appended twice)."""
    a_walk.send(0, 1, 2)
    a_walk.go_on()
    outcome = a_walk.rescale(6, 3)
    assert (outcome.moved, outcome.cameras >= len(a_walk.cameras)) == (True, True)
    assert outcome.location == f"{a_walk.site.config.checkpoint_root}/tracking-2"

    partitions(3)
    a_walk.send(3, 4, cameras=slice(5))
    a_walk.go_on()
    a_walk.require_same_facts()
    forget_last_commit(Path(outcome.location))
    a_walk.site.run("tracking")
    a_walk.require_same_facts()

    a_walk.send(5, cameras=slice(5))
    a_walk.send(3, 4, 5, cameras=slice(5, None))  # whose shards, in part, still wait for their seeds
    a_walk.go_on()
    a_walk.require_same_facts()
    crossings = [row for row in a_walk.facts(a_walk.site) if row["kind"] == "crossing"]
    assert [row["track_no"] for row in crossings] == [1] * len(a_walk.cameras)

    again = a_walk.rescale(6, 3)
    assert (again.moved, again.location) == (False, outcome.location)
    shutil.rmtree(a_walk.site.folder / "checkpoints/tracking")
    with pytest.raises(StorageError, match="was begun by nobody, yet tracking-2 stands beside it"):
        a_walk.site.run("tracking")


@pytest.mark.spark
@pytest.mark.kafka
def test_a_rescale_that_is_cut_off_anywhere_changes_nothing_and_can_be_run_again(
    a_walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protection: the old checkpoint's note is written last; written first, a job would begin on half of the seeds."""
    a_walk.send(0, 1, 2)
    a_walk.site.run("tracking")
    write, written, most = SmallFiles.write, [], [0]

    def cut_off(files: SmallFiles, name: str, content: bytes) -> None:
        if len(written) == most[0]:
            raise InterruptedError
        written.append(name)
        write(files, name, content)

    monkeypatch.setattr(SmallFiles, "write", cut_off)
    while True:
        try:
            outcome = rescale(a_walk.site.spark, a_walk.site.config, 3, 2)
        except InterruptedError:
            # The job as it was configured goes on; nothing but its own folder counts.
            with a_walk.site.application("tracking") as application:
                application.start()
            most[0] += 1
            written.clear()
        else:
            break
    assert outcome.moved
    assert [name.partition("-")[0] for name in written] == ["seed/shard"] * 3 + ["seed/manifest.json"] + ["sightline.json"] * 2
    with pytest.raises(ConfigError, match="tracking-2: was begun with shards 3, the configuration says 4"):
        a_walk.site.run("tracking")


@pytest.mark.spark
@pytest.mark.kafka
def test_the_way_back_leads_to_the_same_states_even_before_a_first_batch(a_walk: Walk) -> None:
    """With an address as checkpoint_root, as an object store has: without locks, and every file through Hadoop."""
    root = {"checkpoint_root": f"file://{a_walk.site.folder}/checkpoints"}
    a_walk.site = replace(a_walk.site, config=a_walk.site.config.model_copy(update=root))
    a_walk.send(0, 1, 2)
    a_walk.site.run("tracking")
    seeds = []
    for shards in (6, 4, 7, 4):
        location = a_walk.rescale(shards, 2).location
        found = read_seeds(SmallFiles(a_walk.site.spark, location))
        assert found is not None
        seeds.append(found)
    assert seeds[1].states == seeds[3].states
    assert seeds[0].offsets == seeds[3].offsets
    assert [one.moved_from for one in seeds] == ["tracking", "tracking-2", "tracking-3", "tracking-4"]
    for number, state in seeds[3].states.items():
        assert set(restore(state, WINDOW_US, Identity(number, 4)).names)


@pytest.mark.spark
@pytest.mark.kafka
def test_what_cannot_be_rescaled_is_refused_in_one_line(a_walk: Walk) -> None:
    site = a_walk.site
    with pytest.raises(ConfigError, match="has no checkpoint of the tracking job"):
        a_walk.rescale(8, 2)
    assert not Path(site.config.checkpoint_root).exists()
    a_walk.send(0)
    with site.application("tracking") as running:
        running.start()
        running.await_ready()
        with pytest.raises(StorageError, match="another driver runs on this checkpoint"):
            rescale(site.spark, site.config, 8, 2)
    site.run("tracking")
    forget_last_commit(site.folder / "checkpoints/tracking")
    with pytest.raises(StateError, match=r"micro-batch \d+ is not committed: start the tracking job once with --drain"):
        rescale(site.spark, site.config, 8, 2)
    site.run("tracking")
    assert rescale(site.spark, site.config, 8, 2).moved


@pytest.mark.spark
@pytest.mark.kafka
def test_a_damaged_seed_is_refused(a_walk: Walk) -> None:
    a_walk.send(0)
    a_walk.site.run("tracking")
    location = Path(a_walk.rescale(2, 2).location)
    seed = location / "seed/shard-00001.bin"
    seed.write_bytes(seed.read_bytes()[:-1] + b"?")
    with pytest.raises(StateError, match=r"seed/shard-00001\.bin: is damaged"):
        a_walk.site.run("tracking")
    seed.unlink()
    with pytest.raises(StateError, match=r"seed/shard-00001\.bin: is missing"):
        a_walk.site.run("tracking")


@pytest.mark.spark
@pytest.mark.kafka
def test_the_command_says_where_the_job_goes_on_and_with_which_numbers(a_walk: Walk) -> None:
    a_walk.send(0)
    a_walk.site.run("tracking")
    file = a_walk.site.folder / "job.yaml"
    file.write_text(yaml.safe_dump(a_walk.site.config.model_dump(mode="json")))
    words = [sys.executable, "-m", "sightline", "rescale", "--config", str(file), "--shards", "3", "--shuffle-partitions", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    location = f"{a_walk.site.config.checkpoint_root}/tracking-2"
    told = rf"\d+ cameras moved to {location}: start the tracking job with shards: 3, shuffle_partitions: 1\n"
    assert re.fullmatch(told, done.stdout)


def test_partitions_that_a_topic_has_got_meanwhile_are_read_from_their_beginning() -> None:
    seeds = Seeds({}, {"detections": {"0": 12, "1": 24}}, "tracking", 3)
    assert json.loads(seeds.starting_offsets({"detections": 4})) == {"detections": {"0": 12, "1": 24, "2": -2, "3": -2}}
