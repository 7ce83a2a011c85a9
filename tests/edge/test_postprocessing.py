import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_contract.agreement import iou_matrix
from sightline_contract.model_card import ModelCard
from sightline_edge.postprocessing import Detections, read_output, suppress
from sightline_edge.preprocessing import Placement

WHOLE = Placement(0, 0, 1, 1)


def card(decode: str, size: tuple[int, int] = (32, 32), **output: object) -> ModelCard:
    return ModelCard.model_validate(
        {
            "name": "m",
            "version": "1",
            "source": "s",
            "licence": "l",
            "digest": "sha256:" + "0" * 64,
            "input": {"name": "i", "size": size, "layout": "NCHW", "channels": "BGR", "resize": "stretch"},
            "output": {"name": "o", "decode": decode, **output},
        }
    )


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


def test_of_two_boxes_of_a_class_that_overlap_the_weaker_goes() -> None:
    output = rows([0.0, 0.0, 0.5, 0.5, 0.6, 0], [0.0, 0.0, 0.5, 0.45, 0.9, 0], [0.5, 0.5, 1.0, 1.0, 0.3, 0])
    found = read_output(output, card("boxes_score_class"), WHOLE, 0.1)
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])


def test_boxes_of_two_classes_may_overlap() -> None:
    output = rows([0.0, 0.0, 0.5, 0.5, 0.6, 0], [0.0, 0.0, 0.5, 0.5, 0.9, 1])
    found = read_output(output, card("boxes_score_class"), WHOLE, 0.1)
    assert found.labels.tolist() == [1, 0]


def test_a_box_suppressed_by_a_stronger_one_suppresses_nothing_itself() -> None:
    # A chain a-b-c where b overlaps both and a and c do not overlap: c stays though b would have removed it.
    boxes = rows([0.0, 0, 0.4, 1], [0.2, 0, 0.6, 1], [0.4, 0, 0.8, 1])
    found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64))
    assert suppress(found, 0.3).tolist() == [0, 2]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6), st.integers(0, 1))))
def test_what_stays_has_no_rival_that_stays_and_what_goes_has_a_stronger_one(given_boxes: list[tuple[int, ...]]) -> None:
    told = np.array(given_boxes, np.float32).reshape(-1, 5)
    boxes, labels = np.hstack([told[:, :2], told[:, :2] + told[:, 2:4]]), told[:, 4].astype(np.int64)
    stays = set(suppress(Detections(boxes, np.linspace(1, 0.5, len(boxes), dtype=np.float32), labels), 0.4).tolist())
    overlaps = iou_matrix(boxes, boxes)
    for i in range(len(boxes)):
        rivals = {j for j in range(i) if labels[j] == labels[i] and overlaps[i, j] > 0.4}
        assert (i in stays) == (not rivals & stays)


def test_overlap_of_boxes_is_what_they_share_of_what_they_cover() -> None:
    first, second = rows([0, 0, 2, 2], [3, 3, 3, 4]), rows([1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6])
    np.testing.assert_allclose(iou_matrix(first, second), [[1 / 3, 1, 0], [0, 0, 0]])


def test_weak_empty_and_undefined_boxes_are_left_out() -> None:
    nan = float("nan")
    output = rows(
        [0.1, 0.1, 0.2, 0.2, 0.05, 0], [0.3, 0.3, 0.3, 0.4, 0.9, 0], [1.2, 0.1, 1.4, 0.2, 0.9, 0],
        [nan, nan, nan, nan, 0.9, 0], [0.1, 0.1, 0.2, 0.2, nan, 0],
    )  # fmt: skip
    assert len(read_output(output, card("boxes_score_class"), WHOLE, 0.1)) == 0


def test_boxes_are_cut_at_the_edge_of_the_frame() -> None:
    found = read_output(rows([-0.2, 0.5, 0.3, 1.5, 0.9, 0]), card("boxes_score_class"), WHOLE, 0.1)
    assert found.boxes[0].tolist() == pytest.approx([0, 0.5, 0.3, 1])


def test_boxes_in_a_letterbox_become_fractions_of_the_frame() -> None:
    upper_half = Placement(0, 0, 1, 0.5)
    found = read_output(rows([0.25, 0.125, 0.5, 0.25, 0.9, 0]), card("boxes_score_class"), upper_half, 0.1)
    assert found.boxes.tolist() == [[0.25, 0.25, 0.5, 0.5]]


def test_at_most_as_many_detections_as_the_card_says_are_kept() -> None:
    output = rows(*([i / 10, 0, i / 10 + 0.05, 0.1, 0.5 + i / 100, 0] for i in range(9)))
    found = read_output(output, card("boxes_score_class", max_detections=2), WHOLE, 0.1)
    assert found.scores.tolist() == pytest.approx([0.58, 0.57])


def test_a_class_without_a_label_is_an_error() -> None:
    with pytest.raises(ValueError, match="class 80 is not one of the card's 80 labels"):
        read_output(rows([0.1, 0.1, 0.2, 0.2, 0.9, 80]), card("boxes_score_class"), WHOLE, 0.1)


def test_yolox_heads_are_decoded_by_cell_and_stride() -> None:
    # A 32 x 32 px input has 16 + 4 + 1 anchors at strides 8, 16 and 32.
    output = np.zeros((21, 85), np.float32)
    # Stride 8, cell column 1, row 2: centre (1 + 0.5, 2 + 0.25) cells = (12, 18) px; size e^0 and e^ln2 cells = 8 x 16 px.
    output[2 * 4 + 1, :5] = [0.5, 0.25, 0, np.log(2), 0.8]
    output[2 * 4 + 1, 5 + 2] = 0.5
    # Stride 32, the one cell: centre (16, 16) px, 32 x 32 px, of another class.
    output[20, :5] = [0.5, 0.5, 0, 0, 0.9]
    output[20, 5 + 7] = 1.0
    found = read_output(output, card("yolox"), WHOLE, 0.1)
    assert found.labels.tolist() == [7, 2]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])
    assert found.boxes[0].tolist() == [0, 0, 1, 1]
    assert (found.boxes[1] * 32).tolist() == pytest.approx([8, 10, 16, 26])


def test_yolox_drops_an_anchor_whose_class_score_is_weak() -> None:
    output = np.zeros((21, 85), np.float32)
    output[20, 4:7] = [0.9, 0.1, 0.05]
    assert len(read_output(output, card("yolox"), WHOLE, 0.1)) == 0


@pytest.mark.parametrize(("decode", "shape"), [("yolox", (21, 85)), ("boxes_score_class", (5, 6))])
def test_detections_stay_as_they_are_when_the_runtime_writes_over_its_output(decode: str, shape: tuple[int, int]) -> None:
    output = np.full(shape, 0.5, np.float32)
    output[:, :2] = 0.1
    output[:, 5] = 1 if decode == "yolox" else 0  # a class's score, or the class
    found = read_output(output, card(decode), WHOLE, 0.1)
    boxes, scores, labels = found.boxes.copy(), found.scores.copy(), found.labels.copy()
    output[:] = 0
    assert len(found)
    assert np.array_equal(found.boxes, boxes)
    assert np.array_equal(found.scores, scores)
    assert np.array_equal(found.labels, labels)
