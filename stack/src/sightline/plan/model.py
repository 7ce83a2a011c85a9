"""From a number of cameras to cores, memory, brokers and storage. Pure: the same demand and costs give the same plan.

An installation grows by *cells*: a cell is the four jobs with a Kafka, a checkpoint root and a table root of their own, for
up to ``cameras_per_cell`` cameras, and the last cell takes the rest. Within a cell everything grows with messages, frames or
detections, plus what every micro-batch costs. ``headroom`` is the share of every core, link and disk that stays free.

All of it is a projection: nothing here was measured at the size that is asked for.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Final

from sightline.plan.costs import Costs
from sightline_contract.errors import ConfigError
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import DETECTIONS_RAW, TRACK_SEGMENTS, TRACKER_FACTS
from sightline_streaming.config import Triggers

DAY_S: Final = 86_400
MILLION: Final = 1e6
GB: Final = 1e9
# A node that is lost or drained halves a job and does not stop it.
FEWEST_EXECUTORS: Final = 2
# The alerts job holds one task slot for each partition of its topic, all the time.
EVENTS_PARTITIONS: Final = 2
# Kafka's readers of `detections`: tracking and archive.
READERS: Final = 2
SHARDS_PER_PARTITION: Final = 2
_BROKER_CACHE_S: Final = 60.0  # readers that lag by less than this are served from memory


@dataclass(frozen=True)
class Demand:
    """What is asked for, and what the machines are like."""

    cameras: int
    fps: float = 30.0
    objects: float = 6.0
    messages_per_s: float = 1.0
    headroom: float = 0.5
    replication: int = 3
    kafka_days: float = int(DETECTIONS.config["retention.ms"]) / 1000 / DAY_S
    raw_days: float = DETECTIONS_RAW.retention_days
    log_days: float = TRACKER_FACTS.retention_days
    table_days: float = TRACK_SEGMENTS.retention_days
    cameras_per_cell: int = 5000
    executor_cores: int = 4
    broker_cores: int = 4
    broker_gbit: float = 10.0
    broker_disk_tb: float = 16.0
    trigger_s: Triggers = field(default_factory=Triggers)

    def __post_init__(self) -> None:
        """Raise ConfigError for what no plan can be made of."""
        counts = ("cameras", "replication", "cameras_per_cell", "executor_cores", "broker_cores")
        amounts = ("fps", "objects", "messages_per_s", "kafka_days", "broker_gbit", "broker_disk_tb")
        for name in (*counts, *amounts, "raw_days", "log_days", "table_days"):
            value = getattr(self, name)
            if not 0 < value < 1e9:
                raise ConfigError(f"{_option(name)} {value}: must be above 0 and below a billion")
        if not 0 <= self.headroom < 1:
            raise ConfigError(f"--headroom {self.headroom}: is the share that stays free: give 0 or more, and less than 1")
        if self.messages_per_s > self.fps:
            raise ConfigError(
                f"--fps {self.fps:g}: is fewer than the {self.messages_per_s:g} messages a second that carry them"
            )


@dataclass(frozen=True)
class Load:
    """What a number of cameras sends, each second."""

    cameras: int
    messages: float
    frames: float
    detections: float
    wire_bytes: float


@dataclass(frozen=True)
class JobPlan:
    """One job of a cell: what it takes (``busy_cores``), and what it is given."""

    name: str
    busy_cores: float
    executors: int
    executor_cores: int
    executor_memory_gb: float
    driver_cores: int
    driver_memory_gb: float

    @property
    def cores(self) -> int:
        """Of its executors and its driver."""
        return self.executors * self.executor_cores + self.driver_cores

    @property
    def memory_gb(self) -> float:
        """Of its executors and its driver."""
        return self.executors * self.executor_memory_gb + self.driver_memory_gb


@dataclass(frozen=True)
class KafkaPlan:
    """A cell's brokers; traffic is Gbit/s of all of them together, replication included."""

    brokers: int
    cores: int
    memory_gb: float
    partitions: int
    in_gbit_s: float
    out_gbit_s: float
    disk_tb: float


