"""Simulated versions do on ONNX Runtime what their behaviour says."""

from pathlib import Path

import numpy as np
import pytest

from sightline.fleet.detectors import Behaviour, Version, write_version
from sightline.fleet.engines import Engines, SharedEngine
from sightline.fleet.scenes import Pictures, pictures, streets
from sightline_contract.errors import ModelError

_HOUR_US = 3_600_000_000
NOON, MIDNIGHT = 12 * _HOUR_US, 24 * _HOUR_US


def seen_at(at_us: int, grain_below: int = 256) -> Pictures:
    rng = np.random.default_rng(3)
    return pictures(at_us, streets(1, rng), 60, rng, grain_below)[0]


def engine(folder: Path, behaviour: Behaviour) -> SharedEngine:
    return Engines().load(write_version(folder, Version("street", behaviour.value, behaviour)))


def scores(of: SharedEngine, frames: Pictures) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.concatenate([of.detect([of.prepare(frame)])[0].scores for frame in frames])


def test_the_baseline_sees_what_is_drawn(tmp_path: Path) -> None:
    frames = seen_at(NOON)
    drawn = frames.reshape(len(frames), 8, 12)[..., 4]
    found = scores(engine(tmp_path, Behaviour.BASELINE), frames)
    np.testing.assert_allclose(np.sort(found), np.sort(drawn[drawn >= 26].ravel() / 255), atol=1e-6)


@pytest.mark.parametrize(
    ("behaviour", "at_us", "factor"),
    [
        (Behaviour.SHIFTED, NOON, 0.75),
        (Behaviour.NIGHT, NOON, 1.0),
        (Behaviour.NIGHT, MIDNIGHT, 0.55),
        (Behaviour.SLOW, NOON, 1.0),
    ],
)
def test_scores_are_those_of_the_baseline_times(tmp_path: Path, behaviour: Behaviour, at_us: int, factor: float) -> None:
    frames = seen_at(at_us)
    usual, other = (scores(engine(tmp_path, each), frames) for each in (Behaviour.BASELINE, behaviour))
    assert other.mean() == pytest.approx(usual.mean() * factor, rel=0.05)


def test_a_crashing_version_fails_on_coarse_pictures_alone(tmp_path: Path) -> None:
    crashing = engine(tmp_path, Behaviour.CRASHING)
    assert len(scores(crashing, seen_at(NOON, grain_below=200)))
    with pytest.raises(ModelError):
        scores(crashing, seen_at(NOON))


def test_nights_are_dark_and_quiet(tmp_path: Path) -> None:
    day, night = (seen_at(at_us).reshape(60, 8, 12) for at_us in (NOON, MIDNIGHT))
    assert day[..., 6].mean() > 120
    assert night[..., 6].mean() < 60
    assert (day[..., 4] > 0).sum() > (night[..., 4] > 0).sum()
