"""Two drones with a real local broker and a centre that is really stopped."""

import json
from pathlib import Path

import pytest

from sightline.demo.drones import NAMES, DronesDemo, DronesOptions
from sightline.mosquitto import has_mosquitto
from sightline.ports import free_port
from sightline.results.terminal import plain_console

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(
        not has_mosquitto(),
        reason="Mosquitto is not installed (Debian: apt install mosquitto)",
    ),
]


def test_two_drones_warn_each_other_and_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = DronesOptions(tmp_path / "drones", seconds=20.0, model="centernet", broker_port=free_port())
    report = DronesDemo(options, plain_console()).run()
    assert [drone.name for drone in report.drones] == list(NAMES)
    for drone in report.drones:
        assert drone.frames == 200
        assert drone.lost == 0
        assert drone.handed_over == drone.arrived >= 20
        assert {warned.of_node for warned in drone.warned} <= set(NAMES) - {drone.name}
    assert report.latencies_ms(centre_gone=True), "nobody warned while the centre was gone"
    assert report.gone_s > 5
    written = json.loads((tmp_path / "drones/summary.json").read_text())
    assert (written["lost"], written["latency_ms_centre_gone"]["warnings"]) == (0, len(report.latencies_ms(centre_gone=True)))
    assert "From one drone's event to the other's warning" in capsys.readouterr().out