@dataclass(frozen=True)
class TablesPlan:
    """A cell's tables: what a day adds, and what is there once every retention is full."""

    tb_per_day: float
    tb: float
    log_files_per_day: float


@dataclass(frozen=True)
class CellPlan:
    """One cell."""

    load: Load
    jobs: tuple[JobPlan, ...]
    shuffle_partitions: int
    shards: int
    state_gb: float
    kafka: KafkaPlan
    tables: TablesPlan
    tracking_lag_s: float
    facts_lag_s: float
    # Share of the one core on which the facts job's driver passes rows.
    facts_driver_share: float


@dataclass(frozen=True)
class Plan:
    """An installation: so many cells of each kind."""

    demand: Demand
    cells: tuple[tuple[int, CellPlan], ...]

    @property
    def first(self) -> CellPlan:
        """The largest cell."""
        return self.cells[0][1]

    @property
    def cell_count(self) -> int:
        """Cells of all kinds."""
        return sum(count for count, _ in self.cells)

    @property
    def job_cores(self) -> int:
        """Cores of all jobs' executors and drivers."""
        return sum(count * job.cores for count, cell in self.cells for job in cell.jobs)

    @property
    def job_memory_gb(self) -> float:
        """Memory of all jobs' executors and drivers."""
        return sum(count * job.memory_gb for count, cell in self.cells for job in cell.jobs)

    @property
    def executors(self) -> int:
        """Executors of all jobs."""
        return sum(count * job.executors for count, cell in self.cells for job in cell.jobs)

    @property
    def brokers(self) -> int:
        """Brokers of all cells."""
        return sum(count * cell.kafka.brokers for count, cell in self.cells)

    @property
    def broker_cores(self) -> int:
        """Cores of all brokers."""
        return sum(count * cell.kafka.cores for count, cell in self.cells)

    @property
    def broker_memory_gb(self) -> float:
        """Memory of all brokers."""
        return sum(count * cell.kafka.memory_gb for count, cell in self.cells)

    @property
    def kafka_disk_tb(self) -> float:
        """Disk of all brokers."""
        return sum(count * cell.kafka.disk_tb for count, cell in self.cells)

    @property
    def kafka_gbit_s(self) -> tuple[float, float]:
        """Traffic into and out of all brokers."""
        into = sum(count * cell.kafka.in_gbit_s for count, cell in self.cells)
        return into, sum(count * cell.kafka.out_gbit_s for count, cell in self.cells)

    @property
    def tables_tb_per_day(self) -> float:
        """What a day adds to all tables."""
        return sum(count * cell.tables.tb_per_day for count, cell in self.cells)

    @property
    def tables_tb(self) -> float:
        """All tables once every retention is full."""
        return sum(count * cell.tables.tb for count, cell in self.cells)


def make_plan(demand: Demand, costs: Costs) -> Plan:
    """The plan; raises ConfigError where the fixed cost of a micro-batch leaves no room for work."""
    full, rest = divmod(demand.cameras, demand.cameras_per_cell)
    kinds = ((full, demand.cameras_per_cell), (1 if rest else 0, rest))
    return Plan(demand, tuple((count, plan_cell(demand, costs, cameras)) for count, cameras in kinds if count))


def load_of(demand: Demand, costs: Costs, cameras: int) -> Load:
    """What ``cameras`` send."""
    messages, frames = cameras * demand.messages_per_s, cameras * demand.fps
    detections = frames * demand.objects
    wire = messages * costs.wire_bytes_per_message.value + detections * costs.wire_bytes_per_detection.value
    return Load(cameras, messages, frames, detections, wire)


