"""A candidate beside the live model: real models, and engines that are slow or fail on purpose."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from bundle_rig import BLACK, BLUE, RED, detector, picture_model, write_model

from sightline_contract.rollout import ModelRef
from sightline_edge.detector import Detector
from sightline_edge.postprocessing import Detections
from sightline_edge.preprocessing import Prepared
from sightline_edge.rollout.models import Loaded
from sightline_edge.rollout.shadow import Seen, Shadow, ShadowThread
from sightline_edge.rollout.switch import ModelSwitch


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Loaded]:
    def load(version: str, model: object = None, **card: object) -> Loaded:
        engine = detector(write_model(tmp_path / version, version, model, **card))
        return Loaded(ModelRef(model_name="pictures", model_version=version, number=int(version)), engine, version)

    return load


def seen(live: Loaded, *pictures: np.ndarray) -> list[Seen]:
    prepared = [live.engine.prepare(picture) for picture in pictures]
    found = live.engine.detect(prepared)
    return [
        Seen(picture, made, its, live.engine.card.labels) for picture, made, its in zip(pictures, prepared, found, strict=True)
    ]


def test_two_equal_models_agree_and_a_blind_one_misses_what_the_live_one_sees(loaded: Callable[..., Loaded]) -> None:
    live = loaded("1")
    same, blind = Shadow(loaded("2")), Shadow(loaded("3", picture_model(gain=0.05)))
    for shadow in (same, blind):
        shadow.look(seen(live, RED, BLUE, BLACK))
    figures = same.figures.take()
    assert (figures.frames, figures.matched, figures.only_live, figures.only_shadow) == (3, 2, 0, 0)
    assert figures.iou_sum == pytest.approx(2, abs=1e-3)
    missed = blind.figures.take()
    assert (missed.matched, missed.only_live) == (0, 2)
    assert (same.agreement.rate, blind.agreement.rate) == (1.0, 0.0)


def test_models_that_number_their_classes_differently_are_compared_by_name(loaded: Callable[..., Loaded]) -> None:
    names = ["car", "dog", "person"]
    live = loaded("1", labels=["person", "dog", "car"])
    turned = loaded("2", labels=names)  # it calls the person a car
    shadow = Shadow(turned)
    shadow.look(seen(live, RED))
    assert shadow.figures.take().matched == 0


def test_a_candidate_with_another_input_prepares_the_picture_itself(loaded: Callable[..., Loaded]) -> None:
    live = loaded("1")
    tall = {"name": "image", "size": [24, 24], "layout": "NHWC", "channels": "BGR", "resize": "stretch"}
    shadow = Shadow(loaded("2", picture_model(side=24), input=tall))
    shadow.look(seen(live, BLUE))
    figures = shadow.figures.take()
    # With the channels the other way round blue is red: it sees a person where the live model sees a car.
    assert (figures.errors, figures.class_counts, figures.only_live) == (0, {"person": 1}, 1)


def test_a_candidate_that_fails_is_counted_and_the_live_model_goes_on(loaded: Callable[..., Loaded]) -> None:
    live = loaded("1")
    switch = ModelSwitch(live, lambda: live, 5, 100)
    switch.offer_shadow(loaded("2", picture_model(fails_on_blue=True)))
    for picture in (RED, BLUE, RED):
        switch.turn()
        outcome = switch.detect([(picture, switch.prepare(picture))])
        switch.after([Seen(picture, switch.prepare(picture), outcome.found[0], live.engine.card.labels)])
        assert outcome.by is live
    by_version = {each.model_version: (each.frames, each.errors) for each in switch.figures()}
    assert by_version == {"1": (3, 0), "2": (2, 1)}


class Slow(Detector):
    """It works for as long as it is held, and the clock moves by a second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 0.1, 1, 4)
        self.held, self.now_s = threading.Event(), 0.0

    def detect(self, pictures: Sequence[Prepared]) -> list[Detections]:
        assert self.held.wait(20)
        self.now_s += 1.0
        return super().detect(pictures)


def test_a_slow_candidate_makes_nobody_wait_and_gets_every_kth_frame(loaded: Callable[..., Loaded], tmp_path: Path) -> None:
    live = loaded("1")
    engine = Slow(write_model(tmp_path / "slow", "2"))
    thread = ShadowThread(Shadow(Loaded(ModelRef(model_name="p", model_version="2"), engine, "2")), lambda: engine.now_s)
    frame = seen(live, RED)
    assert thread.offer(frame)
    assert [thread.offer(frame) for _ in range(5)] == [False] * 5  # it is at work: nobody waits
    engine.held.set()
    while thread._busy or thread._waiting is not None:
        threading.Event().wait(0.01)
    assert not thread.offer(frame)  # it worked for a second and rests for another
    engine.now_s += 1.0
    assert thread.offer(frame)
    thread.close()
    assert thread.every == pytest.approx(8 / 2)


def test_a_swap_does_not_wait_for_a_candidate_that_is_at_work(loaded: Callable[..., Loaded], tmp_path: Path) -> None:
    live, following = loaded("1"), loaded("3")
    engine, closed = Slow(write_model(tmp_path / "slow", "2")), threading.Event()
    engine.close = closed.set  # type: ignore[method-assign]
    switch = ModelSwitch(live, lambda: live, 5, 100, beside=True)
    switch.offer_shadow(Loaded(ModelRef(model_name="p", model_version="2"), engine, "2"))
    switch.turn()
    switch.after(seen(live, RED))
    switch.offer(following)
    switch.offer_shadow(None)
    assert switch.turn()
    assert (switch.live, switch.shadow) == (following, None)
    assert not closed.is_set()
    engine.held.set()
    assert closed.wait(20)
