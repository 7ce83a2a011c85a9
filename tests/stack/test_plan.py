"""The capacity projection: more never costs less, nonsense is one line, and the page says what the command says."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.plan.costs import Costs, Curve, Kind, load_costs
from sightline.plan.limits import MOST_SHARDS, limits
from sightline.plan.model import Demand, Plan, make_plan
from sightline.plan.page import BEGIN, END, markdown
from sightline_contract.errors import ConfigError
from sightline_streaming.config import JobConfig

PAGE = Path(__file__).parents[2] / "docs/capacity.md"
ON_THE_PAGE = (5_000, 50_000, 500_000)

COSTS = load_costs()
DEMANDS = st.builds(
    Demand,
    cameras=st.integers(1, 1_000_000),
    fps=st.floats(1, 60),
    objects=st.floats(0.1, 80),
    headroom=st.floats(0, 0.8),
    replication=st.integers(1, 5),
    cameras_per_cell=st.integers(1, 20_000),
    executor_cores=st.integers(1, 16),
)


def totals(plan: Plan) -> dict[str, float]:
    into, out = plan.kafka_gbit_s
    return {
        "job cores": plan.job_cores,
        "job memory": plan.job_memory_gb,
        "brokers": plan.brokers,
        "broker memory": plan.broker_memory_gb,
        "broker disk": plan.kafka_disk_tb,
        "in": into,
        "out": out,
        "tables a day": plan.tables_tb_per_day,
        "tables": plan.tables_tb,
        "shards": sum(count * cell.shards for count, cell in plan.cells),
        "partitions": sum(count * cell.kafka.partitions for count, cell in plan.cells),
    }


def assert_no_less(less: Demand, more: Demand) -> None:
    before, after = totals(make_plan(less, COSTS)), totals(make_plan(more, COSTS))
    fallen = {name: (before[name], after[name]) for name in before if after[name] < before[name] * (1 - 1e-9)}
    assert fallen == {}


@given(DEMANDS, st.integers(0, 100_000))
def test_more_cameras_never_need_less(demand: Demand, more: int) -> None:
    assert_no_less(demand, replace(demand, cameras=demand.cameras + more))


@given(DEMANDS, st.floats(0, 60))
def test_more_frames_never_need_less(demand: Demand, more: float) -> None:
    assert_no_less(demand, replace(demand, fps=demand.fps + more))


@given(DEMANDS, st.floats(0, 60))
def test_more_objects_never_need_less(demand: Demand, more: float) -> None:
    assert_no_less(demand, replace(demand, objects=demand.objects + more))


@given(DEMANDS, st.floats(0, 0.15))
def test_more_headroom_never_needs_less(demand: Demand, more: float) -> None:
    assert_no_less(demand, replace(demand, headroom=min(0.9, demand.headroom + more)))


@given(DEMANDS)
def test_every_camera_is_in_a_cell_and_no_cell_is_too_large(demand: Demand) -> None:
    plan = make_plan(demand, COSTS)
    assert sum(count * cell.load.cameras for count, cell in plan.cells) == demand.cameras
    assert all(cell.load.cameras <= demand.cameras_per_cell for _, cell in plan.cells)


@given(DEMANDS)
def test_jobs_have_the_cores_that_they_keep_busy_and_the_headroom(demand: Demand) -> None:
    for _, cell in make_plan(demand, COSTS).cells:
        tracking, _facts, archive, _alerts = cell.jobs
        for job in (tracking, archive):
            assert job.busy_cores <= job.executors * job.executor_cores * (1 - demand.headroom) * (1 + 1e-9)
        assert cell.shuffle_partitions == tracking.executors * tracking.executor_cores


def test_figures_that_can_be_reckoned_in_the_head() -> None:
    """10 cameras of 10 frames/s with 10 objects make 1,000 detections a second; a day has 86,400 of them."""
    wire = {"wire_bytes_per_message": 100, "wire_bytes_per_detection": 10}
    costs = COSTS.model_copy(
        update={name: getattr(COSTS, name).model_copy(update={"value": value}) for name, value in wire.items()}
    )
    plan = make_plan(Demand(cameras=10, fps=10, objects=10, headroom=0.5, kafka_days=1, replication=3), costs)
    assert plan.first.load.detections == 1000
    assert plan.first.load.wire_bytes == 10 * 100 + 1000 * 10
    # Three copies, and as much again free.
    assert plan.kafka_disk_tb == pytest.approx(11_000 * 3 * 86_400 * 2 / 1e12)
    into, out = plan.kafka_gbit_s
    # In: the sender and two followers; out: two readers and two followers.
    assert (into, out) == pytest.approx((11_000 * 3 * 8 / 1e9, 11_000 * 4 * 8 / 1e9))
    assert plan.brokers == 3


def test_a_limit_is_where_it_is_said_to_be() -> None:
    demand = Demand(cameras=1)
    (facts,) = [limit for limit in limits(demand, COSTS) if "rows pass through the driver" in limit.what]
    within = replace(demand, cameras=facts.cameras, cameras_per_cell=facts.cameras + 1)
    assert make_plan(within, COSTS).first.facts_driver_share <= 0.5
    assert make_plan(replace(within, cameras=facts.cameras + 1), COSTS).first.facts_driver_share > 0.5


def test_the_most_shards_are_those_that_a_job_accepts() -> None:
    job = {"kafka": {"bootstrap_servers": "k:9092"}, "table_root": "t", "checkpoint_root": "c", "cameras": "d"}
    assert JobConfig.model_validate(job | {"shards": MOST_SHARDS}).shards == MOST_SHARDS
    with pytest.raises(ValidationError, match="shards"):
        JobConfig.model_validate(job | {"shards": MOST_SHARDS + 1})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"cameras": 0}, "--cameras 0: must be above 0"),
        ({"fps": -1.0}, "--fps -1.0: must be above 0"),
        ({"fps": float("nan")}, "--fps nan: must be above 0"),
        ({"fps": 0.5}, "--fps 0.5: is fewer than the 1 messages a second that"),
        ({"objects": float("inf")}, "--objects inf: must be above 0"),
        ({"headroom": 1.0}, "--headroom 1.0: is the share that stays free"),
        ({"headroom": 0.99}, "--headroom 0.99: micro-batches alone take"),
        ({"replication": 0}, "--replication 0: must be above 0"),
        ({"cameras_per_cell": 0}, "--cameras-per-cell 0: must be above 0"),
        ({"table_days": 0.0}, "--retention-days 0.0: must be above 0"),
    ],
)
def test_what_no_plan_can_be_made_of_is_one_line(wrong: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(Demand(**({"cameras": 100} | wrong)), COSTS)  # type: ignore[arg-type]
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_costs_of_ones_own_stand_in_place_of_ours(tmp_path: Path) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text("wire_bytes_per_detection: {value: 20, kind: measured, source: our cameras}\n")
    costs = load_costs(ours)
    assert costs.wire_bytes_per_detection.value == 20
    assert costs.wire_bytes_per_message == COSTS.wire_bytes_per_message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("wire_bytes: {value: 1, kind: measured, source: x}", "wire_bytes: Extra inputs are not permitted"),
        (
            "wire_bytes_per_message: {value: -1, kind: measured, source: x}",
            "value: Input should be greater",
        ),
        ("wire_bytes_per_message: {value: 1, kind: guessed, source: x}", "wire_bytes_per_message.kind: Input should be"),
        ("wire_bytes_per_message: {value: 1, kind: measured}", "wire_bytes_per_message.source: Field required"),
        ("core_cpu_s_per_million_frames: {value: {6: 2, 20: 1}, kind: measured, source: x}", "more objects cannot cost less"),
    ],
)
def test_a_wrong_cost_is_one_line_that_names_it(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "ours.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_costs(tmp_path / "ours.yaml")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=50)
@given(st.floats(0.01, 200), st.floats(0, 50))
def test_a_curve_goes_through_its_points_and_never_falls(objects: float, more: float) -> None:
    curve = Curve(value={60: 66.0, 6: 6.0, 20: 17.0}, kind=Kind.MEASURED, source="here")
    assert [curve.at(x) for x in (6, 20, 60)] == [6.0, 17.0, 66.0]
    assert 0 <= curve.at(objects) <= curve.at(objects + more)


def test_every_cost_says_where_it_comes_from() -> None:
    assert {name for name in Costs.model_fields if len(getattr(COSTS, name).source) < 10} == set()


def sightline_plan(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline", "plan", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_says_that_it_projects_and_writes_all_for_machines(tmp_path: Path) -> None:
    shown = sightline_plan("--cameras", "5000", "--cameras", "7000", "--json", str(tmp_path / "plan.json"))
    assert shown.returncode == 0, shown.stderr
    assert "Nothing was measured at this size." in shown.stdout
    written = json.loads((tmp_path / "plan.json").read_text())
    assert [plan["total"]["cell_count"] for plan in written["plans"]] == [1, 2]
    assert written["costs"]["wire_bytes_per_message"]["source"]


def test_a_refused_demand_is_one_line_and_exit_code_1() -> None:
    refused = sightline_plan("--cameras", "5000", "--headroom", "1.5")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: --headroom 1.5: is the share that stays free")
    assert refused.stderr.count("\n") == 1


def test_the_capacity_page_says_what_the_command_says() -> None:
    plans = [make_plan(Demand(cameras=cameras), COSTS) for cameras in ON_THE_PAGE]
    made = markdown(plans, limits(plans[0].demand, COSTS), COSTS)
    standing = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    words = " ".join(f"--cameras {cameras}" for cameras in ON_THE_PAGE)
    assert standing == made, f"run: sightline plan {words} --page docs/capacity.md"


def test_the_part_of_a_page_is_replaced_and_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nwritten last year\n{END}\nafter\n")
    assert sightline_plan("--cameras", "10", "--page", str(page)).returncode == 0
    assert "written last year" not in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    page.write_text("none")
    assert "has no lines" in sightline_plan("--cameras", "10", "--page", str(page)).stderr