def plan_cell(demand: Demand, costs: Costs, cameras: int) -> CellPlan:
    """One cell of ``cameras``."""
    load = load_of(demand, costs, cameras)
    tracking = _tracking(demand, costs, load)
    partitions = tracking.executors * tracking.executor_cores
    archive = _archive(demand, costs, load)
    tracking_lag_s = _tracking_lag_s(demand, costs, load, partitions)
    share = facts_driver_share(demand, costs, load)
    return CellPlan(
        load=load,
        jobs=(tracking, _facts(demand, costs, load), archive, _alerts(costs, load)),
        shuffle_partitions=partitions,
        shards=SHARDS_PER_PARTITION * partitions,
        state_gb=_state_gb(demand, costs, load),
        kafka=_kafka(demand, costs, load, partitions),
        tables=_tables(demand, costs, load, partitions),
        tracking_lag_s=tracking_lag_s,
        facts_lag_s=tracking_lag_s + demand.trigger_s.facts * (1 + share),
        facts_driver_share=share,
    )


def tracking_work(demand: Demand, costs: Costs, load: Load) -> float:
    """Cores that tracking's messages, frames and detections keep busy, without what micro-batches cost."""
    return (
        load.frames * costs.core_cpu_s_per_million_frames.at(demand.objects)
        + load.messages * costs.tracking_cpu_s_per_million_messages.value
        + load.detections * costs.tracking_cpu_s_per_million_detections.value
    ) / MILLION


def facts_driver_share(demand: Demand, costs: Costs, load: Load) -> float:
    """Share of one core that the facts job's driver needs; above 1 it falls behind for good."""
    rows = load.detections * costs.facts_driver_cpu_s_per_million_detections.value / MILLION
    return rows + costs.facts_driver_cpu_s_per_batch.value / demand.trigger_s.facts


def scheduling_s(costs: Costs, partitions: int) -> float:
    """How long the one driver takes to start a micro-batch's tasks: one a partition for Kafka, and one for the state."""
    return 2 * partitions * costs.tracking_driver_s_per_task.value


def _tracking(demand: Demand, costs: Costs, load: Load) -> JobPlan:
    # One state partition a core, and each costs something in every micro-batch: cores x bear W + x p.
    per_core = costs.tracking_cpu_s_per_batch_and_partition.value / demand.trigger_s.tracking
    usable = 1 - demand.headroom - per_core
    if usable <= 0:
        raise ConfigError(
            f"--headroom {demand.headroom}: micro-batches alone take {per_core:.0%} of each core, which leaves none for work: "
            "give less headroom"
        )
    fixed = costs.tracking_cpu_s_per_batch.value / demand.trigger_s.tracking
    work = tracking_work(demand, costs, load)
    executors, cores = _executors((work + fixed) / usable, demand)
    busy = work + fixed + executors * cores * per_core
    # A shard's state is held several times while it is read, changed and written.
    memory = _executor_memory_gb(costs, cores) + 4 * _state_gb(demand, costs, load) / executors
    return JobPlan("tracking", busy, executors, cores, memory, 1, _driver_memory_gb(costs, load))


def _facts(demand: Demand, costs: Costs, load: Load) -> JobPlan:
    reading = load.detections * costs.facts_executor_cpu_s_per_million_detections.value / MILLION
    executors, cores = _executors(reading / (1 - demand.headroom), demand)
    share = facts_driver_share(demand, costs, load)
    # A micro-batch's rows are in the driver as they came, as Python has them, and as they are written.
    rows_gb = 3 * load.detections * demand.trigger_s.facts * costs.facts_driver_bytes_per_detection.value / GB
    driver_gb = _driver_memory_gb(costs, load) + rows_gb / (1 - demand.headroom)
    return JobPlan("facts", reading + share, executors, cores, _executor_memory_gb(costs, cores), 2, driver_gb)


def _archive(demand: Demand, costs: Costs, load: Load) -> JobPlan:
    per_batch = costs.archive_cpu_s_per_batch.value / demand.trigger_s.archive
    busy = load.messages * costs.archive_cpu_s_per_million_messages.value / MILLION + per_batch
    executors, cores = _executors(busy / (1 - demand.headroom), demand)
    return JobPlan("archive", busy, executors, cores, _executor_memory_gb(costs, cores), 1, _driver_memory_gb(costs, load))


