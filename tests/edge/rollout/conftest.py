"""A site with signed bundles, and one node's agent."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundle_rig import Rig, Site, write_model


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The model of the node's own settings."""
    return write_model(tmp_path / "own", "own")


@pytest.fixture
def make_rig(site: Site, own: Path, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Keywords as Rig has them."""
    made: list[Rig] = []

    def make(**settings: object) -> Rig:
        made.append(Rig(site, tmp_path / f"state-{len(made)}", own, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()
