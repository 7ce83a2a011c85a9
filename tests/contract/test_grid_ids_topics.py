"""Cells, identifiers and topics agree with what other engines compute."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_contract.grid import GRID_COLUMNS, GRID_ROWS, cell_of, cells_in
from sightline_contract.ids import shard_of, track_id
from sightline_contract.labels import COCO_80, class_ids, label_names
from sightline_contract.topics import ALL_TOPICS

UNIT = st.floats(0, 1, exclude_max=True)


def test_the_whole_frame_is_every_cell() -> None:
    assert cells_in([[0, 0], [1, 0], [1, 1], [0, 1]]) == list(range(GRID_COLUMNS * GRID_ROWS))


def test_the_left_half_is_half_the_cells_whatever_way_round_it_is_drawn() -> None:
    left = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    assert cells_in(left) == cells_in(left[::-1])
    assert len(cells_in(left)) == GRID_COLUMNS * GRID_ROWS // 2


@given(x=UNIT, y=UNIT, x1=UNIT, y1=UNIT, x2=UNIT, y2=UNIT)
def test_a_point_well_inside_a_rectangle_is_in_one_of_its_cells(
    x: float, y: float, x1: float, y1: float, x2: float, y2: float
) -> None:
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    margin_x, margin_y = 1 / GRID_COLUMNS, 1 / GRID_ROWS
    well_inside = left + margin_x < x < right - margin_x and top + margin_y < y < bottom - margin_y
    near = left - margin_x < x < right + margin_x and top - margin_y < y < bottom + margin_y
    inside = cell_of(x, y) in cells_in([[left, top], [right, top], [right, bottom], [left, bottom]])
    assert inside or not well_inside
    assert near or not inside


def test_points_outside_the_frame_count_to_the_nearest_cell() -> None:
    assert cell_of(-1, -1) == 0
    assert cell_of(2, 2) == GRID_COLUMNS * GRID_ROWS - 1


def test_shards_are_crc32_as_spark_computes_it() -> None:
    assert shard_of("123456789", 1 << 32) == 0xCBF43926  # the check value of CRC-32 (ISO 3309)
    spread = np.bincount([shard_of(f"camera-{i}", 8) for i in range(4000)], minlength=8)
    assert spread.min() > 400


def test_a_track_is_named_by_camera_session_and_counter() -> None:
    assert track_id("gate-1", 17, 3) == "gate-1/17/3"


def test_class_names_are_cocos_and_the_sites() -> None:
    names = label_names({80: "forklift"})
    assert (len(COCO_80), len(names)) == (80, 256)
    assert (names[0], names[79], names[80], names[81]) == ("person", "toothbrush", "forklift", "class-81")
    assert class_ids(["car", "forklift"], {80: "forklift"}) == (2, 80)
    with pytest.raises(KeyError, match="unicorn"):
        class_ids(["unicorn"])


def test_topics_have_names_of_their_own_and_state_key_and_value() -> None:
    assert len({topic.name for topic in ALL_TOPICS}) == len(ALL_TOPICS)
    assert all(topic.key and topic.value and topic.description for topic in ALL_TOPICS)
