import numpy as np
import pytest

from sightline_contract.model_card import Layout, ModelInput, Resize
from sightline_edge.preprocessing import prepare

RED_BGR = np.full((10, 20, 3), (0, 0, 255), np.uint8)


def spec(**changes: object) -> ModelInput:
    base = {"name": "x", "size": (8, 8), "layout": Layout.NHWC, "channels": "RGB", "resize": Resize.STRETCH}
    return ModelInput.model_validate(base | changes)


def test_a_stretched_picture_fills_the_input_and_boxes_stay_as_they_are() -> None:
    prepared = prepare(RED_BGR, spec())
    assert prepared.tensor.shape == (8, 8, 3)
    assert prepared.tensor[0, 0].tolist() == [255, 0, 0]
    boxes = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    assert np.allclose(prepared.placement.to_frame(boxes), boxes)


def test_channels_first_puts_the_channels_first() -> None:
    prepared = prepare(RED_BGR, spec(layout=Layout.NCHW, channels="BGR"))
    assert prepared.tensor.shape == (3, 8, 8)
    assert prepared.tensor[2].min() == 255
    assert prepared.tensor[:2].max() == 0


def test_a_letterbox_keeps_the_proportions_and_pads_below() -> None:
    prepared = prepare(RED_BGR, spec(resize=Resize.LETTERBOX_TOP_LEFT, pad_value=7))
    assert prepared.tensor[:4, :, 0].min() == 255
    assert np.all(prepared.tensor[4:] == 7)
    whole_picture = np.array([[0, 0, 1, 0.5]], np.float32)
    assert prepared.placement.to_frame(whole_picture).tolist() == [[0, 0, 1, 1]]


def test_a_centred_letterbox_pads_above_and_below() -> None:
    prepared = prepare(RED_BGR, spec(resize=Resize.LETTERBOX_CENTER, pad_value=7))
    assert np.all(prepared.tensor[[0, 1, 6, 7]] == 7)
    middle = np.array([[0, 0.25, 1, 0.75]], np.float32)
    assert prepared.placement.to_frame(middle).tolist() == [[0, 0, 1, 1]]


def test_mean_and_deviation_are_per_channel() -> None:
    prepared = prepare(RED_BGR, spec(mean=(255, 10, 0), std=(1, 5, 2)))
    assert prepared.tensor[0, 0].tolist() == pytest.approx([0, -2, 0])
