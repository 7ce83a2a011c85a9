"""A fleet of real agents, with the real broker, registry, bundle server and judge: one rollback, one promotion."""

import json
import logging
import re
from pathlib import Path

import pytest

from sightline.demo.rollout import RolloutDemo, RolloutOptions
from sightline.ports import free_port
from sightline.results.terminal import plain_console
from sightline_lakehouse.audit.log import AuditLog
from sightline_models.rollout.steps import StepName

pytestmark = [pytest.mark.kafka, pytest.mark.spark, pytest.mark.slow]


def test_a_version_that_is_bad_at_night_is_taken_back_and_a_good_one_reaches_every_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = RolloutDemo(RolloutOptions(tmp_path / "rollout", free_port()), plain_console()).run()
    nightly, good = report.outcomes

    assert good.end is StepName.COMPLETED, good.reasons
    assert good.served == 100
    shares = [step.ring for step in good.steps if step.name is StepName.SERVING]
    assert shares == [0, 1, 2], "it went through every ring"

    assert nightly.end is StepName.RESTORED, nightly.reasons
    assert nightly.served == 5
    assert any("confidence" in reason for reason in nightly.reasons)
    assert set(report.samples[-1].serving) == {good.version}, "every node serves the good version"

    assert report.unserved_frames == 0
    assert "champion" in report.aliases[good.version]
    assert not {"champion", "canary"} & set(report.aliases[nightly.version])
    assert re.match(r"\d{2} records, chain whole, last checkpoint at seq \d{2} signed by release$", report.audit)
    kinds = {row.entry.kind for row in AuditLog(str(tmp_path / "rollout/work/tables")).rows()}
    assert kinds >= {"model_registered", "alias_moved", "rollout_started", "rollout_completed", "rollout_rolled_back"}
    written = json.loads((tmp_path / "rollout/summary.json").read_text())
    assert [each["end"] for each in written["rollouts"]] == ["rolled back", "completed"]
    assert (tmp_path / "rollout/rings.png").stat().st_size > 10_000
    assert "Two rollouts that nobody watched" in capsys.readouterr().out
    assert logging.getLogger("sightline_edge").level == logging.NOTSET, "nodes of this process are heard again"
