"""Settings of the session that decide what a fault costs."""

import pytest

from sightline_streaming.session import with_retries


@pytest.mark.parametrize(
    ("master", "used"),
    [
        ("local[2]", "local[2,4]"),
        ("local[*]", "local[*,4]"),
        ("local[2,1]", "local[2,1]"),
        ("spark://127.0.0.1:7077", "spark://127.0.0.1:7077"),
    ],
)
def test_a_local_master_tries_a_task_as_often_as_a_cluster_unless_told_otherwise(master: str, used: str) -> None:
    assert with_retries(master) == used
