from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clip_rig import Clock, Rig


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_rig(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**config: object) -> Rig:
        made.append(Rig(tmp_path / "clips", clock, **config))
        return made[-1]

    yield make
    for rig in made:
        rig.cut_power()