def _alerts(costs: Costs, load: Load) -> JobPlan:
    memory = _executor_memory_gb(costs, 1)
    return JobPlan("alerts", EVENTS_PARTITIONS, EVENTS_PARTITIONS, 1, memory, 1, _driver_memory_gb(costs, load))


def _executors(cores: float, demand: Demand) -> tuple[int, int]:
    """How many executors, and the cores of each: full-sized ones, or the fewest of a size that suffices."""
    each = min(demand.executor_cores, max(1, ceil(cores / FEWEST_EXECUTORS)))
    return max(FEWEST_EXECUTORS, ceil(cores / each)), each


def _state_gb(demand: Demand, costs: Costs, load: Load) -> float:
    return load.cameras * demand.objects * costs.state_bytes_per_camera_and_object.value / GB


def _executor_memory_gb(costs: Costs, cores: int) -> float:
    return costs.executor_memory_gb.value + cores * costs.executor_memory_gb_per_core.value


def _driver_memory_gb(costs: Costs, load: Load) -> float:
    return costs.driver_memory_gb.value + load.cameras * costs.driver_memory_kb_per_camera.value / MILLION


def _tracking_lag_s(demand: Demand, costs: Costs, load: Load, cores: int) -> float:
    """Age of the newest facts just before the next ones come: a message waits for a trigger, then for the batch's end."""
    share = tracking_work(demand, costs, load) / cores
    fixed_s = costs.tracking_fixed_s_per_batch.value + scheduling_s(costs, cores)
    # Batches that take longer than the trigger follow each other at once, and hold what came meanwhile.
    interval_s = max(demand.trigger_s.tracking, fixed_s / (1 - share))
    return interval_s + fixed_s + share * interval_s


def _kafka(demand: Demand, costs: Costs, load: Load, partitions: int) -> KafkaPlan:
    stored = load.wire_bytes * demand.replication
    sent = load.wire_bytes * (READERS + demand.replication - 1)
    busy = (stored * costs.broker_cpu_s_per_gb_in.value + sent * costs.broker_cpu_s_per_gb_out.value) / GB
    disk_tb = stored * DAY_S * demand.kafka_days / 1e12 / (1 - demand.headroom)
    gbit_in, gbit_out = stored * 8 / GB, sent * 8 / GB
    share = 1 - demand.headroom
    brokers = max(
        demand.replication,
        ceil(busy / share / demand.broker_cores),
        ceil(max(gbit_in, gbit_out) / share / demand.broker_gbit),
        ceil(disk_tb / demand.broker_disk_tb),
    )
    memory = brokers * costs.broker_memory_gb.value + stored * _BROKER_CACHE_S / GB
    return KafkaPlan(brokers, brokers * demand.broker_cores, memory, partitions, gbit_in, gbit_out, disk_tb)


def _tables(demand: Demand, costs: Costs, load: Load, partitions: int) -> TablesPlan:
    def tb_per_day(per_message: float, per_detection: float) -> float:
        return (load.messages * per_message + load.detections * per_detection) * DAY_S / 1e12

    raw = tb_per_day(costs.raw_bytes_per_message.value, costs.raw_bytes_per_detection.value)
    log = tb_per_day(costs.fact_log_bytes_per_message.value, costs.fact_log_bytes_per_detection.value)
    told = tb_per_day(costs.tables_bytes_per_message.value, costs.tables_bytes_per_detection.value)
    kept = raw * demand.raw_days + log * demand.log_days + told * demand.table_days
    files = partitions * DAY_S / demand.trigger_s.tracking
    return TablesPlan(raw + log + told, kept, files)


def _option(name: str) -> str:
    """The command's option for a field of Demand."""
    return {"table_days": "--retention-days"}.get(name, f"--{name.replace('_', '-')}")
